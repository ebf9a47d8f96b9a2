"""Submissions: the rows that are slots upstream, from the intent to POST until the upstream is seen done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from gateway.db.engine import Database
from gateway.db.record import write_transition
from gateway.db.rows import job_of
from gateway.db.tables import clients, jobs, submissions, upstream_keys
from gateway.jobs import lifecycle
from gateway.jobs.job import FINAL, Job, Status, new_id
from gateway.jobs.ports import Lane, Submission

_NEIGHBOURHOOD_S = 3600.0
"""How close in time two submits of equal requests must be for one's orphan to be taken for the other's."""


class SqlSubmissions:
    """Intents, slots and orphans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take_turn(self, lane: Lane, *, worker: str, limit: int, lease_s: float, now: float) -> Sequence[Job]:
        """Claim queued jobs for a lane, as many as it has free slots and at most `limit`: fair among clients."""
        if limit <= 0 or not self._any_queued(lane, now):
            return []
        with self._database.write() as connection:
            state = _lock_lane(connection, lane)
            room = min(limit, lane.max_concurrent - _used(connection, lane) - _preparing(connection, lane, now))
            if state["paused_at"] is not None:
                # A refused key is probed by one real submit at a time, and only when its time has come.
                room = min(room, 1) if state["probe_at"] <= now and _preparing(connection, lane, now) == 0 else 0
            taken: list[Job] = []
            while len(taken) < room:
                job = _next_in_turn(connection, lane, now)
                if job is None:
                    break
                taken.append(_take(connection, job, lane, worker, now + lease_s, now))
            return taken

    def _any_queued(self, lane: Lane, now: float) -> bool:
        with self._database.read() as connection:
            return connection.scalar(sa.select(jobs.c.id).where(*_waiting(lane, now)).limit(1)) is not None

    def begin(
        self, job: Job, lane: Lane, *, fingerprint: str, due_at: float, now: float
    ) -> tuple[Job, Submission] | None:
        """Commit the intent: slots counted under the key's lock, `submitting` and the submission's row in one transaction.

        None where there is no room, or an unresolved submission of the same fingerprint. Raises StaleJob.
        """
        submission = Submission(
            id=new_id("sub", now), job_id=job.id, upstream=lane.upstream, key=lane.key, fingerprint=fingerprint,
            started_at=now, closed_at=None, outcome="unknown", upstream_job_id=None, slot_released_at=None,
            walked_at=None, claim_token=0, cancel_sent=False,
        )  # fmt: skip
        try:
            with self._database.write() as connection:
                _lock_lane(connection, lane)
                if _used(connection, lane) >= lane.max_concurrent:
                    return None
                connection.execute(sa.insert(submissions).values(_intent(submission, lane)))
                moved = lifecycle.submit(job, upstream=lane.upstream, key=lane.key, due_at=due_at, at=now)
                return write_transition(connection, moved), submission
        except IntegrityError:
            return None

    def accepted(self, submission: Submission, *, upstream_job_id: str, now: float) -> None:
        """Write down what the upstream accepted, whatever became of the job meanwhile."""
        with self._database.write() as connection:
            status = connection.scalar(sa.select(jobs.c.status).where(jobs.c.id == submission.job_id))
            abandoned = Status(status) in FINAL
            connection.execute(
                sa.update(submissions)
                .where(submissions.c.id == submission.id)
                .values(
                    outcome="accepted", upstream_job_id=upstream_job_id, closed_at=now,
                    due_at=now if abandoned else None,
                )
            )  # fmt: skip

    def refused(self, submission: Submission, *, absent: bool, now: float) -> None:
        """Nothing was made: free the slot."""
        self._set(
            submission, outcome="absent" if absent else "refused", closed_at=now, slot_released_at=now, due_at=None
        )

    def lost(self, submission: Submission, *, now: float) -> None:
        """The answer is lost: note when the socket closed, from which the proof of absence counts."""
        self._set(submission, closed_at=now)

    def walked(self, submission: Submission, *, now: float) -> None:
        """A complete walk found no orphan; only the first is remembered."""
        self._set(submission, walked_at=sa.func.coalesce(submissions.c.walked_at, now))

    def free(self, submission: Submission, *, now: float) -> None:
        """Free the slot of a submission."""
        self._set(submission, slot_released_at=now, due_at=None)

    def abandoned_again(self, submission: Submission, *, due_at: float, cancel_sent: bool) -> None:
        """Look at an abandoned submission again later."""
        self._set(submission, due_at=due_at, cancel_sent=cancel_sent)

    def _set(self, submission: Submission, **values: object) -> None:
        with self._database.write() as connection:
            connection.execute(sa.update(submissions).where(submissions.c.id == submission.id).values(**values))

    def of_job(self, job: Job) -> Submission | None:
        """Return the latest submission of a job."""
        latest = (
            sa.select(submissions)
            .where(submissions.c.job_id == job.id)
            .order_by(submissions.c.started_at.desc(), submissions.c.id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(latest).mappings().one_or_none()
            return _submission_of(row) if row else None

    def claimed_ids(self, upstream: str, upstream_job_ids: Sequence[str]) -> Mapping[str, str]:
        """Return which of these ids belong to a submission of ours, and to whose."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(submissions.c.upstream_job_id, submissions.c.id).where(
                    submissions.c.upstream == upstream, submissions.c.upstream_job_id.in_(upstream_job_ids)
                )
            )
            return {row[0]: row[1] for row in rows}

    def rivals(self, submission: Submission) -> int:
        """Return how many other submits of an equal request on this key ended unknown near this one's time.

        Their orphans would look like this one's, so an adoption could hand one client another's picture.
        """
        with self._database.read() as connection:
            return int(
                connection.scalar(
                    sa.select(sa.func.count()).where(
                        submissions.c.upstream == submission.upstream,
                        submissions.c.key == submission.key,
                        submissions.c.fingerprint == submission.fingerprint,
                        submissions.c.outcome == "unknown",
                        submissions.c.id != submission.id,
                        submissions.c.started_at > submission.started_at - _NEIGHBOURHOOD_S,
                    )
                )
                or 0
            )

    def abandoned(self, *, worker: str, limit: int, lease_s: float, now: float) -> Sequence[Submission]:
        """Claim submissions that hold a slot for a job that is final: they are to be stopped or seen final."""
        del worker  # the lease alone gives them back: nobody waits for an abandoned video
        due = (submissions.c.due_at <= now, submissions.c.slot_released_at.is_(None))
        with self._database.read() as connection:
            if connection.scalar(sa.select(submissions.c.id).where(*due).limit(1)) is None:
                return []
        picked = (
            sa.select(submissions.c.id)
            .where(*due)
            .order_by(submissions.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("picked")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        claim = (
            sa.update(submissions)
            .where(submissions.c.id.in_(sa.select(picked.c.id)))
            .values(due_at=now + lease_s, claim_token=submissions.c.claim_token + 1)
            .returning(*submissions.c)
        )
        with self._database.write() as connection:
            return [_submission_of(row) for row in connection.execute(claim).mappings()]


def _waiting(lane: Lane, now: float) -> tuple[sa.ColumnElement[bool], ...]:
    return (jobs.c.status == Status.QUEUED.value, jobs.c.due_at <= now, jobs.c.model.in_(lane.models))


def lock_key(connection: Connection, upstream: str, key: str) -> RowMapping:
    """Lock the row of an upstream key, made where it is new: two workers must not both see the last free slot."""
    mine = (upstream_keys.c.upstream == upstream, upstream_keys.c.key == key)
    row = connection.execute(sa.select(upstream_keys).where(*mine).with_for_update()).mappings().one_or_none()
    if row is not None:
        return row
    values = {"upstream": upstream, "key": key}
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415 - the two dialects' inserts share a name

        connection.execute(insert(upstream_keys).values(values).on_conflict_do_nothing())
    else:
        connection.execute(sa.insert(upstream_keys).values(values))
    return connection.execute(sa.select(upstream_keys).where(*mine).with_for_update()).mappings().one()


def _lock_lane(connection: Connection, lane: Lane) -> RowMapping:
    return lock_key(connection, lane.upstream, lane.key)


def _used(connection: Connection, lane: Lane) -> int:
    used = sa.select(sa.func.count()).where(
        submissions.c.upstream == lane.upstream, submissions.c.key == lane.key, submissions.c.slot_released_at.is_(None)
    )
    return int(connection.scalar(used) or 0)


def _preparing(connection: Connection, lane: Lane, now: float) -> int:
    """Claimed for this lane, but its intent is not written yet."""
    preparing = sa.select(sa.func.count()).where(
        jobs.c.status == Status.QUEUED.value,
        jobs.c.claimed_by.is_not(None),
        jobs.c.due_at > now,
        jobs.c.upstream == lane.upstream,
        jobs.c.upstream_key == lane.key,
    )
    return int(connection.scalar(preparing) or 0)


def _next_in_turn(connection: Connection, lane: Lane, now: float) -> Job | None:
    """The oldest row of the client whose turn is oldest."""
    waiting = sa.exists().where(jobs.c.client == clients.c.name, *_waiting(lane, now))
    client = connection.scalar(
        sa.select(clients.c.name).where(waiting).order_by(clients.c.turn, clients.c.name).limit(1)
    )
    if client is None:
        return None
    oldest = (
        sa.select(jobs)
        .where(jobs.c.client == client, *_waiting(lane, now))
        .order_by(jobs.c.created_at, jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(oldest).mappings().one_or_none()
    return job_of(row) if row else None


def _take(connection: Connection, job: Job, lane: Lane, worker: str, until: float, now: float) -> Job:
    last = sa.select(sa.func.coalesce(sa.func.max(clients.c.turn), 0) + 1).scalar_subquery()
    connection.execute(sa.update(clients).where(clients.c.name == job.client).values(turn=last))
    claimed = (
        sa.update(jobs)
        .where(jobs.c.id == job.id)
        .values(
            due_at=until, claim_token=jobs.c.claim_token + 1, claimed_by=worker, claimed_at=now,
            upstream=lane.upstream, upstream_key=lane.key,
        )
        .returning(*jobs.c)
    )  # fmt: skip
    return job_of(connection.execute(claimed).mappings().one())


def _intent(submission: Submission, lane: Lane) -> dict[str, object]:
    return {
        "id": submission.id,
        "job_id": submission.job_id,
        "upstream": lane.upstream,
        "key": lane.key,
        "key_fingerprint": lane.fingerprint,
        "fingerprint": submission.fingerprint,
        "started_at": submission.started_at,
        "outcome": "unknown",
    }


def _submission_of(row: RowMapping) -> Submission:
    return Submission(
        **{
            name: row[name]
            for name in (
                "id", "job_id", "upstream", "key", "fingerprint", "started_at", "closed_at", "outcome",
                "upstream_job_id", "slot_released_at", "walked_at", "claim_token", "cancel_sent",
            )
        }
    )  # fmt: skip
