"""The inbox: accepting a job once, however often its request arrives."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.clients import ensure_client
from gateway.db.conditions import is_unfinished
from gateway.db.engine import Database, insert
from gateway.db.rows import job_of, values_of
from gateway.db.tables import clients, history, idempotency_keys, jobs, objects
from gateway.jobs.errors import KeyReused, QueueFull, Unavailable
from gateway.jobs.job import Job
from gateway.jobs.ports import Acceptance

_KEPT_S = 24 * 3600.0
"""How long an idempotency key is remembered."""

_SDK_RETRY_S = 600.0
"""Within how long a retry by the SDK is matched to the video it already made."""


# Built once: putting a statement together anew costs more than SQLite's answer to it.
_KEY = sa.select(idempotency_keys.c.request_hash, idempotency_keys.c.job_id, idempotency_keys.c.created_at).where(
    idempotency_keys.c.client == sa.bindparam("client"), idempotency_keys.c.key == sa.bindparam("key")
)
_JOB = sa.select(jobs).where(jobs.c.id == sa.bindparam("id"))
_EARLIER = (
    sa.select(jobs)
    .where(
        jobs.c.client == sa.bindparam("client"),
        jobs.c.request_hash == sa.bindparam("request_hash"),
        jobs.c.created_at >= sa.bindparam("since"),
        # By number: the second retry of one call is for the same video as its first, the first of another is not.
        jobs.c.sdk_retry < sa.bindparam("retry"),
        jobs.c.deleted_at.is_(None),
    )
    .order_by(jobs.c.created_at, jobs.c.id)
    .limit(1)
    .with_for_update(key_share=True)
)
_MATCH = sa.update(jobs).where(jobs.c.id == sa.bindparam("matched")).values(sdk_retry=sa.bindparam("retry"))
_LOCK = sa.select(clients.c.name).where(clients.c.name == sa.bindparam("client")).with_for_update(key_share=True)
_UNFINISHED_COUNT = (
    sa.select(sa.func.count()).select_from(jobs).where(jobs.c.client == sa.bindparam("client"), is_unfinished())
)
_NEW_JOB, _NEW_HISTORY = sa.insert(jobs), sa.insert(history)


class SqlInbox:
    """Accepted jobs: one transaction with their history and their idempotency record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(
        self,
        job: Job,
        *,
        request_hash: str,
        idempotency_key: str | None,
        sdk_retry: int,
        max_unfinished: int,
        now: float,
    ) -> Acceptance:
        """Insert the job, or return that of an equal request. Raises KeyReused, QueueFull, Unavailable."""
        with self._database.write() as connection:
            ensure_client(connection, job.client, now)
            _lock_client(connection, job.client)
            earlier = self._earlier(connection, job, request_hash, idempotency_key, now, sdk_retry=sdk_retry)
            if earlier is not None:
                return Acceptance(job=earlier, replayed=True)
            _check_room(connection, job.client, max_unfinished)
            _insert(connection, job, request_hash, sdk_retry, now)
            if idempotency_key is not None:
                _remember(connection, job, request_hash, idempotency_key, now)
            return Acceptance(job=job, replayed=False)

    @staticmethod
    def _earlier(
        connection: Connection,
        job: Job,
        request_hash: str,
        idempotency_key: str | None,
        now: float,
        *,
        sdk_retry: int,
    ) -> Job | None:
        if idempotency_key is not None:
            return _replayed(connection, job.client, request_hash, idempotency_key, now)
        return _matched_retry(connection, job.client, request_hash, sdk_retry, now) if sdk_retry else None

    def replay(self, client: str, *, request_hash: str, idempotency_key: str, now: float) -> Job | None:
        """Return the job that this key made before, if it did; raises KeyReused."""
        with self._database.read() as connection:
            return _replayed(connection, client, request_hash, idempotency_key, now)

    def forget_keys(self, *, now: float, limit: int) -> int:
        """Drop idempotency keys that are no longer remembered; returns how many."""
        old = idempotency_keys.c.created_at < now - _KEPT_S
        name = sa.tuple_(idempotency_keys.c.client, idempotency_keys.c.key)
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(idempotency_keys.c.client, idempotency_keys.c.key).where(old).limit(limit)
            ).all()
        if not rows:
            return 0
        with self._database.write() as connection:
            # Still old: one of them may have been used anew meanwhile.
            done = connection.execute(sa.delete(idempotency_keys).where(name.in_([tuple(row) for row in rows]), old))
            return int(done.rowcount)


def _replayed(connection: Connection, client: str, request_hash: str, key: str, now: float) -> Job | None:
    kept = connection.execute(_KEY, {"client": client, "key": key}).one_or_none()
    if kept is None or kept.created_at < now - _KEPT_S:
        return None
    if kept.request_hash != request_hash:
        message = "This Idempotency-Key was used with another request within the last 24 hours. Use a new key."
        raise KeyReused(message, code="idempotency_key_reused")
    return job_of(connection.execute(_JOB, {"id": kept.job_id}).mappings().one())


def _matched_retry(connection: Connection, client: str, request_hash: str, retry: int, now: float) -> Job | None:
    wanted = {"client": client, "request_hash": request_hash, "since": now - _SDK_RETRY_S, "retry": retry}
    row = connection.execute(_EARLIER, wanted).mappings().one_or_none()
    if row is None:
        return None
    connection.execute(_MATCH, {"matched": row["id"], "retry": retry})
    return job_of(row)


def _lock_client(connection: Connection, client: str) -> None:
    """Let one request of a client in at a time: what counts its videos or looks for equal ones must see all before it.

    Rows that merely refer to the client (a delivery, say) are not held up by it.
    """
    connection.execute(_LOCK, {"client": client})


def _check_room(connection: Connection, client: str, max_unfinished: int) -> None:
    unfinished = connection.scalar(_UNFINISHED_COUNT, {"client": client})
    if int(unfinished or 0) >= max_unfinished:
        message = f"This client has {unfinished} unfinished videos, and may have {max_unfinished}."
        raise QueueFull(message + " Post again when some are done.", code="queue_full")


def _insert(connection: Connection, job: Job, request_hash: str, sdk_retry: int, now: float) -> None:
    connection.execute(_NEW_JOB, values_of(job) | {"request_hash": request_hash, "sdk_retry": sdk_retry})
    first = {"job_id": job.id, "at": now, "event": "queued", "status_before": None, "status": job.status.value}
    connection.execute(_NEW_HISTORY, first | {"detail": {}})
    if job.reference and job.reference.object_key:
        _keep(connection, job.reference.object_key)


def _remember(connection: Connection, job: Job, request_hash: str, key: str, now: float) -> None:
    """Write the idempotency record; one that is there is older than it is kept."""
    record = {"request_hash": request_hash, "job_id": job.id, "created_at": now}
    connection.execute(
        insert(connection, idempotency_keys)
        .values(client=job.client, key=key, **record)
        .on_conflict_do_update(index_elements=["client", "key"], set_=record)
    )


def _keep(connection: Connection, object_key: str) -> None:
    kept = connection.execute(
        sa.update(objects)
        .where(objects.c.key == object_key, objects.c.state == "writing")
        .values(state="kept", due_at=None)
    )
    if kept.rowcount != 1:
        # The request stood still for so long that the sweep has taken its picture: a job without it would be another.
        raise Unavailable("The picture was not kept. Send the request again.", code="unavailable")
