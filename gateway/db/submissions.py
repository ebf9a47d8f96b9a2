"""Submissions: the rows that are slots upstream, from the intent to POST until the upstream is seen done with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping
from sqlalchemy.exc import IntegrityError

from gateway.db.claims import held
from gateway.db.conditions import is_status, is_unfinished
from gateway.db.engine import Database, insert
from gateway.db.record import write_transition
from gateway.db.rows import routes_of
from gateway.db.tables import jobs, submissions, upstream_keys
from gateway.db.turns import take_fairly, waiting
from gateway.jobs import lifecycle
from gateway.jobs.backoff import PROBE_DELAYS_S, delay
from gateway.jobs.errors import StaleJob
from gateway.jobs.job import Job, Status, new_id
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
                # A refused key is probed by one real submit, and only when its time has come.
                room = min(room, 1 if state["probe_at"] is not None and state["probe_at"] <= now else 0)
            taken = take_fairly(connection, lane, room, worker=worker, until=now + lease_s, now=now)
            if taken and state["paused_at"] is not None:
                _next_probe(connection, state, now)
            return taken

    def _any_queued(self, lane: Lane, now: float) -> bool:
        with self._database.read() as connection:
            return connection.scalar(sa.select(jobs.c.id).where(*waiting(lane, now)).limit(1)) is not None

    def waiting_routes(self) -> Collection[tuple[str, ...]]:
        """Return the different `routes` of all queued jobs, each found by one look into their index."""
        least = sa.select(sa.func.min(jobs.c.routes).label("routes")).where(is_status(Status.QUEUED))
        found = least.cte("found", recursive=True)
        following = least.where(jobs.c.routes > found.c.routes)
        found = found.union_all(sa.select(following.scalar_subquery()).where(found.c.routes.is_not(None)))
        with self._database.read() as connection:
            texts = connection.scalars(sa.select(found.c.routes).where(found.c.routes.is_not(None)))
            return [routes_of(text) for text in texts]

    def begin(
        self, job: Job, lane: Lane, *, fingerprint: str, due_at: float, now: float
    ) -> tuple[Job, Submission] | None:
        """Commit the intent: slots counted under the key's lock, `submitting` and the submission in one transaction.

        None where there is no room, or an unresolved submission of the same fingerprint. Raises StaleJob.
        """
        submission = Submission(
            id=new_id("sub", now), job_id=job.id, upstream=lane.upstream, key=lane.key, fingerprint=fingerprint,
            started_at=now, closed_at=None, outcome="unknown", upstream_job_id=None, slot_released_at=None,
            walked_at=None, claim_token=0, cancel_sent=False,
        )  # fmt: skip
        with self._database.write() as connection:
            _lock_lane(connection, lane)
            mine = sa.select(jobs.c.id).where(*held(job)).with_for_update(key_share=True)
            if connection.scalar(mine) is None:
                raise StaleJob(job.id)
            if _used(connection, lane) >= lane.max_concurrent or _has_twin(connection, lane, fingerprint):
                return None
            # The same key's twins wait for the lock above; another key's may come at this very moment.
            intent = insert(connection, submissions).values(_intent(submission, lane)).on_conflict_do_nothing()
            if connection.scalar(intent.returning(submissions.c.id)) is None:
                return None
            moved = lifecycle.submit(job, upstream=lane.upstream, key=lane.key, due_at=due_at, at=now)
            return write_transition(connection, moved), submission

    def accepted(self, submission: Submission, *, upstream_job_id: str, now: float) -> None:
        """Write down what the upstream accepted, whatever became of the job meanwhile.

        Where the slot was given away already, the answer came too late for the job: the slot is taken again and the
        video is handed to the clean-up. Raises StaleJob where the id belongs to another submission.
        """
        # `due_at` stays as it is: a cancel that came first has set it, and one that comes later will.
        too_late = submissions.c.slot_released_at.is_not(None)
        written = (
            sa.update(submissions)
            .where(submissions.c.id == submission.id, submissions.c.outcome != "accepted")
            .values(
                outcome="accepted",
                upstream_job_id=upstream_job_id,
                closed_at=now,
                slot_released_at=None,
                due_at=sa.case((too_late, now), else_=submissions.c.due_at),
            )
        )
        try:
            with self._database.write() as connection:
                connection.execute(written)
        except IntegrityError as error:
            raise StaleJob(submission.job_id) from error

    def refused(self, submission: Submission, *, absent: bool, now: float) -> None:
        """Nothing was made: free the slot."""
        self._resolve(
            submission, outcome="absent" if absent else "refused", closed_at=now, slot_released_at=now, due_at=None
        )

    def lost(self, submission: Submission, *, now: float) -> None:
        """The answer is lost: note when the socket closed, from which the proof of absence counts."""
        self._resolve(submission, closed_at=now)

    def walked(self, submission: Submission, *, now: float) -> None:
        """A complete walk found no orphan; only the first is remembered."""
        self._resolve(submission, walked_at=sa.func.coalesce(submissions.c.walked_at, now))

    def free(self, submission: Submission, *, now: float) -> bool:
        """Free the slot of a submission; False where its outcome is no longer the one that it was read with."""
        unchanged = submissions.c.outcome == submission.outcome
        return self._set(submissions.c.id == submission.id, unchanged, slot_released_at=now, due_at=None)

    def abandoned_again(self, submission: Submission, *, due_at: float, cancel_sent: bool) -> None:
        """Look at an abandoned submission again later."""
        still_claimed = (
            submissions.c.claim_token == submission.claim_token,
            submissions.c.slot_released_at.is_(None),
        )
        self._set(submissions.c.id == submission.id, *still_claimed, due_at=due_at, cancel_sent=cancel_sent)

    def _resolve(self, submission: Submission, **values: object) -> None:
        """Write what is learned of a lost answer, unless it was found meanwhile: what is accepted stays so."""
        self._set(submissions.c.id == submission.id, submissions.c.outcome == "unknown", **values)

    def _set(self, *which: sa.ColumnElement[bool], **values: object) -> bool:
        with self._database.write() as connection:
            return connection.execute(sa.update(submissions).where(*which).values(**values)).rowcount == 1

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
        """Return how many other jobs' submits of an equal request ended unknown near this one's time, on any key.

        Their orphans would look like this one's, so an adoption could hand one client another's picture.
        """
        with self._database.read() as connection:
            return int(
                connection.scalar(
                    sa.select(sa.func.count()).where(
                        submissions.c.upstream == submission.upstream,
                        submissions.c.fingerprint == submission.fingerprint,
                        submissions.c.outcome == sa.literal_column("'unknown'"),
                        submissions.c.job_id != submission.job_id,
                        submissions.c.started_at > submission.started_at - _NEIGHBOURHOOD_S,
                    )
                )
                or 0
            )

    def abandoned(self, *, worker: str, limit: int, lease_s: float, now: float) -> Sequence[Submission]:
        """Claim submissions that hold a slot for a job that is final: they are to be stopped or seen final."""
        del worker  # the lease alone gives them back: nobody waits for an abandoned video
        due = (submissions.c.due_at.is_not(None), submissions.c.due_at <= now, submissions.c.slot_released_at.is_(None))
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


def lock_key(connection: Connection, upstream: str, key: str) -> RowMapping:
    """Lock the row of an upstream key, made where it is new: two workers must not both see the last free slot."""
    mine = (upstream_keys.c.upstream == upstream, upstream_keys.c.key == key)
    row = connection.execute(sa.select(upstream_keys).where(*mine).with_for_update()).mappings().one_or_none()
    if row is not None:
        return row
    connection.execute(insert(connection, upstream_keys).values(upstream=upstream, key=key).on_conflict_do_nothing())
    return connection.execute(sa.select(upstream_keys).where(*mine).with_for_update()).mappings().one()


def _lock_lane(connection: Connection, lane: Lane) -> RowMapping:
    return lock_key(connection, lane.upstream, lane.key)


def _next_probe(connection: Connection, state: RowMapping, now: float) -> None:
    """Set the time of the next probe as this one is taken, so that no two go out together."""
    connection.execute(
        sa.update(upstream_keys)
        .where(upstream_keys.c.upstream == state["upstream"], upstream_keys.c.key == state["key"])
        .values(probe_at=now + delay(PROBE_DELAYS_S, state["probes"]), probes=state["probes"] + 1)
    )


def _used(connection: Connection, lane: Lane) -> int:
    used = (
        sa.select(sa.func.count())
        .select_from(submissions)
        .where(
            submissions.c.upstream == lane.upstream,
            submissions.c.key == lane.key,
            submissions.c.slot_released_at.is_(None),
        )
    )
    return int(connection.scalar(used) or 0)


def _has_twin(connection: Connection, lane: Lane, fingerprint: str) -> bool:
    """Whether an equal request is unresolved, on any key: keys of one account share its list.

    The unique index is the second wall.
    """
    twin = sa.select(submissions.c.id).where(
        submissions.c.upstream == lane.upstream,
        submissions.c.fingerprint == fingerprint,
        submissions.c.outcome == sa.literal_column("'unknown'"),
        submissions.c.slot_released_at.is_(None),
    )
    return connection.scalar(twin.limit(1)) is not None


def _preparing(connection: Connection, lane: Lane, now: float) -> int:
    """Claimed for this lane, but its intent is not written yet."""
    preparing = (
        sa.select(sa.func.count())
        .select_from(jobs)
        .where(
            is_status(Status.QUEUED),
            is_unfinished(),
            jobs.c.due_at > now,
            jobs.c.claimed_by.is_not(None),
            jobs.c.upstream == lane.upstream,
            jobs.c.upstream_key == lane.key,
        )
    )
    return int(connection.scalar(preparing) or 0)


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
