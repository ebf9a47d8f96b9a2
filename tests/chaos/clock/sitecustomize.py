"""Sets the clock of one worker wrong. Python runs this at its start where the folder is in PYTHONPATH."""

from __future__ import annotations

import os
import sys
import time

_offset = float(os.environ.get("CHAOS_CLOCK_OFF_S", "0"))

# Only the worker, also where a parent hands its environment on to the API: those two shall disagree.
if _offset and sys.orig_argv[-1] == "worker":
    _real, _real_ns = time.time, time.time_ns
    time.time = lambda: _real() + _offset
    time.time_ns = lambda: _real_ns() + int(_offset * 1e9)
