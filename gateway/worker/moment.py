"""The database's clock between two looks at it: one reading a tick, carried on by the local monotonic clock."""

from __future__ import annotations

from gateway.clock import Clock


class Moment:
    """Calling it returns the database's time now, in Unix seconds, without asking the database again."""

    def __init__(self, *, now: float, monotonic: Clock) -> None:
        self._now = now
        self._read_at = monotonic()
        self._monotonic = monotonic

    def __call__(self) -> float:
        """Return the database's time, as exact as the two clocks keep pace since the reading."""
        return self._now + (self._monotonic() - self._read_at)
