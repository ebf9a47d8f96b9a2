"""Claims: taking due rows for a while, in one statement, so that no two workers ever get the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.dml import ReturningUpdate

from gateway.db.conditions import is_due, is_status, is_unfinished
from gateway.db.engine import Database
from gateway.db.rows import job_of, routes_text
from gateway.db.tables import jobs
from gateway.jobs.job import UNFINISHED, Job, Status

_NOW: sa.BindParameter[float] = sa.bindparam("now")
_LIMIT: sa.BindParameter[int] = sa.bindparam("limit")


def _claim_of(which: sa.ColumnElement[bool], *order: sa.ColumnElement[Any]) -> ReturningUpdate[Any]:
    # Materialised, since PostgreSQL may run a plain IN (SELECT ... LIMIT n FOR UPDATE SKIP LOCKED) more than once
    # and then take more than n. SQLite leaves the lock clause out; its transaction is alone anyway.
    picked = (
        sa.select(jobs.c.id)
        .where(which)
        .order_by(*order)
        .limit(_LIMIT)
        .with_for_update(skip_locked=True)
        .cte("picked")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return (
        sa.update(jobs)
        .where(jobs.c.id.in_(sa.select(picked.c.id)))
        .values(
            due_at=sa.bindparam("until"),
            claim_token=jobs.c.claim_token + 1,
            claimed_by=sa.bindparam("worker"),
            claimed_at=_NOW,
        )
        .returning(*jobs.c)
    )


# Put together once: every tick asks for them, and putting one together costs more than SQLite's answer to it.
_ANY_DUE = {status: sa.select(jobs.c.id).where(is_due(status, _NOW)).limit(1) for status in UNFINISHED}
_CLAIM = {status: _claim_of(is_due(status, _NOW), jobs.c.due_at) for status in UNFINISHED}

_OF_KEY = (jobs.c.upstream == sa.bindparam("of"), jobs.c.key_fingerprint == sa.bindparam("fingerprint"))
_SOON = sa.and_(is_due(Status.RENDERING, sa.bindparam("before")), *_OF_KEY)
_ANY_OF_KEY = sa.select(jobs.c.id).where(is_due(Status.RENDERING, _NOW), *_OF_KEY).limit(1)
_SOON_OF_KEY = sa.select(jobs.c.id).where(_SOON).limit(_LIMIT)
_CLAIM_ROUND = _claim_of(_SOON, jobs.c.accepted_at.desc(), jobs.c.id.desc())
_LATER_OF_KEY = (
    sa.select(jobs)
    .where(
        is_status(Status.RENDERING),
        is_unfinished(),
        *_OF_KEY,
        sa.tuple_(jobs.c.accepted_at, jobs.c.id) > sa.tuple_(sa.bindparam("accepted_at"), sa.bindparam("id")),
    )
    .order_by(jobs.c.accepted_at, jobs.c.id)
    .offset(sa.bindparam("places"))
    .limit(1)
)


class SqlClaims:
    """Claims of jobs. The schedule is the lease: a claim pushes `due_at`, so a dead worker's row comes back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._more: set[Status] = set()
        """Of which the last claim took all that it might, so that another will find something too."""

    def due(self, status: Status, *, worker: str, limit: int, lease_s: float, now: float) -> Sequence[Job]:
        """Claim up to `limit` due jobs in `status`, the longest due first."""
        # Looked at before the writer's lock is asked for: most ticks find nothing.
        if limit <= 0 or not (status in self._more or self._found(_ANY_DUE[status], now=now)):
            return []
        values = {"worker": worker, "limit": limit, "until": now + lease_s, "now": now}
        claimed = self._claim(_CLAIM[status], values, durable=status is not Status.RENDERING)
        if len(claimed) == limit:
            self._more.add(status)
        else:
            self._more.discard(status)
        return claimed

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
        key = {"of": upstream, "fingerprint": fingerprint}
        if not self._found(_ANY_OF_KEY, now=now, **key):
            return []
        if self._found(_SOON_OF_KEY, before=until, limit=least, **key) < least:
            return []
        values = {"worker": worker, "limit": limit, "until": now + lease_s, "now": now, "before": until, **key}
        claimed = self._claim(_CLAIM_ROUND, values, durable=False)
        return sorted(claimed, key=lambda job: (job.accepted_at or 0.0, job.id), reverse=True)

    def accepted_after(self, job: Job, places: int) -> Job | None:
        """Return the rendering job that the same upstream key accepted `places` places later, where there is one."""
        there = {"accepted_at": job.accepted_at, "id": job.id}
        key = {"of": job.upstream, "fingerprint": job.key_fingerprint}
        with self._database.read() as connection:
            found = connection.execute(_LATER_OF_KEY, {**there, **key, "places": places - 1}).mappings().one_or_none()
            return None if found is None else job_of(found)

    def _found(self, statement: sa.Select[Any], **values: object) -> int:
        with self._database.read() as connection:
            return len(connection.execute(statement, values).all())

    def _claim(self, statement: ReturningUpdate[Any], values: Mapping[str, object], *, durable: bool) -> Sequence[Job]:
        # Those of polls are not: two workers that a power cut leaves with the same one ask twice, and one is heard.
        with self._database.write(durable=durable) as connection:
            return [job_of(row) for row in connection.execute(statement, values).mappings()]

    def holds(self, job: Job) -> bool:
        """Whether the claim under which this job was read is still the last one and the job has not moved on."""
        with self._database.read() as connection:
            return connection.scalar(sa.select(jobs.c.id).where(*held(job))) is not None

    def extend(self, job: Job, *, until: float) -> bool:
        """Push the `due_at` of a claim that is still held; False where it is not."""
        with self._database.write() as connection:
            return connection.execute(sa.update(jobs).where(*held(job)).values(due_at=until)).rowcount == 1

    def release(self, job: Job, *, due_at: float) -> None:
        """Give a claim back unused, after which it is held no longer; nothing where it is not held."""
        given_back = (
            sa.update(jobs).where(*held(job)).values(due_at=due_at, claimed_by=None, claim_token=jobs.c.claim_token + 1)
        )
        with self._database.write() as connection:
            connection.execute(given_back)

    def release_all(self, claimed: Sequence[Job], *, due_at: float) -> None:
        """Give claims back unused; nothing of those that are no longer held."""
        if not claimed:
            return
        theirs = sa.tuple_(jobs.c.id, jobs.c.claim_token, jobs.c.version)
        still_held = sa.and_(
            # By themselves, too: SQLite finds no index for the triples, and would read every job there ever was.
            jobs.c.id.in_([job.id for job in claimed]),
            theirs.in_([(job.id, job.claim_token, job.version) for job in claimed]),
        )
        given_back = (
            sa.update(jobs).where(still_held).values(due_at=due_at, claimed_by=None, claim_token=jobs.c.claim_token + 1)
        )
        with self._database.write() as connection:
            connection.execute(given_back)

    def release_unbegun(self, worker: str, *, since: float, until: float, due_at: float) -> tuple[int, int]:
        """Give back what a worker claimed from `since` to `until`, save submits under way.

        Of those the claim is what tells others that somebody may still be sending. Return how many were given back, and
        how many are left, since somebody has them locked.
        """
        unbegun = sa.and_(
            jobs.c.claimed_by == worker,
            jobs.c.claimed_at.between(since, until),
            jobs.c.status.in_([status.value for status in (Status.QUEUED, Status.RENDERING, Status.STORING)]),
        )
        # Looked at before the writer's lock is asked for: mostly nothing could be claimed at all.
        with self._database.read() as connection:
            found = len(connection.scalars(sa.select(jobs.c.id).where(unbegun)).all())
        if not found:
            return 0, 0
        # One that is locked is no reason to keep every step waiting.
        picked = sa.select(jobs.c.id).where(unbegun).with_for_update(key_share=True, skip_locked=True)
        given_back = (
            sa.update(jobs)
            .where(jobs.c.id.in_(picked))
            .values(due_at=due_at, claimed_by=None, claim_token=jobs.c.claim_token + 1)
        )
        with self._database.write() as connection:
            count = connection.execute(given_back).rowcount
        return count, max(0, found - count)

    def queued(self, *, after: Job | None, limit: int) -> Sequence[Job]:
        """Return queued jobs, oldest first, from behind `after`."""
        page = sa.select(jobs).where(is_status(Status.QUEUED)).order_by(jobs.c.created_at, jobs.c.id).limit(limit)
        if after is not None:
            there = sa.tuple_(sa.literal(after.created_at), sa.literal(after.id))
            page = page.where(sa.tuple_(jobs.c.created_at, jobs.c.id) > there)
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(page).mappings()]

    def reroute(self, job: Job, routes: Sequence[str]) -> bool:
        """Give a queued job that has not changed since it was read other routes; False where it has changed."""
        unchanged = (jobs.c.id == job.id, is_status(Status.QUEUED), jobs.c.version == job.version)
        with self._database.write() as connection:
            written = connection.execute(sa.update(jobs).where(*unchanged).values(routes=routes_text(routes)))
            return written.rowcount == 1

    def expired_in_queue(self, *, before: float, limit: int) -> Sequence[Job]:
        """Return queued jobs accepted before an instant, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(jobs)
                .where(is_status(Status.QUEUED), jobs.c.created_at < before)
                .order_by(jobs.c.created_at)
                .limit(limit)
            )
            return [job_of(row) for row in rows.mappings()]


def held(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    """The conditions under which the claim that a job was read with is still the last one."""
    return (
        jobs.c.id == job.id,
        jobs.c.claim_token == job.claim_token,
        jobs.c.version == job.version,
        jobs.c.status == job.status.value,
    )
