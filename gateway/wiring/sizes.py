"""How many threads each kind of work gets in one worker process."""

from __future__ import annotations

SUBMITTERS = 8
RECONCILERS = 2
TRANSFERS = 4
DELIVERERS = 32
QUICK_DELIVERERS = 8
"""So many of them get work at least, where receivers answer so quickly that the interpreter has no time for more."""
POLLERS = 128
"""Enough for 19,000 videos in progress, polled every 30 s at 200 ms each; begun as they are needed."""
ROUNDERS = 24
"""Walks through upstreams' lists, each the poll of up to 1,000 videos."""
CLEANERS = 4
