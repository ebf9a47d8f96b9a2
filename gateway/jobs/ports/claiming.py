"""What the worker takes for a while: due jobs, turns, slots upstream."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.jobs.job import Job, Status


class Claims(Protocol):
    """Taking due rows for a while. A claim is one statement: no two workers get the same row."""

    def due(self, status: Status, *, worker: str, limit: int, lease_s: float, now: float) -> Sequence[Job]:
        """Claim up to `limit` due jobs in `status` and push their `due_at` by `lease_s`."""

    def round(
        self,
        upstream: str,
        fingerprint: str,
        *,
        worker: str,
        least: int,
        limit: int,
        until: float,
        lease_s: float,
        now: float,
    ) -> Sequence[Job]:
        """Claim the rendering jobs that one upstream key accepted and that are due before `until`, at most `limit`.

        Those accepted last come first, as in the upstream's list. Nothing is claimed unless one is due now, and `least`
        are due before `until`.
        """

    def accepted_after(self, job: Job, places: int) -> Job | None:
        """Return the rendering job that the same upstream key accepted `places` places later, where there is one."""

    def holds(self, job: Job) -> bool:
        """Whether the claim under which this job was read is still the last one and the job has not moved on."""

    def extend(self, job: Job, *, until: float) -> bool:
        """Push the `due_at` of a claim that is still held; False where it is not."""

    def release(self, job: Job, *, due_at: float) -> None:
        """Give a claim back unused; nothing where it is no longer held."""

    def release_all(self, claimed: Sequence[Job], *, due_at: float) -> None:
        """Give claims back unused; nothing of those that are no longer held."""

    def release_unbegun(self, worker: str, *, since: float, until: float, due_at: float) -> tuple[int, int]:
        """Give back what a worker claimed from `since` to `until`, save submits under way.

        Return how many were given back, and how many are left, since somebody has them locked.
        """

    def queued(self, *, after: Job | None, limit: int) -> Sequence[Job]:
        """Return queued jobs, oldest first, from behind `after`."""

    def reroute(self, job: Job, routes: Sequence[str]) -> bool:
        """Give a queued job that has not changed since it was read other routes; False where it has changed."""

    def expired_in_queue(self, *, before: float, limit: int) -> Sequence[Job]:
        """Return queued jobs accepted before an instant, oldest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """One upstream key with the jobs it may take now, as the submit step sees it."""

    upstream: str
    key: str
    fingerprint: str
    routes: Collection[tuple[str, ...]]
    """Of queued jobs: only those whose `routes` are among these."""
    max_concurrent: int
    others: Collection[str] = ()
    """The fingerprints of the upstream's other keys. A remix whose source one of them made is theirs alone."""


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

    def waiting_routes(self) -> Collection[tuple[str, ...]]:
        """Return the different `routes` of all queued jobs."""

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

    def free(self, submission: Submission, *, now: float) -> bool:
        """Free the slot of a submission; False where its outcome is no longer the one that it was read with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Narrowed:
    """To how many requests a minute a key was narrowed, and when."""

    to: int
    at: float


class Lanes(Protocol):
    """Upstream keys: their pauses and their request rates, kept by all workers together."""

    def pause(self, upstream: str, key: str, *, reason: str, answer: str, now: float) -> None:
        """Stop submitting on a key and set the time of its next probe, further off each time."""

    def resume(self, upstream: str, key: str | None, *, now: float) -> int:
        """Submit again at once; returns how many keys were paused."""

    def answered(self, upstream: str, key: str, *, now: float) -> None:
        """The key was taken: end its pause, where there is one."""

    def narrow(self, upstream: str, key: str, *, to: int, wait_s: float, now: float) -> None:
        """Note that a key is to be asked for `to` requests a minute, and for none within the next `wait_s`."""

    def narrowed(self, *, since: float) -> Mapping[tuple[str, str], Narrowed]:
        """Return by upstream and key which were narrowed since then."""

    def take_requests(
        self, upstream: str, key: str, *, wanted: int, per_minute: int, now: float, owed: bool = False
    ) -> int:
        """Take up to `wanted` requests from the key's rate, or with `owed` all of them; only where a limit is set."""

    def next_request_at(self, upstream: str, key: str, *, per_minute: int, now: float) -> float:
        """Return when the key's rate grants the next request; only where a limit is set."""
