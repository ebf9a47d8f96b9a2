"""How many requests a minute a key may make."""

from __future__ import annotations

import threading
from collections import defaultdict, deque

_WINDOW_S = 60.0


class Allowance:
    """A sliding window of a minute per key; 0 requests means no limit."""

    def __init__(self, *, requests: int) -> None:
        self._requests = requests
        self._times: defaultdict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def spend(self, key: str, now: float) -> float:
        """Count a request of that key at a monotonic time; return 0, or after how many seconds there is room again."""
        if not self._requests:
            return 0.0
        with self._lock:
            times = self._times[key]
            while times and times[0] <= now - _WINDOW_S:
                times.popleft()
            if len(times) >= self._requests:
                return times[0] + _WINDOW_S - now
            times.append(now)
            return 0.0
