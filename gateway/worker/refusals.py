"""What is said of a video for which every key was refused for as long as a video may wait."""

from __future__ import annotations

from collections.abc import Collection

from gateway.jobs.job import Failure

_QUOTA = Failure(
    code="insufficient_quota",
    message="Every upstream of this model was out of balance for as long as a video may wait.",
)
_AUTH = Failure(
    code="upstream_auth",
    message="Every upstream of this model refused its keys for as long as a video may wait.",
)


def refused_for_too_long(*reasons: str) -> Failure:
    """Return the failure for the reasons of the keys: topping up is the easier remedy, so it is named first."""
    return _QUOTA if "quota" in reasons else _AUTH


def only_refusals(reasons: Collection[str | None]) -> bool:
    """Whether these are the upstream's reasons, and not an operator's pause."""
    return bool(reasons) and all(reason in {"quota", "auth"} for reason in reasons)
