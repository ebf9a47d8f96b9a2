"""Which changes of a job are told to its client, and what a callback says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.jobs.job import Failure, Job, Status, Stored
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


def sample(type_: str, *, at: float) -> dict[str, object]:
    """Return what a made-up event of a type says: a video that there is not, marked as a test."""
    status = next((status for status, name in _TYPE_OF_STATUS.items() if name == type_), Status.RENDERING)
    done, failed = status is Status.COMPLETED, status is Status.FAILED
    job = Job(
        id="video_test", client="", status=status, version=1, model="sora-2", size="720x1280", seconds=4,
        created_at=at, due_at=at, prompt=None, metadata={"test": "true"}, progress=100 if done else 50,
        finished_at=at if status in _TYPE_OF_STATUS else None,
        stored=Stored(object_key="", size=0, sha256="0" * 64, content_type="video/mp4") if done else None,
        error=Failure(code="upstream_error", message="This is a test.") if failed else None,
    )  # fmt: skip
    told = video(job)
    del told["prompt"]
    return told


def body(*, event_id: str, type_: str, created_at: float, data: Mapping[str, object]) -> dict[str, object]:
    """Return the callback's body in the shape of the protocol's own events."""
    return {"id": event_id, "object": "event", "type": type_, "created_at": int(created_at), "data": dict(data)}
