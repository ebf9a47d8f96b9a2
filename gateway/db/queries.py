"""The read side: what the API and the operator's commands show."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from gateway.db.conditions import is_pending, is_status, is_unfinished
from gateway.db.delivery_records import ATTEMPT, attempt_of, delivery_page, delivery_records
from gateway.db.engine import Database, translated
from gateway.db.migrate import current_revision, newest_revision
from gateway.db.rows import job_of
from gateway.db.spelled import Spelled
from gateway.db.tables import attempts, clients, deliveries, history, jobs, submissions, upstream_keys, workers
from gateway.jobs.errors import NotFound
from gateway.jobs.job import SHOWN_AS, UNFINISHED, Job, Status
from gateway.jobs.ports import Attempt, DeliveryFilter, DeliveryRecord, Event, KeyState, VideoFilter, WorkerBeat

_DURATIONS_NEEDED = 5
_DURATIONS_LOOKED_AT = 20


# Built once: putting a statement together anew costs more than SQLite's answer to it.
_LIVING = sa.select(jobs).where(jobs.c.id == sa.bindparam("id"), jobs.c.deleted_at.is_(None))
_DURATIONS = (
    sa.select((jobs.c.finished_at - jobs.c.accepted_at).label("took"))
    .where(
        jobs.c.model == sa.bindparam("model"),
        jobs.c.size == sa.bindparam("size"),
        jobs.c.seconds == sa.bindparam("seconds"),
        is_status(Status.COMPLETED),
    )
    .order_by(jobs.c.finished_at.desc())
    .limit(_DURATIONS_LOOKED_AT)
)
_QUEUED = (is_status(Status.QUEUED), jobs.c.model == sa.bindparam("model"))
_QUEUED_BEFORE = (
    sa.select(sa.func.count())
    .select_from(jobs)
    .where(
        *_QUEUED,
        jobs.c.client == sa.bindparam("client"),
        sa.tuple_(jobs.c.created_at, jobs.c.id) < sa.tuple_(sa.bindparam("created_at"), sa.bindparam("id")),
    )
)
_TURN = sa.select(clients.c.turn).where(clients.c.name == sa.bindparam("client"))
_QUEUED_BY_EACH = (
    # Each counted no further than it matters: thousands of another's are not read for the sake of one.
    sa.select(sa.func.count())
    .select_from(
        sa.select(jobs.c.id)
        .where(*_QUEUED, jobs.c.client == clients.c.name)
        .limit(sa.bindparam("most"))
        .correlate(clients)
        .subquery()
    )
    .correlate(clients)
    .scalar_subquery()
)
_QUEUED_BY_OTHERS = sa.select(clients.c.name, clients.c.turn, _QUEUED_BY_EACH.label("queued")).where(
    clients.c.name != sa.bindparam("client")
)


class SqlQueries:
    """Reading. None of these locks anything or waits for a writer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._living = Spelled(_LIVING, database.engine.dialect)

    def now(self) -> float:
        """Return the database's clock, to a few milliseconds."""
        return self._database.now_about()

    def job(self, job_id: str, *, client: str | None) -> Job:
        """Return a job; of that client, unless None. Raises NotFound, also for a deleted one."""
        with translated():
            found = self._living.look_up(self._database.engine, {"id": job_id})
        if not found or client not in {None, found[0]["client"]}:
            raise NotFound(f"There is no video '{job_id[:80]}'.", code="not_found", param="video_id")
        return job_of(found[0])

    def finished(self, job_ids: Collection[str]) -> Collection[str]:
        """Return those of these jobs that are final or deleted."""
        ended = sa.or_(jobs.c.finished_at.is_not(None), jobs.c.deleted_at.is_not(None))
        with self._database.look() as connection:
            return connection.scalars(sa.select(jobs.c.id).where(jobs.c.id.in_(job_ids), ended)).all()

    def jobs(self, client: str, wanted: VideoFilter) -> tuple[Sequence[Job], bool]:
        """Return a page and whether there is more; raises NotFound where `after` is not one of the client's."""
        with self._database.look() as connection:
            statement = _listing(client, wanted, sqlite=self._database.sqlite)
            if wanted.after is not None:
                place, there = sa.tuple_(_order(wanted), jobs.c.id), _place_of(connection, wanted.after, client)
                statement = statement.where(place < there if wanted.newest_first else place > there)
            rows = [job_of(row) for row in connection.execute(statement.limit(wanted.limit + 1)).mappings()]
        return rows[: wanted.limit], len(rows) > wanted.limit

    def events(self, job_id: str) -> Sequence[Event]:
        """Return what happened to a job, in order: history and delivery attempts."""
        with self._database.read() as connection:
            changes = connection.execute(sa.select(history).where(history.c.job_id == job_id).order_by(history.c.id))
            told = _in_order([_event_of(row) for row in changes.mappings()])
            tries = connection.execute(
                sa.select(attempts, deliveries.c.type)
                .join(deliveries, deliveries.c.id == attempts.c.delivery_id)
                .where(deliveries.c.job_id == job_id)
                .order_by(attempts.c.id)
            )
            told += [_attempt_event(row) for row in tries.mappings()]
        return sorted(told, key=lambda event: event.at)

    def deliveries(self, job_id: str) -> Sequence[DeliveryRecord]:
        """Return a job's deliveries, oldest first."""
        with self._database.read() as connection:
            return delivery_records(connection, deliveries.c.job_id == job_id)

    def client_deliveries(self, client: str, wanted: DeliveryFilter) -> tuple[Sequence[DeliveryRecord], bool]:
        """Return a page and whether there is more; raises NotFound where `after` is not one of the client's."""
        with self._database.read() as connection:
            return delivery_page(connection, client, wanted)

    def attempted(self, delivery_ids: Collection[str]) -> Collection[str]:
        """Return those of these deliveries whose first attempt is over, or that are not pending any more."""
        over = sa.exists().where(*_first_attempt(deliveries.c.id))
        wanted = sa.select(deliveries.c.id).where(deliveries.c.id.in_(delivery_ids), sa.or_(over, ~is_pending()))
        with self._database.read() as connection:
            return connection.scalars(wanted).all()

    def first_attempt(self, delivery_id: str) -> Attempt | None:
        """Return the first attempt at a delivery; None where none was made, or it is not over."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(attempts).where(*_first_attempt(delivery_id))).mappings().one_or_none()
        return attempt_of(row) if row is not None else None

    def queue_position(self, job: Job) -> int:
        """Return 1 for the queued job of its model that is submitted next, in the turns that clients take."""
        mine = {"client": job.client, "model": job.model}
        with self._database.read() as connection:
            before = mine | {"created_at": job.created_at, "id": job.id}
            ahead = int(connection.scalar(_QUEUED_BEFORE, before) or 0)
            turn = connection.scalar(_TURN, mine) or 0
            others = connection.execute(_QUEUED_BY_OTHERS, mine | {"most": ahead + 1}).all()
        # Until it is next, each other client has as many turns as the job's own has had, or one more.
        turns = (ahead + ((other.turn, other.name) < (turn, job.client)) for other in others)
        return 1 + ahead + sum(min(int(other.queued), had) for other, had in zip(others, turns, strict=True))

    def usual_duration_s(self, *, model: str, size: str, seconds: int) -> float | None:
        """Return the median time from acceptance upstream to the finished video; None until five are known."""
        with self._database.look() as connection:
            kind = {"model": model, "size": size, "seconds": seconds}
            took = [float(row.took) for row in connection.execute(_DURATIONS, kind)]
        return statistics.median(took) if len(took) >= _DURATIONS_NEEDED else None

    def workers(self) -> Sequence[WorkerBeat]:
        """Return the workers known, newest beat first."""
        with self._database.look() as connection:
            rows = connection.execute(sa.select(workers.c.id, workers.c.beat_at).order_by(workers.c.beat_at.desc()))
            return [WorkerBeat(id=row.id, beat_at=row.beat_at) for row in rows]

    def upstream_keys(self) -> Sequence[KeyState]:
        """Return every upstream key that was used or paused."""
        used = (
            sa.select(sa.func.count())
            .where(
                submissions.c.upstream == upstream_keys.c.upstream,
                submissions.c.key == upstream_keys.c.key,
                submissions.c.slot_released_at.is_(None),
            )
            .scalar_subquery()
        )
        statement = sa.select(upstream_keys, used.label("slots_used")).order_by(
            upstream_keys.c.upstream, upstream_keys.c.key
        )
        with self._database.look() as connection:
            return [_key_state(row) for row in connection.execute(statement).mappings()]

    def last_submit(self, upstream: str, key: str) -> tuple[float, str] | None:
        """Return when the latest submit whose outcome is known was settled, and that outcome; None before the first."""
        latest = (
            sa.select(submissions.c.closed_at, submissions.c.outcome)
            .where(submissions.c.upstream == upstream, submissions.c.key == key)
            .where(submissions.c.closed_at.is_not(None), submissions.c.outcome != "unknown")
            .order_by(submissions.c.id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(latest).one_or_none()
        return (float(row.closed_at), str(row.outcome)) if row else None

    def in_hand(self) -> Mapping[str, int]:
        """Return by upstream how many unfinished videos belong to it: submitted, or about to be."""
        grouped = (
            sa.select(jobs.c.upstream, sa.func.count())
            .where(is_unfinished(), jobs.c.status != Status.QUEUED.value, jobs.c.upstream.is_not(None))
            .group_by(jobs.c.upstream)
        )
        with self._database.look() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(grouped)}

    def counts(self) -> Mapping[str, int]:
        """Return the number of unfinished jobs by status. Finished ones may be millions, and are counted by nobody."""
        grouped = sa.select(jobs.c.status, sa.func.count()).where(is_unfinished()).group_by(jobs.c.status)
        with self._database.look() as connection:
            found = {row[0]: int(row[1]) for row in connection.execute(grouped)}
        return {status.value: found.get(status.value, 0) for status in Status if status in UNFINISHED}

    def lateness(self, now: float) -> Mapping[str, float]:
        """Return by unfinished status how many seconds past its due time the job is that waits longest; 0 for none."""
        earliest = sa.select(jobs.c.status, sa.func.min(jobs.c.due_at)).where(is_unfinished()).group_by(jobs.c.status)
        with self._database.look() as connection:
            due = {row[0]: float(row[1]) for row in connection.execute(earliest)}
        return {status.value: max(0.0, now - due.get(status.value, now)) for status in Status if status in UNFINISHED}

    def deliveries_due(self, now: float) -> tuple[int, float | None]:
        """Return how many deliveries are pending, and how late the one due first is; None where none is late."""
        pending = sa.select(sa.func.count(), sa.func.min(deliveries.c.due_at)).where(is_pending())
        with self._database.look() as connection:
            count, earliest = connection.execute(pending).one()
        return int(count), max(0.0, now - earliest) if earliest is not None else None

    def schema_current(self) -> bool:
        """Whether the database is migrated to this program's schema; raises Unavailable where it can't be asked."""
        with self._database.read() as connection:
            return current_revision(connection) == newest_revision()


def _place_of(connection: Connection, job_id: str, client: str) -> sa.ColumnElement[Any]:
    """Return where a job stands in its client's list; a deleted one too, for whoever deletes page by page."""
    created_at = connection.scalar(sa.select(jobs.c.created_at).where(jobs.c.id == job_id, jobs.c.client == client))
    if created_at is None:
        raise NotFound(f"There is no video '{job_id[:80]}'.", code="not_found", param="after")
    return sa.tuple_(sa.literal(created_at), sa.literal(job_id))


