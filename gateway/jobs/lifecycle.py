"""The life of a job as data: which arrows exist, and one named function for each change that a job can go through.

Nothing else makes a `Transition`, and only `Recorder.record` writes one, so this table is the whole truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.jobs.job import FINAL, Failure, Job, Status, Stored

ARROWS: Mapping[Status, Sequence[Status]] = {
    Status.QUEUED: (Status.SUBMITTING, Status.FAILED, Status.CANCELLED),
    # Back to the queue only where it is certain that the upstream did not accept.
    Status.SUBMITTING: (Status.RENDERING, Status.QUEUED, Status.FAILED, Status.CANCELLED),
    Status.RENDERING: (Status.STORING, Status.FAILED, Status.CANCELLED),
    Status.STORING: (Status.COMPLETED, Status.FAILED, Status.CANCELLED),
    Status.COMPLETED: (),
    Status.FAILED: (),
    Status.CANCELLED: (),
}


ALL_NOTED = 10
"""So many tries in a row that brought nothing are each told in the history, then only the 16th, 32nd, 64th and so."""


class IllegalMove(Exception):
    """There is no such arrow: a programming error, never a remote's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """One change of one job, decided but not yet written. `record` writes all of it or nothing."""

    before: Job
    after: Job
    event: str
    """What happened, in the past tense: the name of the history row."""
    at: float
    detail: Mapping[str, object] = field(default_factory=dict)
    """What the history row tells beside the name: an upstream's answer, a reason."""
    frees_slot: bool = False
    """Whether the upstream is known to be done with the job, so that its place there is free again."""
    noted: bool = True
    """Whether it gets a history row; a job's counts change all the same."""

    @property
    def moved(self) -> bool:
        """Whether the status changes; otherwise it only notes what was learned."""
        return self.before.status is not self.after.status


def _move(
    job: Job,
    status: Status,
    event: str,
    at: float,
    *,
    detail: Mapping[str, object] | None = None,
    frees_slot: bool = False,
    **changes: Any,
) -> Transition:
    if status not in ARROWS[job.status]:
        message = f"{job.status} -> {status}"
        raise IllegalMove(message)
    fresh: dict[str, object] = {
        "tries": 0,
        "missing": 0,
        "missing_since": None,
        "stood_still_s": 0.0,
        "claimed_by": None,
        "due_at": at,
    }
    if status in FINAL and job.reference and job.reference.url:
        # The client may have signed it, and nobody will fetch it any more.
        fresh["reference"] = None
    after = replace(job, **{**fresh, **changes, "status": status, "version": job.version + 1})
    return Transition(before=job, after=after, event=event, at=at, detail=detail or {}, frees_slot=frees_slot)


def _note(job: Job, event: str, at: float, detail: Mapping[str, object], **changes: Any) -> Transition:
    if job.final:
        message = f"{job.status} is final"
        raise IllegalMove(message)
    after = replace(job, **{"claimed_by": None, **changes, "version": job.version + 1})
    return Transition(before=job, after=after, event=event, at=at, detail=detail)


def submit(job: Job, *, upstream: str, key: str, due_at: float, at: float) -> Transition:
    """Write the intent to POST. `due_at` is when, without an answer, reconciling may begin."""
    return _move(
        job, Status.SUBMITTING, "submitting", at, detail={"upstream": upstream, "key": key},
        upstream=upstream, upstream_key=key, due_at=due_at, claimed_by=job.claimed_by, tries=job.tries,
    )  # fmt: skip


def accept(job: Job, *, upstream_job_id: str, due_at: float, at: float, detail: Mapping[str, object]) -> Transition:
    """The upstream took it; polled first at `due_at`, and the video's own time runs from `at`."""
    return _move(
        job, Status.RENDERING, "accepted", at, detail=detail,
        upstream_job_id=upstream_job_id, accepted_at=at, due_at=due_at,
    )  # fmt: skip


