"""What the core, the API and the worker ask of the database. `gateway.db` is the one implementation, on two engines.

Every instant is Unix seconds by the database's clock; `now` is read once a tick or request and passed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.jobs.job import Job, Status
from gateway.jobs.lifecycle import Transition

# -- clients -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who sent a request: a client, by one of its keys."""

    client: str
    admin: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """One API key as it may be listed: without itself."""

    id: str
    client: str
    admin: bool
    hint: str
    """Its last four characters."""
    created_at: float
    revoked_at: float | None


class Clients(Protocol):
    """Clients and their API keys, which are stored hashed."""

    def caller(self, secret: str) -> Caller | None:
        """Return whose key this is, unless it is unknown or revoked."""

    def any_key(self) -> bool:
        """Whether there is any key that is not revoked."""

    def create_key(self, client: str, *, admin: bool, now: float) -> tuple[ApiKey, str]:
        """Make a key, and the client where it is new; the second value is the key itself, shown this once."""

    def keys(self) -> Sequence[ApiKey]:
        """Return every key, revoked ones too, oldest first."""

    def revoke_key(self, key_id: str, *, now: float) -> bool:
        """Revoke a key from now on; whether there was one to revoke."""

    def secret_versions(self, client: str, *, now: float) -> Sequence[int]:
        """Return the versions of the client's webhook secret that sign now, newest first; two for a day after a rotation."""

    def rotate_secret(self, client: str, *, now: float) -> int:
        """Move the client's webhook secret on; returns the new version. Raises NotFound."""


# -- accepting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """What became of a request: the job, and whether it is the one of an earlier equal request."""

    job: Job
    replayed: bool


class Inbox(Protocol):
    """Where accepted jobs are put: one transaction with their history and their idempotency record."""

    def accept(
        self,
        job: Job,
        *,
        request_hash: str,
        idempotency_key: str | None,
        sdk_retry: bool,
        max_unfinished: int,
        now: float,
    ) -> Acceptance:
        """Insert the job, or return the one that an equal request made before.

        Raises KeyReused, QueueFull, Unavailable. `sdk_retry`: an equal job of the same client, accepted within 10
        minutes and not yet matched to a retry, is the answer.
        """

    def replay(self, client: str, *, request_hash: str, idempotency_key: str, now: float) -> Job | None:
        """Return the job that this key made before, if it did; raises KeyReused."""


class RateLimits(Protocol):
    """How many requests a client sends, counted over every process."""

    def take(self, client: str, *, per_minute: int, now: float) -> float | None:
        """Take one request from the client's rate; None where it may go on, else the seconds until the next one may."""


# -- reading -----------------------------------------------------------------------------------------------------------


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
    video_id: str
    url: str
    status: str
    created_at: float
    due_at: float | None
    attempts: Sequence[Attempt]


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
        """Return the database's clock."""

    def job(self, job_id: str, *, client: str | None) -> Job:
        """Return a job; of that client, unless None. Raises NotFound, also for a deleted one."""

    def jobs(self, client: str, wanted: VideoFilter) -> tuple[Sequence[Job], bool]:
        """Return a page and whether there is more; raises NotFound where `after` is not one of the client's."""

    def events(self, job_id: str) -> Sequence[Event]:
        """Return what happened to a job, in order: history and delivery attempts."""

    def deliveries(self, job_id: str) -> Sequence[DeliveryRecord]:
        """Return a job's deliveries, oldest first."""

    def queue_position(self, job: Job) -> int:
        """Return 1 for the queued job of its model that was accepted first."""

    def usual_duration_s(self, *, model: str, size: str, seconds: int) -> float | None:
        """Return the median time from acceptance upstream to the finished video; None until five are known."""

    def workers(self) -> Sequence[WorkerBeat]:
        """Return the workers known, newest beat first."""

    def upstream_keys(self) -> Sequence[KeyState]:
        """Return every upstream key that was used or paused."""

    def counts(self) -> Mapping[str, int]:
        """Return the number of jobs by status, deleted ones left out."""

    def deliveries_due(self, now: float) -> tuple[int, float | None]:
        """Return how many deliveries are pending, and how late in seconds the first is; None where there is none."""

    def schema_current(self) -> bool:
        """Whether the database is migrated to this program's schema; raises Unavailable where it can't be asked."""