def _first_attempt(delivery_id: str | sa.Column[str]) -> tuple[sa.ColumnElement[bool], ...]:
    return attempts.c.delivery_id == delivery_id, attempts.c.number == 1, attempts.c.finished_at.is_not(None)


def _listing(client: str, wanted: VideoFilter, *, sqlite: bool) -> sa.Select[tuple[object, ...]]:
    statement = sa.select(jobs).where(jobs.c.client == client, jobs.c.deleted_at.is_(None))
    if wanted.status is not None:
        statuses = [status for status, shown in SHOWN_AS.items() if shown == wanted.status]
        statement = statement.where(jobs.c.status.in_([status.value for status in statuses]))
        if UNFINISHED.issuperset(statuses):
            statement = statement.where(is_unfinished())
    if wanted.model is not None:
        statement = statement.where(jobs.c.model == wanted.model)
    for key, value in wanted.metadata.items():
        statement = statement.where(_has(key, value, sqlite=sqlite))
    if wanted.newest_first:
        return statement.order_by(_order(wanted).desc(), jobs.c.id.desc())
    return statement.order_by(_order(wanted), jobs.c.id)


def _order(wanted: VideoFilter) -> sa.ColumnElement[float]:
    """By time of creation. Of what is in hand so that no index can be walked in that order.

    The walk would look for a few jobs among all that ever were; sorting those few is cheaper.
    """
    in_hand = {SHOWN_AS[status] for status in UNFINISHED}
    return jobs.c.created_at + 0 if wanted.status in in_hand else jobs.c.created_at


