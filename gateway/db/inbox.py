"""The inbox: accepting a job once, however often its request arrives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

from gateway.db.clients import ensure_client
from gateway.db.conditions import is_unfinished
from gateway.db.engine import Database, insert
from gateway.db.rows import job_of, values_of
from gateway.db.spelled import Spelled, in_one_go
from gateway.db.tables import clients, history, idempotency_keys, jobs, objects
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
_LOCK = sa.select(clients.c.name).where(clients.c.name == sa.bindparam("client")).with_for_update(key_share=True)
_NEW_JOB, _NEW_HISTORY = sa.insert(jobs), sa.insert(history)
_HISTORY_COLUMNS = ("job_id", "at", "event", "status_before", "status", "detail")

_MOST_AT_ONCE = 32
_ROUNDS = 3


class _Aside(Enum):
    """Why a wish has no outcome yet."""

    HELD = "somebody holds its client or its earlier video for the moment"
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


_Outcome: TypeAlias = Acceptance | Refusal | _Aside


def _free(names: Iterable[str | sa.BindParameter[str]]) -> sa.Select[str]:
    """Lock clients in the order of their names, as everybody locks several; who is held by somebody is left out."""
    wanted = clients.c.name.in_(list(names))
    return sa.select(clients.c.name).where(wanted).order_by(clients.c.name).with_for_update(
        key_share=True, skip_locked=True
    )  # fmt: skip


def _unfinished(names: Iterable[str | sa.BindParameter[str]]) -> sa.Select[str, int]:
    """Count the unfinished jobs of clients."""
    wanted = jobs.c.client.in_(list(names))
    return sa.select(jobs.c.client, sa.func.count()).where(wanted, is_unfinished()).group_by(jobs.c.client)


class _Statements:
    """The statements of the usual case, spelled out for an engine."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.new_job = Spelled(_NEW_JOB, dialect, columns=[column.name for column in jobs.columns])
        self.new_history = Spelled(_NEW_HISTORY, dialect, columns=_HISTORY_COLUMNS)
        self._of_clients: dict[tuple[object, int], Spelled] = {}

    def locked(self, connection: Connection, names: Collection[str]) -> Mapping[str, int]:
        """Lock those of the clients whom nobody holds; return them with the number of their unfinished jobs."""
        locked = [row[0] for row in self._ask(_free, connection, names)]
        # By a statement of its own: on PostgreSQL one sees what was there when it began. And not sent along with the
        # first: of a process that froze between the two, the server would not take the locks back.
        counted = dict(self._ask(_unfinished, connection, locked)) if locked else {}
        return {name: counted.get(name, 0) for name in locked}

    def _ask(self, statement: Callable[..., Any], connection: Connection, names: Collection[str]) -> Sequence[Any]:
        spelled = self._of_clients.get((statement, len(names)))
        if spelled is None:
            places = [sa.bindparam(f"c{number}", type_=sa.Text) for number in range(len(names))]
            spelled = self._of_clients[statement, len(names)] = Spelled(statement(places), self._dialect)
        return spelled.rows(connection, {f"c{number}": name for number, name in enumerate(names)})


class SqlInbox:
    """Accepted jobs: one transaction with their history and their idempotency record.

    Requests that come at once are accepted in one transaction: all of its costs, the wait for the disk first of all,
    are shared. None is answered before it is committed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = _Statements(database.engine.dialect)
        self._together = Together(self._accept, most=_MOST_AT_ONCE, patience_s=database.busy_timeout_s)

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
        # Another process lets a client's row go within milliseconds: the next round costs less than waiting alone.
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
                locked = self._statements.locked(connection, {wish.job.client for wish in wishes})
                round_ = _Round(connection, self._statements, locked)
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
        with self._database.write() as connection:
            client = {"client": wish.job.client}
            if connection.scalar(_LOCK, client) is None:
                ensure_client(connection, wish.job.client, wish.now)
                connection.execute(_LOCK, client)
            round_ = _Round(connection, None, _counted(connection, wish.job.client))
            accepted = round_.outcome(wish)
            round_.write()
        return Unavailable("The database is busy.", code="unavailable") if isinstance(accepted, _Aside) else accepted

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
    """Several requests in one transaction in which the rows of their clients are locked.

    So one request of a client is let in at a time: what counts its videos or looks for equal ones must see all before
    it. Rows that merely refer to a client (a delivery, say) are not held up by that.
    """

    def __init__(self, connection: Connection, quick: _Statements | None, locked: Mapping[str, int]) -> None:
        """`locked` are the clients, with the number of their unfinished jobs."""
        self._connection = connection
        self._quick = quick
        self._unfinished = dict(locked)
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
            with in_one_go(self._connection):
                self._quick.new_job.run(self._connection, self._jobs)
                self._quick.new_history.run(self._connection, self._history)
        else:
            self._connection.execute(_NEW_JOB, self._jobs)
            self._connection.execute(_NEW_HISTORY, self._history)
        self._jobs, self._history = [], []

    def _earlier(self, wish: _Wish) -> Job | _Aside | None:
        client, key = wish.job.client, wish.idempotency_key
        if key is None and not wish.sdk_retry:
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


def _counted(connection: Connection, client: str) -> Mapping[str, int]:
    return {client: 0} | {row[0]: row[1] for row in connection.execute(_unfinished([client]))}


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
