"""Local clocks. Decisions take `now` as a parameter; whoever needs a clock is handed one of these."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns an instant as Unix seconds, or for a monotonic clock seconds since some fixed point."""

wall: Clock = time.time
monotonic: Clock = time.monotonic