def _has(key: str, value: str, *, sqlite: bool) -> sa.ColumnElement[bool]:
    """The condition that a job's metadata holds a pair. No JSON path: a key may hold what means something in one."""
    if not sqlite:
        return jobs.c.metadata.op("->>", return_type=sa.Text)(sa.literal(key, sa.Text)) == value
    pair = sa.func.json_each(jobs.c.metadata).table_valued("key", "value")
    return sa.exists().select_from(pair).where(pair.c.key == key, pair.c.value == value)


def _in_order(changes: Sequence[Event]) -> list[Event]:
    """Return the changes with times that never fall, also where the database's clock was set back between two."""
    latest = itertools.accumulate((change.at for change in changes), max)
    return [replace(change, at=at) for change, at in zip(changes, latest, strict=True)]


def _event_of(row: RowMapping) -> Event:
    names = ("at", "event", "status_before", "status", "detail")
    return Event(**{name: row[name] for name in names})


def _attempt_event(row: RowMapping) -> Event:
    told = {name: row[name] for name in ATTEMPT if name not in {"started_at", "outcome", "finished_at"}}
    detail = {"type": row["type"], "delivery": row["delivery_id"], "outcome": row["outcome"], **told}
    return Event(
        at=row["finished_at"] or row["started_at"], event="callback", status_before=None, status=None, detail=detail
    )


def _key_state(row: RowMapping) -> KeyState:
    names = ("upstream", "key", "slots_used", "paused_at", "pause_reason", "probe_at", "last_answer", "last_answer_at")
    return KeyState(**{name: row[name] for name in names})