# -- changing ----------------------------------------------------------------------------------------------------------


class Recorder(Protocol):
    """The one door through which a job changes."""

    def record(self, transition: Transition) -> Job:
        """Write the transition, its history row and its deliveries, all or nothing; return the job as it is now.

        Raises StaleJob where the row moved on since it was read.
        """

    def erase(self, job_id: str, *, client: str, now: float) -> None:
        """Delete a job: cancel it if unfinished, give up its deliveries, sweep its objects. Raises NotFound."""

    def cancel(self, job_id: str, *, client: str, now: float) -> Job:
        """Cancel a job, reading again where it moved meanwhile. Raises NotFound, or Conflict where it is final."""


# -- the worker's claims -----------------------------------------------------------------------------------------------


class Claims(Protocol):
    """Taking due rows for a while. A claim is one statement: no two workers get the same row."""

    def due(self, status: Status, *, worker: str, limit: int, lease_s: float, now: float) -> Sequence[Job]:
        """Claim up to `limit` due jobs in `status` and push their `due_at` by `lease_s`."""

    def holds(self, job: Job) -> bool:
        """Whether the claim under which this job was read is still the last one and the job has not moved on."""

    def extend(self, job: Job, *, until: float) -> bool:
        """Push the `due_at` of a claim that is still held; False where it is not."""

    def release(self, job: Job, *, due_at: float) -> None:
        """Give a claim back unused; nothing where it is no longer held."""

    def expired_in_queue(self, *, before: float, limit: int) -> Sequence[Job]:
        """Return queued jobs accepted before an instant, oldest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """One upstream key with the models it may be asked for, as the submit step sees it."""

    upstream: str
    key: str
    fingerprint: str
    models: Sequence[str]
    max_concurrent: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One POST that left or may have left, and what became of it. Its row is the slot it takes upstream."""

    id: str
    job_id: str
    upstream: str
    key: str
    fingerprint: str
    started_at: float
    closed_at: float | None
    outcome: Literal["unknown", "accepted", "refused", "absent"]
    upstream_job_id: str | None
    slot_released_at: float | None
    walked_at: float | None
    """When the first complete walk through the upstream's list found no orphan."""
    claim_token: int
    cancel_sent: bool


class Submissions(Protocol):
    """Where money is spent: intents, slots and orphans."""

    def take_turn(self, lane: Lane, *, worker: str, limit: int, lease_s: float, now: float) -> Sequence[Job]:
        """Claim queued jobs for a lane, as many as it has free slots and at most `limit`: fair among clients."""

    def begin(
        self, job: Job, lane: Lane, *, fingerprint: str, due_at: float, now: float
    ) -> tuple[Job, Submission] | None:
        """Commit the intent: slots counted under the key's lock, `submitting` and the submission in one transaction.

        None where there is no room, or an unresolved submission of the same fingerprint: the claim was given back.
        Raises StaleJob.
        """

    def accepted(self, submission: Submission, *, upstream_job_id: str, now: float) -> None:
        """Write down what the upstream accepted, whatever became of the job meanwhile."""

    def refused(self, submission: Submission, *, absent: bool, now: float) -> None:
        """Nothing was made: free the slot."""

    def lost(self, submission: Submission, *, now: float) -> None:
        """The answer is lost: note when the socket closed, from which the proof of absence counts."""

    def of_job(self, job: Job) -> Submission | None:
        """Return the latest submission of a job."""

    def claimed_ids(self, upstream: str, upstream_job_ids: Sequence[str]) -> Mapping[str, str]:
        """Return which of these ids belong to a submission of ours, and to whose."""

    def walked(self, submission: Submission, *, now: float) -> None:
        """A complete walk found no orphan; only the first is remembered."""

    def rivals(self, submission: Submission) -> int:
        """Return how many other submits of an equal request on this key ended unknown near this one's time."""

    def abandoned(self, *, worker: str, limit: int, lease_s: float, now: float) -> Sequence[Submission]:
        """Claim submissions that hold a slot for a job that is final: they are to be stopped or seen final."""

    def abandoned_again(self, submission: Submission, *, due_at: float, cancel_sent: bool) -> None:
        """Look at an abandoned submission again later."""

    def free(self, submission: Submission, *, now: float) -> None:
        """Free the slot of a submission."""


