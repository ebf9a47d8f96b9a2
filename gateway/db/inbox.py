"""The inbox: accepting a job once, however often its request arrives."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

from gateway.db.admission import Admission
from gateway.db.clients import ensure_client
from gateway.db.engine import Database, insert
from gateway.db.rows import job_of, values_of
from gateway.db.spelled import Spelled, Values
from gateway.db.tables import history, idempotency_keys, jobs, objects
from gateway.db.together import Together
from gateway.jobs.errors import KeyReused, QueueFull, Refusal, Unavailable
from gateway.jobs.job import Job
from gateway.jobs.ports import Acceptance

_KEPT_S = 24 * 3600.0
"""How long an idempotency key is remembered."""

_SDK_RETRY_S = 600.0
"""Within how long a retry by the SDK is matched to the video it already made."""


_log = logging.getLogger(__name__)

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
)
_EARLIER_LOCKED = _EARLIER.with_for_update(key_share=True)
_EARLIER_IF_FREE = _EARLIER.with_for_update(key_share=True, skip_locked=True)
_MATCH = sa.update(jobs).where(jobs.c.id == sa.bindparam("matched")).values(sdk_retry=sa.bindparam("retry"))
_NEW_JOB, _NEW_HISTORY = sa.insert(jobs), sa.insert(history)
_HISTORY_COLUMNS = ("job_id", "at", "event", "status_before", "status", "detail")

_ROUNDS = 3
_MOST_AT_ONCE = 32


class _Aside(Enum):
    """Why a wish has no outcome yet."""

    HELD = "its client is not let in, or somebody holds its earlier video, for the moment"
    ALONE = "what it came with could not be done together"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wish:
    """A request to accept a job."""

    job: Job
    request_hash: str
    idempotency_key: str | None
    sdk_retry: int
    max_unfinished: int
    now: float

    @property
    def looks_for_equals(self) -> bool:
        """Whether it may be answered with a video that an earlier request made."""
        return self.idempotency_key is not None or self.sdk_retry > 0


_Outcome: TypeAlias = Acceptance | Refusal | _Aside


def _of_json(table: sa.Table, columns: Sequence[str], name: str) -> sa.Insert:
    """Insert what a parameter holds as a list of objects: one plan for any number of rows, and little to bind."""
    rows = sa.func.json_populate_recordset(sa.literal_column(f"NULL::{table.name}"), sa.bindparam(name))
    row = rows.table_valued(*columns).alias(f"{name}_rows")
    return sa.insert(table).from_select(columns, sa.select(*(row.c[column] for column in columns)))


_Write: TypeAlias = Callable[[Connection, Sequence[Values], Sequence[Values]], None]


def _quick_write(dialect: Dialect) -> _Write:
    """Return how several jobs and the first lines of their history are written, spelled out for an engine."""
    columns = [column.name for column in jobs.columns]
    if dialect.name == "postgresql":
        # By one statement, in one journey there: of a process that froze between two, the server would not take back
        # what it holds.
        accepted = _of_json(jobs, columns, "new").cte("accepted")
        both = Spelled(_of_json(history, _HISTORY_COLUMNS, "first").add_cte(accepted), dialect)
        return lambda connection, new, first: both.run(connection, {"new": json.dumps(new), "first": json.dumps(first)})
    new_job = Spelled(_NEW_JOB, dialect, columns=columns)
    new_history = Spelled(_NEW_HISTORY, dialect, columns=_HISTORY_COLUMNS)

    def write(connection: Connection, new: Sequence[Values], first: Sequence[Values]) -> None:
        new_job.run_each(connection, new)
        new_history.run_each(connection, first)

    return write


class SqlInbox:
    """Accepted jobs: one transaction with their history and their idempotency record.

    Requests that come at once are accepted in one transaction: all of its costs, the wait for the disk first of all,
    are shared. None is answered before it is committed.
    """

    def __init__(self, database: Database, *, at_once: int = _MOST_AT_ONCE) -> None:
        """`at_once`: how many threads may accept at a time."""
        self._database = database
        self._quick_write = _quick_write(database.engine.dialect)
        at_once = min(at_once, _MOST_AT_ONCE)
        self._admission = Admission(database.engine.dialect, at_once=at_once)
        self._together = Together(self._accept, most=at_once, patience_s=database.busy_timeout_s)

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
        wish = _Wish(
            job=job,
            request_hash=request_hash,
            idempotency_key=idempotency_key,
            sdk_retry=sdk_retry,
            max_unfinished=max_unfinished,
            now=now,
        )
        accepted: _Outcome = _Aside.HELD
        rounds = 0
        # Another process is done with a client within milliseconds: the next round costs less than waiting alone.
        while accepted is _Aside.HELD and rounds < _ROUNDS:
            accepted, rounds = self._together.do(wish), rounds + 1
        if isinstance(accepted, _Aside):
            accepted = self._accept_one(wish)
        if isinstance(accepted, Acceptance):
            return accepted
        raise accepted

    def _accept(self, wishes: Sequence[_Wish]) -> Sequence[_Outcome]:
        """Return what became of each."""
        try:
            with self._database.write() as connection:
                bounds = {wish.job.client: wish.max_unfinished for wish in wishes}
                alone = {wish.job.client for wish in wishes if wish.looks_for_equals}
                let_in = self._admission.let_in(connection, bounds, alone=alone)
                round_ = _Round(connection, self._quick_write, let_in)
                accepted = [round_.outcome(wish) for wish in wishes]
                round_.write()
        except Unavailable as error:
            return [Unavailable(error.message, code=error.code) for _ in wishes]
        except Exception as error:  # noqa: BLE001 - its own thread meets it again, and tells of it
            # One that the database refuses must not take the others with it.
            _log.warning("%d requests could not be accepted together: %s", len(wishes), type(error).__name__)
            return [_Aside.ALONE for _ in wishes]
        return accepted

    def _accept_one(self, wish: _Wish) -> Acceptance | Refusal:
        client = wish.job.client
        # Who need not be alone does not wait for that: those who come meanwhile would all have to wait behind it.
        for alone in (True,) if wish.looks_for_equals else (False, True):
            with self._database.write() as connection:
                ensure_client(connection, client, wish.now)
                unfinished = self._admission.wait(connection, client, wish.max_unfinished, alone=alone)
                if unfinished is None:
                    continue
                round_ = _Round(connection, None, {client: unfinished})
                accepted = round_.outcome(wish)
                round_.write()
            if not isinstance(accepted, _Aside):
                return accepted
        return Unavailable("The database is busy.", code="unavailable")

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


class _Round:
    """Several requests in one transaction, of clients who are let in."""

    def __init__(self, connection: Connection, quick: _Write | None, let_in: Mapping[str, int]) -> None:
        """`let_in` are the clients, with the number of their unfinished jobs."""
        self._connection = connection
        self._quick = quick
        self._unfinished = dict(let_in)
        self._jobs: list[dict[str, Any]] = []
        self._history: list[dict[str, Any]] = []

    def outcome(self, wish: _Wish) -> _Outcome:
        """Return what becomes of one; nothing is written of what is refused or put aside."""
        if wish.job.client not in self._unfinished:
            return _Aside.HELD
        try:
            earlier = self._earlier(wish)
            if isinstance(earlier, _Aside):
                return earlier
            if earlier is not None:
                return Acceptance(job=earlier, replayed=True)
            self._check_room(wish)
            self._put(wish)
        except Refusal as refusal:
            return refusal
        return Acceptance(job=wish.job, replayed=False)

    def write(self) -> None:
        """Write what was accepted and is not written yet."""
        if not self._jobs:
            return
        if self._quick is not None:
            self._quick(self._connection, self._jobs, self._history)
        else:
            self._connection.execute(_NEW_JOB, self._jobs)
            self._connection.execute(_NEW_HISTORY, self._history)
        self._jobs, self._history = [], []

    def _earlier(self, wish: _Wish) -> Job | _Aside | None:
        client, key = wish.job.client, wish.idempotency_key
        if not wish.looks_for_equals:
            return None
        self.write()  # an equal one may be among those before it
        if key is not None:
            return _replayed(self._connection, client, wish.request_hash, key, wish.now)
        # In company nobody waits for a video that somebody holds: a process that froze may hold it for seconds.
        waits = self._quick is None
        return _matched_retry(self._connection, client, wish.request_hash, wish.sdk_retry, wish.now, waits=waits)

    def _check_room(self, wish: _Wish) -> None:
        unfinished = self._unfinished[wish.job.client]
        if unfinished >= wish.max_unfinished:
            message = f"This client has {unfinished} unfinished videos, and may have {wish.max_unfinished}."
            raise QueueFull(message + " Post again when some are done.", code="queue_full")

    def _put(self, wish: _Wish) -> None:
        job = wish.job
        if job.reference and job.reference.object_key:
            _keep(self._connection, job.reference.object_key)
        self._unfinished[job.client] += 1
        self._jobs.append(values_of(job) | {"request_hash": wish.request_hash, "sdk_retry": wish.sdk_retry})
        first = {"job_id": job.id, "at": wish.now, "event": "queued", "status_before": None}
        self._history.append(first | {"status": job.status.value, "detail": {}})
        if wish.idempotency_key is not None:
            self.write()
            _remember(self._connection, job, wish.request_hash, wish.idempotency_key, wish.now)


def _replayed(connection: Connection, client: str, request_hash: str, key: str, now: float) -> Job | None:
    kept = connection.execute(_KEY, {"client": client, "key": key}).one_or_none()
    if kept is None or kept.created_at < now - _KEPT_S:
        return None
    if kept.request_hash != request_hash:
        message = "This Idempotency-Key was used with another request within the last 24 hours. Use a new key."
        raise KeyReused(message, code="idempotency_key_reused")
    return job_of(connection.execute(_JOB, {"id": kept.job_id}).mappings().one())


def _matched_retry(
    connection: Connection, client: str, request_hash: str, retry: int, now: float, *, waits: bool
) -> Job | _Aside | None:
    wanted = {"client": client, "request_hash": request_hash, "since": now - _SDK_RETRY_S, "retry": retry}
    if waits:
        row = connection.execute(_EARLIER_LOCKED, wanted).mappings().one_or_none()
    else:
        there = connection.execute(_EARLIER, wanted).mappings().one_or_none()
        row = connection.execute(_EARLIER_IF_FREE, wanted).mappings().one_or_none() if there is not None else None
        if there is not None and (row is None or row["id"] != there["id"]):
            return _Aside.HELD
    if row is None:
        return None
    connection.execute(_MATCH, {"matched": row["id"], "retry": retry})
    return job_of(row)


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
