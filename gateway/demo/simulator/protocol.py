"""What passes between the routes of the simulator and a dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled", "expired"]
"""The simulator's own words; a dialect has its own."""

Asked = Literal["create", "poll", "list"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a model makes; lengths are whole seconds. An empty list means any."""

    sizes: Sequence[str]
    seconds: Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A submit that passed the checks. `picture` is the reference picture as it was sent."""

    model: str
    prompt: str
    size: str
    seconds: int
    picture: bytes | None = field(default=None, repr=False)
    remixed_from: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Why a video has no content. `shape` says how the answer spells it; `http_status` is that of a poll."""

    code: str
    message: str
    shape: Literal["dialect", "object", "string", "null"] = "dialect"
    http_status: int = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A video as it is at one moment. Every `_at` is in Unix seconds."""

    id: str
    model: str
    prompt: str
    size: str
    seconds: int
    status: Status
    progress: int
    created_at: float
    completed_at: float | None = None
    expires_at: float | None = None
    failure: Failure | None = None
    remixed_from: str | None = None
    traits: frozenset[str] = frozenset()
    link: str = ""
    """Where the file of a finished video lies that was put into a cloud store, for whoever has this link."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """An answer that is no video: HTTP status, JSON body, further headers."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """Raised while a request is read: answer with the refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class Say:
    """How a dialect says one kind of error."""

    status: int
    code: str | None
    type: str
    message: str