class Lanes(Protocol):
    """Upstream keys: their pauses and their request rates, kept by all workers together."""

    def pause(self, upstream: str, key: str, *, reason: str, answer: str, now: float) -> None:
        """Stop submitting on a key and set the time of its next probe, further off each time."""

    def resume(self, upstream: str, key: str | None, *, now: float) -> int:
        """Submit again at once; returns how many keys were paused."""

    def answered(self, upstream: str, key: str, *, now: float) -> None:
        """The key was taken: end its pause, where there is one."""

    def take_requests(self, upstream: str, key: str, *, wanted: int, per_minute: int, now: float) -> int:
        """Take up to `wanted` requests from the key's rate; only called where a limit is set."""


# -- deliveries --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A claimed callback: the facts as of the transition. Link, body and signature are made at each attempt."""

    id: str
    event_id: str
    type: str
    client: str
    job_id: str
    url: str
    receiver: str
    created_at: float
    facts: Mapping[str, object]
    attempts: int
    tries: int
    """How much of the schedule is used up."""
    claim_token: int
    stored_key: str | None
    """Where the video lies, if it still does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptResult:
    """What one attempt brought."""

    status: int | None
    latency_ms: int
    answer: str
    error: str


class Outbox(Protocol):
    """Callbacks to make, and the breakers of their receivers."""

    def due(self, *, worker: str, limit: int, per_receiver: int, lease_s: float, now: float) -> Sequence[Delivery]:
        """Claim due deliveries, at most `per_receiver` for one receiver and none behind an open breaker."""

    def started(self, delivery: Delivery, *, now: float) -> bool:
        """Write the attempt before it is made; False where the claim is lost or the delivery was given up."""

    def delivered(self, delivery: Delivery, result: AttemptResult, *, now: float) -> None:
        """A 2xx: done, and the receiver is well."""

    def failed(
        self, delivery: Delivery, result: AttemptResult, *, due_at: float | None, held_until: float | None, now: float
    ) -> None:
        """No 2xx: again at `due_at`, or exhausted where None. `held_until` opens the receiver's breaker."""

    def disabled(self, delivery: Delivery, result: AttemptResult, *, now: float) -> None:
        """The receiver said 410: no more attempts."""

    def receiver_failures(self, delivery: Delivery) -> int:
        """Return how often this receiver failed in a row."""

    def redeliver(self, delivery_id: str, *, client: str, now: float) -> DeliveryRecord:
        """Make a delivery due at once, with its schedule from the start. Raises NotFound, or Conflict."""


# -- objects and workers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """An object that nothing names any more."""

    key: str
    sweeps: int


class Ledger(Protocol):
    """Every object that was ever begun, written before the first byte: what no job names is swept."""

    def begin(self, key: str, *, until: float, now: float) -> None:
        """Note an object about to be written; not named by a job at `until`, it is garbage."""

    def extend(self, key: str, *, until: float) -> bool:
        """The writing goes on; False where the sweep has taken it."""

    def discard(self, key: str, *, now: float) -> None:
        """The try is lost: sweep it."""

    def leftovers(self, *, limit: int, lease_s: float, now: float) -> Sequence[Leftover]:
        """Claim objects to be removed."""

    def swept(self, leftover: Leftover, *, now: float) -> None:
        """It was removed; looked at once more later, since an upload under way may land after its removal."""

    def retire(self, *, before: float, limit: int, now: float) -> int:
        """Hand the objects of videos that finished before an instant to the sweep and forget their prompts."""


class Workers(Protocol):
    """Who is alive, and what the dead held."""

    def join(self, worker: str, *, now: float) -> None:
        """Enter a worker, and take the lock that proves it alive."""

    def beat(self, worker: str, *, now: float) -> None:
        """Give a sign of life."""

    def bury(self, *, silent_since: float, poll_lease_s: float, now: float) -> int:
        """Release the claims of workers silent since then; of `submitting` only where the owner is proven dead."""

    def leave(self, worker: str) -> None:
        """End a worker in good order."""
