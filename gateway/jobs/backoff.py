"""When a step that brought nothing is tried again. Pure: the number of tries goes in, seconds come out."""

from __future__ import annotations

from collections.abc import Sequence

CONTENT_DELAYS_S: Sequence[float] = (4, 10, 30)
"""After a download that was refused or broke. Some upstreams answer 400 for a few seconds after `completed`."""

SUBMIT_DELAYS_S: Sequence[float] = (2, 5, 15, 30, 60)
"""After a submit that was surely not accepted and named no time."""

PROBE_DELAYS_S: Sequence[float] = (30, 60, 120, 240, 480, 600)
"""Between two real submits on a key that was refused."""

RECONCILE_DELAYS_S: Sequence[float] = (1, 2, 5, 10, 20, 30)
"""Between two looks for a lost submit."""

BUCKET_DELAYS_S: Sequence[float] = (2, 5, 15, 30, 60)
"""After trouble with our own bucket."""


def delay(delays: Sequence[float], tries: int, *, asked_s: float | None = None, longest_s: float = 3600) -> float:
    """Return the seconds to wait after `tries` tries; `asked_s` (a Retry-After) may lengthen, never shorten it."""
    own = delays[min(tries, len(delays) - 1)]
    return min(max(own, asked_s or 0.0), longest_s)