def requeue(
    job: Job,
    *,
    event: str,
    due_at: float,
    at: float,
    detail: Mapping[str, object],
    routes: Sequence[str] | None = None,
) -> Transition:
    """Surely not accepted, or proven absent: submit again, not before `due_at`, and only to `routes` where given."""
    return _move(
        job, Status.QUEUED, event, at, detail=detail, frees_slot=True,
        due_at=due_at, tries=job.tries + 1, upstream=None, upstream_key=None,
        routes=job.routes if routes is None else tuple(routes),
    )  # fmt: skip


def reroute(job: Job, *, event: str, routes: Sequence[str], at: float, detail: Mapping[str, object]) -> Transition:
    """Found out before anything was sent: only these upstreams can make it."""
    return _note(job, event, at, detail, due_at=at, routes=tuple(routes))


def begin_transfer(job: Job, *, expires_at: float | None, at: float, detail: Mapping[str, object]) -> Transition:
    """The upstream finished: fetch the content at once, since its links die quickly."""
    return _move(
        job, Status.STORING, "rendered", at, detail=detail, frees_slot=True,
        progress=99, rendered_at=at, content_expires_at=expires_at,
    )  # fmt: skip


def complete(
    job: Job,
    *,
    stored: Stored,
    variants: Mapping[str, Stored] | None = None,
    at: float,
    detail: Mapping[str, object],
) -> Transition:
    """The object lies whole in the bucket, and beside it what there is of `variants`."""
    return _move(
        job,
        Status.COMPLETED,
        "completed",
        at,
        detail=detail,
        progress=100,
        stored=stored,
        variants=variants or {},
        finished_at=at,
    )


def fail(
    job: Job, failure: Failure, *, at: float, upstream_done: bool, detail: Mapping[str, object] | None = None
) -> Transition:
    """It ends without a video. `upstream_done` tells whether the upstream is known to work on it no longer."""
    told = {"code": failure.code, "message": failure.message, **(detail or {})}
    return _move(
        job, Status.FAILED, "failed", at, detail=told, frees_slot=upstream_done,
        error=failure, finished_at=at,
    )  # fmt: skip


def cancel(job: Job, *, at: float) -> Transition:
    """The client wants it no longer; what the upstream still does for it is cleaned up by its submission."""
    done = job.status in {Status.QUEUED, Status.STORING}
    return _move(job, Status.CANCELLED, "cancelled", at, frees_slot=done, finished_at=at)


def progress(job: Job, *, percent: int, due_at: float, at: float, detail: Mapping[str, object]) -> Transition:
    """The upstream got on; asked again at `due_at`."""
    return _note(job, "progressed", at, detail, due_at=due_at, progress=percent, tries=0, missing=0, missing_since=None)


def answered(job: Job, *, due_at: float, at: float, detail: Mapping[str, object]) -> Transition:
    """A valid answer with nothing new, after some that were not valid: the counts begin again."""
    return _note(job, "answered", at, detail, due_at=due_at, tries=0, missing=0, missing_since=None)


def again(
    job: Job,
    *,
    event: str,
    due_at: float,
    at: float,
    detail: Mapping[str, object],
    missing: bool = False,
    stood_still_s: float = 0.0,
    bucket_failed: bool = False,
) -> Transition:
    """A try brought nothing: the next one is due at `due_at`."""
    count = job.tries + 1
    transition = _note(
        job, event, at, {**detail, "in_a_row": count}, due_at=due_at, tries=count,
        missing=job.missing + 1 if missing else job.missing,
        missing_since=(job.missing_since or at) if missing else job.missing_since,
        stood_still_s=job.stood_still_s + stood_still_s,
        bucket_failed=job.bucket_failed or bucket_failed,
    )  # fmt: skip
    # An upstream that is away for a day answers badly some 2,900 times: told once for each doubling from then on.
    return replace(transition, noted=count <= ALL_NOTED or count.bit_count() == 1)


def diagram() -> str:
    """Return the table of arrows as a Mermaid state diagram, for the README."""
    lines = ["stateDiagram-v2", "    [*] --> queued"]
    lines += [f"    {before} --> {after}" for before, arrows in ARROWS.items() for after in arrows]
    lines += [f"    {status} --> [*]" for status in Status if status in FINAL]
    return "\n".join(lines) + "\n"
