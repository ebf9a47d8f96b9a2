"""Rests: upstream keys that this process leaves alone for a moment, since a request would only be turned away."""

from __future__ import annotations

import threading

from gateway.jobs.backoff import delay

REST_DELAYS_S = (2, 5, 10, 20, 30)
"""After submits in a row that were surely not accepted."""

_LONGEST_S = 60.0
"""However long an upstream asks for: its word is heeded for one job, not for everybody's."""


class Rests:
    """Which keys rest, and until when. In memory: forgetting them costs one request. Safe from many threads."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}
        self._in_a_row: dict[tuple[str, str], int] = {}
        self._unreachable: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def resting(self, upstream: str, key: str, *, now: float) -> bool:
        """Whether a key is to be left alone now."""
        with self._lock:
            return now < self._until.get((upstream, key), now)

    def until(self, upstream: str, key: str, instant: float) -> None:
        """Leave a key alone until an instant."""
        with self._lock:
            self._until[upstream, key] = max(instant, self._until.get((upstream, key), instant))

    def unreachable(self, upstream: str, key: str, *, now: float) -> bool:
        """Whether a key rests since its upstream did not answer at all, so that another upstream is to be asked."""
        with self._lock:
            return (upstream, key) in self._unreachable and now < self._until.get((upstream, key), now)

    def turned_away(
        self, upstream: str, key: str, *, asked_s: float | None, now: float, unreachable: bool = False
    ) -> None:
        """A submit was surely not accepted: else 500 queued videos would each run into the same 429."""
        with self._lock:
            (self._unreachable.add if unreachable else self._unreachable.discard)((upstream, key))
            tries = self._in_a_row.get((upstream, key), 0)
            self._in_a_row[upstream, key] = tries + 1
        self.until(upstream, key, now + delay(REST_DELAYS_S, tries, asked_s=asked_s, longest_s=_LONGEST_S))

    def answered(self, upstream: str, key: str) -> None:
        """A submit was accepted: the count begins again."""
        with self._lock:
            self._in_a_row.pop((upstream, key), None)
            self._unreachable.discard((upstream, key))
