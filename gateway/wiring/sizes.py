"""How many threads each kind of work gets in one worker process."""

from __future__ import annotations

SUBMITTERS = 8
RECONCILERS = 2
TRANSFERS = 4
DELIVERERS = 32
POLLERS = 32
"""Enough for 9,000 videos in progress, polled every 30 s at 100 ms each."""
CLEANERS = 4
