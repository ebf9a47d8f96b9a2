"""When a callback is tried again, and when its receiver is left alone. Pure: counts go in, instants come out."""

from __future__ import annotations

from collections.abc import Sequence

JITTER = 0.2
"""The share by which a delay may be lengthened, so that an outage's deliveries do not come back at once.

Never shortened: the default schedule is to last for more than 72 hours whatever the dice say.
"""

LONGEST_RETRY_AFTER_S = 86400.0

OPENS_AFTER = 10
"""Failures in a row after which a receiver's breaker opens."""

_FIRST_HOLD_S = 60.0
_LONGEST_HOLD_S = 3600.0


def next_attempt(
    schedule: Sequence[float], attempts_made: int, *, now: float, retry_after_s: float | None = None, jitter: float
) -> float | None:
    """Return the instant of the next attempt, in Unix seconds as `now`, or None when the schedule is used up.

    `attempts_made` counts those that used up the schedule, the latest included. `jitter` is a random number from 0 to
    1. What the receiver asked for in Retry-After is heeded up to a day; it lengthens a delay and never shortens it.
    """
    if not 1 <= attempts_made <= len(schedule):
        return None
    own = schedule[attempts_made - 1] * (1 + JITTER * jitter)
    return now + max(own, min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S))


def held_until(failures: int, *, now: float) -> float | None:
    """Return until when a receiver that failed so often in a row is left alone, or None while its breaker is closed.

    From the tenth failure on: 60 s, 120 s, … and at most an hour. The attempts that are put off meanwhile use up
    nothing of their schedules. Whichever is made after that probes the receiver; its success closes the breaker.
    """
    if failures < OPENS_AFTER:
        return None
    doublings = min(failures - OPENS_AFTER, 16)
    return now + min(_FIRST_HOLD_S * (1 << doublings), _LONGEST_HOLD_S)
