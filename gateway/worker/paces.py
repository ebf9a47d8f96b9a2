"""Paces: how many requests a minute a key is asked for now. A 429 narrows it, and time without another widens it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from gateway.jobs.ports import Lanes, Narrowed

WIDER_EVERY_S = 60.0
"""After so long without another 429 a narrowed pace doubles."""

NARROW_LEAST = 6
"""Requests a minute below which no pace is narrowed: less would not tell when there is room again."""

UNLIMITED = 120
"""Requests a minute at which a key without a limit stands at least when a 429 halves it.

Who asked for little was turned away by a moment's load rather than for its own pace; where it was that after all, each
further 429 halves again.
"""

FORGOTTEN_AFTER_S = 600.0
"""Where no limit is set: a pace that doubled ten times is none."""

_SAME_S = 5.0
"""Several 429s so close to each other are one."""

_READ_EVERY_S = 2.0


class Paces:
    """The limits of the settings, narrowed by what upstreams answered to any of the workers. Safe from many threads."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._narrowed: Mapping[tuple[str, str], Narrowed] = {}
        self._read_at = 0.0
        self._asked: dict[tuple[str, str], Counter[int]] = {}
        self._lock = threading.Lock()

    def per_minute(self, upstream: str, key: str, *, configured: int, now: float) -> int:
        """Return the requests a minute that a key is asked for at most now; 0 for no limit."""
        narrowed = self._known(now).get((upstream, key))
        if narrowed is None or not 0 <= now - narrowed.at < FORGOTTEN_AFTER_S:
            return configured
        pace = int(narrowed.to * 2 ** ((now - narrowed.at) / WIDER_EVERY_S))
        return min(pace, configured) if configured else pace

    def asked(self, upstream: str, key: str, count: int, *, now: float) -> None:
        """Count requests, to know what is to be narrowed where no limit is set."""
        with self._lock:
            seconds = self._asked.setdefault((upstream, key), Counter())
            if int(now) not in seconds:
                for old in [second for second in seconds if second < now - WIDER_EVERY_S]:
                    del seconds[old]
            seconds[int(now)] += count

    def turned_away(self, upstream: str, key: str, *, configured: int, retry_after_s: float | None, now: float) -> None:
        """A key was answered 429: halve its pace for a while, and leave it alone for as long as it asked for."""
        known = self._known(now).get((upstream, key))
        if known is not None and 0 <= now - known.at < _SAME_S:
            return
        pace = self.per_minute(upstream, key, configured=configured, now=now)
        pace = pace or max(UNLIMITED, self._recent(upstream, key))
        self._lanes.narrow(upstream, key, to=max(NARROW_LEAST, pace // 2), wait_s=retry_after_s or 0.0, now=now)
        self._read_at = 0.0

    def _recent(self, upstream: str, key: str) -> int:
        with self._lock:
            return sum(self._asked.get((upstream, key), Counter()).values())

    def _known(self, now: float) -> Mapping[tuple[str, str], Narrowed]:
        if not 0 <= now - self._read_at < _READ_EVERY_S:
            self._narrowed = self._lanes.narrowed(since=now - FORGOTTEN_AFTER_S)
            self._read_at = now
        return self._narrowed
