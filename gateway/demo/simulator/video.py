"""One simulated video: what was accepted, and what can be seen of it at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.demo.simulator.faults import Fault
from gateway.demo.simulator.language import trait
from gateway.demo.simulator.protocol import Failure, Seen, Status

_QUEUED_UNTIL = 0.04
_SHOWN = ("synonyms", "millis", "no-progress", "no-expiry", "no-source", "cloud")


@dataclass(kw_only=True, slots=True)
class Video:
    """What the simulator keeps of one video. Changed only under the ledger's lock."""

    id: str
    number: int
    owner: str
    model: str
    prompt: str
    size: str
    seconds: int
    created_at: float
    began: float
    """The monotonic time of its acceptance."""
    render_s: float
    picture: str = ""
    """SHA-256 of the reference picture as it came; empty where none did."""
    remixed_from: str | None = None
    forced: float = 0.0
    """How much of it, from 0 to 1, the control path has made."""
    finished_at: float | None = None
    """When the control path finished it."""
    deleted_at: float | None = None
    cancelled: bool = False
    """Whether it was unfinished when it was deleted."""
    polls: int = 0
    content_requests: int = 0
    downloads: int = 0
    """How many contents went out whole."""
    plan: Sequence[Fault] = ()

    def made(self, monotonic: float) -> float:
        """Return how much of it is made, from 0 to 1."""
        elapsed = (monotonic - self.began) / self.render_s if self.render_s > 0 else 1.0
        return min(1.0, max(self.forced, elapsed))

    def seen(self, *, monotonic: float, ttl_s: float, plan: Sequence[Fault]) -> Seen:
        """Return what it looks like. `plan` has its own faults and those of the server."""
        made = self.made(monotonic)
        status, failure = _end(plan) if made >= 1 else (_running(made), None)
        ended_at = None if status in {"queued", "in_progress"} else self.finished_at or self.created_at + self.render_s
        expires = trait("expires", plan)
        ttl = expires.number if expires else ttl_s
        stuck = trait("stuck", plan)
        limit = int(stuck.number) if stuck else 100 if status == "completed" else 99
        return Seen(
            id=self.id,
            model=self.model,
            prompt=self.prompt,
            size=self.size,
            seconds=self.seconds,
            status=status,
            progress=min(int(made * 100), limit),
            created_at=self.created_at,
            completed_at=ended_at,
            expires_at=ended_at + ttl if ended_at is not None and status == "completed" else None,
            failure=failure,
            remixed_from=self.remixed_from,
            traits=frozenset(name for name in _SHOWN if trait(name, plan)),
        )


def _running(made: float) -> Status:
    return "queued" if made < _QUEUED_UNTIL else "in_progress"


def _end(plan: Sequence[Fault]) -> tuple[Status, Failure | None]:
    """Return how a video that is made ends."""
    fate = next((fault for fault in plan if fault.row.name in _FATES), None)
    if fate is None:
        return "completed", None
    status, failure = _FATES[fate.row.name]
    if fate.row.name == "fail-http":
        failure = Failure(code="server_error", message="CUDA out of memory", http_status=int(fate.number))
    return status, failure


_FATES: dict[str, tuple[Status, Failure | None]] = {
    "fail-moderation": ("failed", Failure(code="moderation", message="", shape="dialect")),
    "fail-error": ("failed", Failure(code="server_error", message="The model failed to make the video.")),
    "fail-string": ("failed", Failure(code="", message="Content generation failed", shape="string")),
    "fail-null": ("failed", Failure(code="", message="", shape="null")),
    "fail-http": ("failed", None),
    "completed-error": (
        "completed",
        Failure(code="moderation_blocked", message="The result was blocked by moderation.", shape="object"),
    ),
    "expired": ("expired", None),
    "cancelled": ("cancelled", None),
    "stuck": ("in_progress", None),
}
