"""The read side: what the API and the operator's commands ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.jobs.job import Job


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened to a job."""

    at: float
    event: str
    status_before: str | None
    status: str | None
    detail: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoFilter:
    """Which of a client's videos to list, and from where."""

    limit: int = 20
    after: str | None = None
    newest_first: bool = True
    status: str | None = None
    """The protocol's word."""
    model: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One try at a delivery. `finished_at` is None where the process died during it."""

    number: int
    started_at: float
    finished_at: float | None
    outcome: str
    status: int | None
    latency_ms: int | None
    answer: str
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryRecord:
    """One callback to make, with its attempts, oldest first."""

    id: str
    event_id: str
    type: str
    video_id: str | None
    """None: the test of an endpoint."""
    endpoint_id: str | None
    """None: it goes to the video's own callback URL."""
    url: str
    status: str
    created_at: float
    due_at: float | None
    attempts: Sequence[Attempt]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryFilter:
    """Which of a client's deliveries to list, and from where."""

    limit: int = 20
    after: str | None = None
    newest_first: bool = True
    status: str | None = None
    since: float | None = None
    """Only those written at this instant or later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerBeat:
    """A worker's last sign of life."""

    id: str
    beat_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyState:
    """One upstream key as the operator sees it."""

    upstream: str
    key: str
    slots_used: int
    paused_at: float | None
    pause_reason: str | None
    probe_at: float | None
    last_answer: str | None
    last_answer_at: float | None


class Queries(Protocol):
    """Reading. None of these locks anything or waits for a writer."""

    def now(self) -> float:
        """Return the database's clock, to a few milliseconds."""

    def job(self, job_id: str, *, client: str | None) -> Job:
        """Return a job; of that client, unless None. Raises NotFound, also for a deleted one."""

    def finished(self, job_ids: Collection[str]) -> Collection[str]:
        """Return those of these jobs that are final or deleted."""

    def jobs(self, client: str, wanted: VideoFilter) -> tuple[Sequence[Job], bool]:
        """Return a page and whether there is more; raises NotFound where `after` is not one of the client's."""

    def events(self, job_id: str) -> Sequence[Event]:
        """Return what happened to a job, in order: history and delivery attempts."""

    def deliveries(self, job_id: str) -> Sequence[DeliveryRecord]:
        """Return a job's deliveries, oldest first."""

    def client_deliveries(self, client: str, wanted: DeliveryFilter) -> tuple[Sequence[DeliveryRecord], bool]:
        """Return a page and whether there is more; raises NotFound where `after` is not one of the client's."""

    def attempted(self, delivery_ids: Collection[str]) -> Collection[str]:
        """Return those of these deliveries whose first attempt is over, or that are not pending any more."""

    def first_attempt(self, delivery_id: str) -> Attempt | None:
        """Return the first attempt at a delivery; None where none was made, or it is not over."""

    def queue_position(self, job: Job) -> int:
        """Return 1 for the queued job of its model that is submitted next, in the turns that clients take."""

    def usual_duration_s(self, *, model: str, size: str, seconds: int) -> float | None:
        """Return the median time from acceptance upstream to the finished video; None until five are known."""

    def workers(self) -> Sequence[WorkerBeat]:
        """Return the workers known, newest beat first."""

    def upstream_keys(self) -> Sequence[KeyState]:
        """Return every upstream key that was used or paused."""

    def in_hand(self) -> Mapping[str, int]:
        """Return by upstream how many unfinished videos belong to it: submitted, or about to be."""

    def counts(self) -> Mapping[str, int]:
        """Return the number of unfinished jobs by status."""

    def deliveries_due(self, now: float) -> tuple[int, float | None]:
        """Return how many deliveries are pending, and how late in seconds the first is; None where there is none."""

    def schema_current(self) -> bool:
        """Whether the database is migrated to this program's schema; raises Unavailable where it can't be asked."""
