"""The one writer: compare and set, history, deliveries and slots, in one transaction or not at all."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.conditions import is_pending
from gateway.db.engine import Database
from gateway.db.rows import changes_of, job_of
from gateway.db.tables import deliveries, history, jobs, objects, submissions
from gateway.db.telling import tell
from gateway.jobs.errors import Conflict, NotFound, StaleJob
from gateway.jobs.job import Job, Status
from gateway.jobs.lifecycle import Transition, cancel

# Built once: putting a statement together anew costs more than SQLite's answer to it.
_COMPARE_AND_SET = sa.update(jobs).where(jobs.c.id == sa.bindparam("of"), jobs.c.version == sa.bindparam("read"))
_NEW_HISTORY = sa.insert(history)


def write_transition(connection: Connection, transition: Transition, *, told: bool = True) -> Job:
    """Write a transition inside a transaction that does more; `SqlRecorder.record` is the usual way.

    Not `told`: nobody is called back.

    Raises StaleJob, and then nothing of the transaction may be kept.
    """
    before, after = transition.before, transition.after
    changes = changes_of(before, after)
    if transition.moved:
        # Whoever claimed the row since it was read, without changing it, holds it no longer: its step is over.
        changes |= {"due_at": after.due_at, "claimed_by": after.claimed_by}
    written = connection.execute(_COMPARE_AND_SET, {"of": before.id, "read": before.version, **changes})
    if written.rowcount != 1:
        raise StaleJob(before.id)
    if transition.noted:
        _write_history(connection, transition)
    if told:
        tell(connection, transition)
    _settle_submission(connection, transition)
    _settle_objects(connection, transition)
    return after


def _write_history(connection: Connection, transition: Transition) -> None:
    row = {
        "job_id": transition.after.id,
        "at": transition.at,
        "event": transition.event,
        "status_before": transition.before.status.value,
        "status": transition.after.status.value,
        "detail": dict(transition.detail),
    }
    connection.execute(_NEW_HISTORY, row)


def _settle_submission(connection: Connection, transition: Transition) -> None:
    """Free the slot where the upstream is done; else, of a job that is final, hand it to the clean-up."""
    job = transition.after
    if transition.moved and job.status is Status.RENDERING:
        # An answer that seemed to come too late came in time after all.
        wanted = (submissions.c.job_id == job.id, submissions.c.upstream_job_id == job.upstream_job_id)
        connection.execute(sa.update(submissions).where(*wanted).values(due_at=None))
    if not (transition.frees_slot or job.final):
        return
    values: dict[str, Any] = {"slot_released_at" if transition.frees_slot else "due_at": transition.at}
    connection.execute(
        sa.update(submissions)
        .where(submissions.c.job_id == job.id, submissions.c.slot_released_at.is_(None))
        .values(**values)
    )


def _settle_objects(connection: Connection, transition: Transition) -> None:
    """Keep the video's objects, and hand the reference to the sweep: a final job has no more use for it."""
    job = transition.after
    if not job.final:
        return
    if job.objects:
        kept = connection.execute(
            sa.update(objects)
            .where(objects.c.key.in_(job.objects), objects.c.state == "writing")
            .values(state="kept", due_at=None)
        )
        # The lease ran out and the sweep has taken one of them: this try is lost, whatever was uploaded.
        if kept.rowcount != len(job.objects):
            raise StaleJob(job.id)
    # As it was before: a job that ends forgets a reference that a client may have signed, and its object with it.
    reference = transition.before.reference
    if reference and reference.object_key:
        discard(connection, reference.object_key, transition.at)


def discard(connection: Connection, key: str, now: float) -> None:
    """Hand an object to the sweep."""
    connection.execute(sa.update(objects).where(objects.c.key == key).values(state="garbage", due_at=now, sweeps=0))


class SqlRecorder:
    """The door through which every job changes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, transition: Transition) -> Job:
        """Write the transition, its history row and its deliveries, all or nothing; raises StaleJob."""
        with self._database.write() as connection:
            return write_transition(connection, transition)

    def cancel(self, job_id: str, *, client: str, now: float) -> Job:
        """Cancel a job, whatever it does now. Raises NotFound, or Conflict where it is final otherwise."""
        with self._database.write() as connection:
            return _cancel(connection, _owned(connection, job_id, client), now)

    def erase(self, job_id: str, *, client: str, now: float) -> None:
        """Delete a job: cancel it if unfinished, give up its deliveries, hand its objects to the sweep."""
        with self._database.write() as connection:
            job = _owned(connection, job_id, client)
            if not job.final:
                job = write_transition(connection, cancel(job, at=now), told=False)
            _erase(connection, job, now)


def _owned(connection: Connection, job_id: str, client: str) -> Job:
    # Locked, so that nobody can move it before this transaction does. Not against foreign keys: those may refer to it.
    found = connection.execute(
        sa.select(jobs)
        .where(jobs.c.id == job_id, jobs.c.client == client, jobs.c.deleted_at.is_(None))
        .with_for_update(key_share=True)
    ).mappings()
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"There is no video '{job_id[:80]}'.", code="not_found", param="video_id")
    return job_of(row)


def _cancel(connection: Connection, job: Job, now: float) -> Job:
    if job.status is Status.CANCELLED:
        return job
    if job.final:
        raise Conflict(f"The video is {job.status} already and can't be cancelled.", code="already_final")
    return write_transition(connection, cancel(job, at=now))


def _erase(connection: Connection, job: Job, now: float) -> None:
    connection.execute(
        sa.update(jobs)
        .where(jobs.c.id == job.id)
        .values(deleted_at=now, removed_at=now, prompt=None, reference=None, version=jobs.c.version + 1)
    )
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.job_id == job.id, is_pending())
        .values(status="disabled", due_at=None, claimed_by=None)
    )
    for key in job.objects:
        discard(connection, key, now)
    connection.execute(
        sa.insert(history).values(
            job_id=job.id, at=now, event="deleted", status_before=job.status.value, status=job.status.value, detail={}
        )
    )
