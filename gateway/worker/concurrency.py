"""Concurrency: how many threads of one kind are of use at once, by how busy the interpreter is."""

from __future__ import annotations

import threading
import time

from gateway.clock import Clock, monotonic

BUSY = 0.92
"""Share of one core: threads have one interpreter between them, and it serves one at a time."""

_LOOKED_EVERY_S = 0.1
_MORE = 4
_LESS = 0.8


class Concurrency:
    """A bound that shrinks while the process has no time left, and grows back while it has.

    Those who wait for a network cost nothing, so there may be many. But where answers come at once, more threads than
    the interpreter can serve only get in each other's way. What the process computes without the interpreter (hashes,
    TLS) counts as if it were within: then the bound is lower than it need be, never below the least.
    Safe from many threads.
    """

    def __init__(self, *, least: int, most: int, cpu_time: Clock = time.process_time, clock: Clock = monotonic) -> None:
        """`cpu_time`: the seconds of CPU that this process has used."""
        self._least = least
        self._most = most
        self._cpu_time = cpu_time
        self._clock = clock
        self._lock = threading.Lock()
        self._bound = float(most)
        self._looked = (clock(), cpu_time())

    def room(self, in_use: int) -> int:
        """Return how many more may begin, where so many are in use."""
        with self._lock:
            at, spent_s = self._looked
            now, spent_now_s = self._clock(), self._cpu_time()
            lasted_s = now - at
            if lasted_s >= _LOOKED_EVERY_S:
                self._looked = now, spent_now_s
                if spent_now_s - spent_s >= BUSY * lasted_s:
                    self._bound = max(self._least, self._bound * _LESS)
                else:
                    self._bound = min(self._most, self._bound + _MORE * lasted_s / _LOOKED_EVERY_S)
            return max(0, int(self._bound) - in_use)
