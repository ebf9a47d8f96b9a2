"""The line of requests for which no thread is free: who would have to wait too long is told so at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_MEASURED_BY = 8
"""After so many were served it is known how fast the line moves."""


class _Waiting(NamedTuple, Generic[T]):
    since: float
    one: T


class Line(Generic[T]):
    """First come, first served, each within `patience_s` or not at all. Every `now` is an instant of one steady clock.

    How long a newcomer would wait is foreseen from how fast the line moved since somebody last had to wait: requests
    that are held for a minute, or a burst after an idle hour, say nothing of that.
    """

    def __init__(self, *, patience_s: float) -> None:
        self._patience_s = patience_s
        self._waiting: deque[_Waiting[T]] = deque()
        self._formed_at = 0.0
        self._served = 0

    def join(self, one: T, now: float) -> bool:
        """Put one at the end; False: it would wait too long, and does not."""
        if self._foreseen_s(now) > self._patience_s:
            return False
        if not self._waiting:
            self._formed_at, self._served = now, 0
        self._waiting.append(_Waiting(now, one))
        return True

    def next(self) -> T | None:
        """Take whose turn it is."""
        if not self._waiting:
            return None
        self._served += 1
        return self._waiting.popleft().one

    def late(self, now: float) -> Iterator[T]:
        """Take those out who have waited too long."""
        while self._waiting and now - self._waiting[0].since > self._patience_s:
            yield self._waiting.popleft().one

    def _foreseen_s(self, now: float) -> float:
        if not self._waiting or self._served < _MEASURED_BY:
            return 0.0
        return len(self._waiting) * (now - self._formed_at) / self._served
