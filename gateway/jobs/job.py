"""A job: one requested video, from its acceptance to its final status."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.jobs.codes import FailureCode


class Status(StrEnum):
    """What is true of a job. Every comment says who takes the job out of there."""

    QUEUED = "queued"  # the submit step, when the upstream has room
    SUBMITTING = "submitting"  # the submit step's answer; after a crash or a lost answer, the reconcile step
    RENDERING = "rendering"  # the poll step
    STORING = "storing"  # the transfer step
    COMPLETED = "completed"  # nobody; retention only removes its objects
    FAILED = "failed"  # nobody
    CANCELLED = "cancelled"  # nobody


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
UNFINISHED = frozenset(Status) - FINAL

SHOWN_AS: Mapping[Status, str] = {
    Status.QUEUED: "queued",
    Status.SUBMITTING: "queued",
    Status.RENDERING: "in_progress",
    Status.STORING: "in_progress",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}
"""The protocol's word for each status: all that a client ever sees of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The picture a video starts from: either an object in our bucket, or a URL that the worker has yet to fetch."""

    content_type: str = ""
    sha256: str = ""
    size: int = 0
    object_key: str = ""
    url: str = ""
    dimensions: str = ""
    """Width and height, spelt as a video's size; empty where they are not known yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The finished video that a remix starts from, which only the upstream and the key that made it know."""

    upstream_job_id: str
    key_fingerprint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """The finished video as it lies in the bucket; only written once the object is whole."""

    object_key: str
    size: int
    sha256: str
    content_type: str


SUFFIXES: Mapping[str, str] = {
    "video/mp4": "mp4",
    "video/webm": "webm",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
}
"""How the names of objects and of saved files end, by what they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a job failed: one of our codes, and cleaned text for the client."""

    code: FailureCode
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One row of the jobs table. Every `_at` is an instant in Unix seconds by the database's clock."""

    id: str
    client: str
    status: Status
    version: int
    """Moved on by every transition; `record` compares and sets it."""
    model: str
    """The name clients use; the upstream's own name for it belongs to routing."""
    size: str
    seconds: int
    created_at: float
    due_at: float
    prompt: str | None
    """None once retention has removed it."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=dict)
    reference: Reference | None = None
    callback_url: str | None = None
    callback_events: Sequence[str] = ()
    remixed_from: str | None = None
    """The client's own video that it is a remix of."""
    source: Source | None = None
    """The same video as its upstream knows it."""
    claim_token: int = 0
    claimed_by: str | None = None
    claimed_at: float | None = None
    progress: int = 0
    tries: int = 0
    """Consecutive tries of the present step that brought nothing: what the backoff counts."""
    missing: int = 0
    """Consecutive 404s of the present step: one alone says nothing, since upstreams show new jobs late.

    While `queued` those of its reference picture; while `submitting` all looks for it in the upstream's list.
    """
    missing_since: float | None = None
    stood_still_s: float = 0.0
    """For how long the clock of the present status stood still: refused keys and our bucket are not its fault."""
    bucket_failed: bool = False
    """Whether the bucket refused a transfer, which then is the reason if the content is gone afterwards."""
    routes: Sequence[str] = ()
    """The upstreams that can make it, in the order in which they are tried. After acceptance only a record."""
    upstream: str | None = None
    upstream_key: str | None = None
    """The name of the key that accepted it, never the key."""
    key_fingerprint: str | None = None
    """Of that key's secret: under the same name there may be another by now, which knows nothing of this video."""
    upstream_job_id: str | None = None
    accepted_at: float | None = None
    rendered_at: float | None = None
    """When the gateway saw that the upstream had finished."""
    content_expires_at: float | None = None
    """Until when the upstream keeps the finished content, where it says so."""
    stored: Stored | None = None
    variants: Mapping[str, Stored] = field(default_factory=dict)
    """What lies beside the video, by name: `thumbnail`, `spritesheet`."""
    error: Failure | None = None
    finished_at: float | None = None
    removed_at: float | None = None
    """When retention removed the objects and the prompt."""
    deleted_at: float | None = None

    @property
    def objects(self) -> Sequence[str]:
        """The keys of all that was stored of it."""
        return [one.object_key for one in (self.stored, *self.variants.values()) if one is not None]

    @property
    def final(self) -> bool:
        """Whether nothing but retention will ever touch it again."""
        return self.status in FINAL


def new_id(prefix: str, now: float) -> str:
    """Return `prefix_` and 32 hex digits that sort by time: 48 bits of milliseconds, then 80 random bits."""
    return f"{prefix}_{int(now * 1000) & (1 << 48) - 1:012x}{secrets.token_hex(10)}"
