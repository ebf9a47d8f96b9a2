"""How many threads each kind of work gets in one worker process."""

from __future__ import annotations

SUBMITTERS = 8
RECONCILERS = 2
TRANSFERS = 4
DELIVERERS = 32
POLLERS = 80
"""Enough for 24,000 videos in progress, polled every 30 s at 100 ms each."""
ROUNDERS = 24
"""Walks through upstreams' lists, each the poll of up to 1,000 videos."""
CLEANERS = 4
