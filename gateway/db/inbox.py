"""The inbox: accepting a job once, however often its request arrives."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from gateway.db.clients import ensure_client
from gateway.db.engine import Database
from gateway.db.rows import job_of, values_of
from gateway.db.tables import history, idempotency_keys, jobs, objects
from gateway.jobs.errors import KeyReused, QueueFull
from gateway.jobs.job import UNFINISHED, Job
from gateway.jobs.ports import Acceptance

_KEPT_S = 24 * 3600.0
"""How long an idempotency key is remembered."""

_SDK_RETRY_S = 600.0
"""Within how long a retry by the SDK is matched to the video it already made."""


class SqlInbox:
    """Accepted jobs: one transaction with their history and their idempotency record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(  # noqa: PLR0913 - each is a fact of the request
        self,
        job: Job,
        *,
        request_hash: str,
        idempotency_key: str | None,
        sdk_retry: bool,
        max_unfinished: int,
        now: float,
    ) -> Acceptance:
        """Insert the job, or return the one that an equal request made before. Raises KeyReused, QueueFull, Unavailable."""
        try:
            with self._database.write() as connection:
                ensure_client(connection, job.client, now)
                earlier = self._earlier(connection, job, request_hash, idempotency_key, now, sdk_retry=sdk_retry)
                if earlier is not None:
                    return Acceptance(job=earlier, replayed=True)
                _check_room(connection, job.client, max_unfinished)
                _insert(connection, job, request_hash, idempotency_key, now)
                return Acceptance(job=job, replayed=False)
        except IntegrityError:
            # Two equal requests at once: the other one won the race for the key, and its answer is ours too.
            if idempotency_key is None:
                raise
            winner = self.replay(job.client, request_hash=request_hash, idempotency_key=idempotency_key, now=now)
            if winner is None:
                raise
            return Acceptance(job=winner, replayed=True)

    def _earlier(  # noqa: PLR0913 - as above
        self,
        connection: Connection,
        job: Job,
        request_hash: str,
        idempotency_key: str | None,
        now: float,
        *,
        sdk_retry: bool,
    ) -> Job | None:
        if idempotency_key is not None:
            return _replayed(connection, job.client, request_hash, idempotency_key, now)
        return _matched_retry(connection, job.client, request_hash, now) if sdk_retry else None

    def replay(self, client: str, *, request_hash: str, idempotency_key: str, now: float) -> Job | None:
        """Return the job that this key made before, if it did; raises KeyReused."""
        with self._database.read() as connection:
            return _replayed(connection, client, request_hash, idempotency_key, now)

    def forget_keys(self, *, now: float, limit: int) -> int:
        """Drop idempotency keys that are no longer remembered; returns how many."""
        old = (
            sa.select(idempotency_keys.c.client, idempotency_keys.c.key)
            .where(idempotency_keys.c.created_at < now - _KEPT_S)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(old).all()
        if not rows:
            return 0
        with self._database.write() as connection:
            for row in rows:
                connection.execute(
                    sa.delete(idempotency_keys).where(
                        idempotency_keys.c.client == row.client, idempotency_keys.c.key == row.key
                    )
                )
        return len(rows)


def _replayed(connection: Connection, client: str, request_hash: str, key: str, now: float) -> Job | None:
    mine = (idempotency_keys.c.client == client, idempotency_keys.c.key == key)
    kept = connection.execute(
        sa.select(idempotency_keys.c.request_hash, idempotency_keys.c.job_id, idempotency_keys.c.created_at).where(
            *mine
        )
    ).one_or_none()
    if kept is None:
        return None
    if kept.created_at < now - _KEPT_S:
        if connection.get_execution_options().get("gateway_write") or connection.dialect.name == "postgresql":
            connection.execute(sa.delete(idempotency_keys).where(*mine))
        return None
    if kept.request_hash != request_hash:
        message = "This Idempotency-Key was used with another request within the last 24 hours. Use a new key."
        raise KeyReused(message, code="idempotency_key_reused")
    return job_of(connection.execute(sa.select(jobs).where(jobs.c.id == kept.job_id)).mappings().one())


def _matched_retry(connection: Connection, client: str, request_hash: str, now: float) -> Job | None:
    oldest = (
        sa.select(jobs)
        .where(
            jobs.c.client == client,
            jobs.c.request_hash == request_hash,
            jobs.c.created_at >= now - _SDK_RETRY_S,
            sa.not_(jobs.c.retry_matched),
            jobs.c.deleted_at.is_(None),
        )
        .order_by(jobs.c.created_at, jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(oldest).mappings().one_or_none()
    if row is None:
        return None
    connection.execute(sa.update(jobs).where(jobs.c.id == row["id"]).values(retry_matched=True))
    return job_of(row)


def _check_room(connection: Connection, client: str, max_unfinished: int) -> None:
    unfinished = connection.scalar(
        sa.select(sa.func.count()).where(jobs.c.client == client, jobs.c.status.in_([s.value for s in UNFINISHED]))
    )
    if int(unfinished or 0) >= max_unfinished:
        message = f"This client has {unfinished} unfinished videos, and may have {max_unfinished}. Post again when some are done."
        raise QueueFull(message, code="queue_full")


def _insert(connection: Connection, job: Job, request_hash: str, idempotency_key: str | None, now: float) -> None:
    connection.execute(sa.insert(jobs).values(**values_of(job), request_hash=request_hash))
    connection.execute(
        sa.insert(history).values(
            job_id=job.id, at=now, event="queued", status_before=None, status=job.status.value, detail={}
        )
    )
    if idempotency_key is not None:
        connection.execute(
            sa.insert(idempotency_keys).values(
                client=job.client, key=idempotency_key, request_hash=request_hash, job_id=job.id, created_at=now
            )
        )
    if job.reference and job.reference.object_key:
        connection.execute(
            sa.update(objects).where(objects.c.key == job.reference.object_key).values(state="kept", due_at=None)
        )
