"""Which changes of a job are told to its client, and what a callback says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.jobs.job import Status
from gateway.jobs.lifecycle import Transition
from gateway.jobs.view import video

TYPES: Sequence[str] = ("video.completed", "video.failed", "video.cancelled", "video.in_progress")
"""Every event type that can be subscribed to."""

DEFAULT_TYPES: Sequence[str] = ("video.completed", "video.failed")

_TYPE_OF_STATUS: Mapping[Status, str] = {
    Status.COMPLETED: "video.completed",
    Status.FAILED: "video.failed",
    Status.CANCELLED: "video.cancelled",
}


def type_of(transition: Transition) -> str | None:
    """Return the event type that a change is told as, or None for one that nobody can subscribe to."""
    if transition.moved:
        return _TYPE_OF_STATUS.get(transition.after.status)
    return "video.in_progress" if transition.after.progress != transition.before.progress else None


def facts(transition: Transition) -> dict[str, object]:
    """Return the video as of the change, without its prompt, so that the body gets through small limits."""
    told = video(transition.after)
    del told["prompt"]
    return told


def body(*, event_id: str, type_: str, created_at: float, data: Mapping[str, object]) -> dict[str, object]:
    """Return the callback's body in the shape of the protocol's own events."""
    return {"id": event_id, "object": "event", "type": type_, "created_at": int(created_at), "data": dict(data)}
