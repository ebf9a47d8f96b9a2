"""What runs on every tick and every request costs by what is in hand, not by how many videos ever were."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import PoolProxiedConnection

from gateway.db.engine import Database
from gateway.db.migrate import migrate
from gateway.db.rows import values_of
from gateway.db.spelled import Spelled, Values
from gateway.db.tables import clients, deliveries, jobs, objects, submissions
from gateway.jobs.job import Failure, Status, new_id
from gateway.jobs.ports import Made, VideoFilter
from tests.contracts.world import ALL_EVENTS, HOOK, LANE, NOW, YES, World, claimed_singly, new_job

FINISHED = 5000


def crowded(url: str) -> None:
    """Make a database with a long past and a little in hand."""
    database = Database(url, synchronous="off")
    migrate(database)
    with database.write() as connection:
        for table, values in past().items():
            connection.execute(sa.insert(table), values)
    bring_in_hand(World(database))
    if not database.sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    database.close()


def past() -> dict[sa.Table, list[dict[str, Any]]]:
    """Thousands of finished videos of two clients, with everything that hangs on them."""
    ended = [
        replace(
            new_job(("ann", "bob")[n % 2], at=NOW - 9e5 + n), status=Status.FAILED, finished_at=NOW - 8e5 + n,
            removed_at=NOW, error=Failure(code="upstream_error", message="no"),
        )
        for n in range(FINISHED)
    ]  # fmt: skip
    return {
        clients: [{"name": name, "created_at": NOW} for name in ("ann", "bob")],
        jobs: [values_of(job) | {"request_hash": job.id} for job in ended],
        submissions: [
            {
                "id": new_id("sub", NOW), "job_id": job.id, "upstream": "main", "key": "one", "key_fingerprint": "k",
                "fingerprint": job.id, "started_at": NOW, "outcome": "refused", "slot_released_at": NOW,
            }
            for job in ended
        ],
        deliveries: [
            {
                "id": new_id("del", NOW), "event_id": job.id, "client": job.client, "job_id": job.id, "type": "t",
                "url": HOOK, "receiver": "https://hooks.example.com:443", "facts": {}, "status": "delivered",
                "created_at": NOW,
            }
            for job in ended
        ],
        objects: [{"key": job.id, "state": "kept", "created_at": NOW} for job in ended],
    }  # fmt: skip


def bring_in_hand(world: World) -> None:
    lane = replace(LANE, max_concurrent=999)
    for client in ("ann", "bob"):
        for _ in range(3):
            world.queued(client, due_at=NOW + 500, callback_url=HOOK, callback_events=ALL_EVENTS)
            world.told(client=client)
        world.rendering(client=client, lane=lane)
        world.storing(client=client, lane=lane)
    abandoned, _ = world.rendering(lane=lane)
    world.recorder.cancel(abandoned.id, client="ann", now=NOW)
    world.submitting(lane=lane)
    world.queued()
    world.ledger.begin("k", until=NOW, now=NOW)


@pytest.fixture(scope="module")
def crowded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a database as a SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("crowded") / "gateway.db"
    crowded(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of such a database of one's own."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("crowded_file"), tmp_path / "gateway.db")
        yield f"sqlite:///{tmp_path / 'gateway.db'}"
        return
    with request.getfixturevalue("postgres_server").database(crowded) as url:
        yield url


def literal(value: Any) -> str:
    return "NULL" if value is None else "'" + str(value).replace("'", "''").replace("%", "%%") + "'"


@contextmanager
def recorded(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are executed within, with their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: object) -> None:
        if statement.startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
            statements.append((statement, parameters))

    def note_spelled(spelled: Spelled, connection: PoolProxiedConnection, values: Values) -> Any:
        statements.append((spelled.sql, spelled.bound(values)))
        return ask(spelled, connection, values)

    ask = Spelled._rows
    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Spelled, "_rows", note_spelled)  # it goes past the engine's events
            yield statements
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


def plan_of(database: Database, statement: str, parameters: Any) -> str:
    """The plan, on PostgreSQL the generic one: a prepared statement is planned without its values sooner or later."""
    with database.engine.connect() as connection:
        if database.sqlite:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            return "\n".join(row[3] for row in rows)
        names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
        numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement).replace("%%", "%")
        connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
        connection.exec_driver_sql(f"PREPARE asked AS {numbered}".replace("%", "%%"))
        values = ", ".join(literal(parameters[name]) for name in names)
        rows = connection.exec_driver_sql(f"EXPLAIN EXECUTE asked{f'({values})' if names else ''}").all()
        connection.exec_driver_sql("DEALLOCATE asked")
        return "\n".join(row[0] for row in rows)


def going_on(world: World) -> None:
    claimed = claimed_singly(world.outbox, limit=1, now=NOW + 1)
    made = [Made(delivery, YES, NOW + 1) for delivery in claimed]
    assert world.outbox.onward(made, worker="w", limit=5, lease_s=60, now=NOW + 1)


ACTS: dict[str, tuple[str, Callable[[World], object]]] = {
    "claiming polls": (
        "ix_jobs_due", lambda w: w.claims.due(Status.RENDERING, worker="w", limit=5, lease_s=60, now=NOW + 60),
    ),
    "claiming rounds": (
        "ix_jobs_due",
        lambda w: w.claims.round(
            "main", "k1", worker="w", least=1, limit=5, until=NOW + 75, lease_s=60, now=NOW + 60,
        ),
    ),
    "finding where a round begins": (
        "ix_jobs_due",
        lambda w: w.claims.accepted_after(
            replace(new_job(), upstream="main", key_fingerprint="k1", accepted_at=NOW - 1), 1,
        ),
    ),
    "claiming transfers": (
        "ix_jobs_due", lambda w: w.claims.due(Status.STORING, worker="w", limit=5, lease_s=60, now=NOW + 60),
    ),
    "taking a turn": (
        "ix_jobs_(queue|due)",
        lambda w: w.submissions.take_turn(
            replace(LANE, max_concurrent=99), worker="w", limit=3, lease_s=60, now=NOW + 1,
        ),
    ),
    "claiming abandoned submissions": (
        "ix_submissions_abandoned", lambda w: w.submissions.abandoned(worker="w", limit=5, lease_s=60, now=NOW),
    ),
    "counting slots": ("ix_submissions_slots", lambda w: w.queries.upstream_keys()),
    "expiring the queue": (
        "ix_jobs_(waiting|queue)", lambda w: w.claims.expired_in_queue(before=NOW - 500, limit=5),
    ),
    "accepting": ("ix_jobs_unfinished", lambda w: w.queued()),
    "matching a retry": ("ix_jobs_retries", lambda w: w.accept(new_job(), sdk_retry=1)),
    "claiming deliveries": (
        "ix_deliveries_due",
        lambda w: claimed_singly(w.outbox, limit=5, now=NOW + 1),
    ),
    "going on with a receiver": ("ix_deliveries_receiver", going_on),
    "giving claims back": (
        "autoindex_jobs|pk_jobs",
        lambda w: w.claims.release_all(
            w.claims.due(Status.RENDERING, worker="w", limit=5, lease_s=60, now=NOW + 99), due_at=NOW
        ),
    ),
    "giving back what could not be begun": (
        "ix_jobs_claimed",
        lambda w: (
            w.claims.due(Status.RENDERING, worker="w", limit=5, lease_s=60, now=NOW + 99),
            w.claims.release_unbegun("w", since=NOW + 99, until=NOW + 99, due_at=NOW + 99),
        ),
    ),
    "claiming leftovers": ("ix_objects_due", lambda w: w.ledger.leftovers(limit=5, lease_s=60, now=NOW)),
    "retention": ("ix_jobs_retention", lambda w: w.ledger.retire(before=NOW + 5, limit=5, now=NOW + 9)),
    "the place in the queue": ("ix_jobs_(waiting|queue)", lambda w: w.queries.queue_position(new_job())),
    "waiting for attempts": ("attempts", lambda w: w.queries.attempted(["del_1", "del_2"])),
    "the usual duration": (
        "ix_jobs_durations", lambda w: w.queries.usual_duration_s(model="sora-2", size="720x1280", seconds=4),
    ),
    "lateness": ("ix_jobs_due", lambda w: w.queries.lateness(NOW)),
    "counting videos": ("ix_jobs_(due|unfinished)", lambda w: w.queries.counts()),
    "pending deliveries": ("ix_deliveries_(due|receiver)", lambda w: w.queries.deliveries_due(NOW)),
    "a first page": ("ix_jobs_listed", lambda w: w.queries.jobs("ann", VideoFilter())),
    "a page of what is in hand": (
        "ix_jobs_(unfinished|due)", lambda w: w.queries.jobs("ann", VideoFilter(status="in_progress")),
    ),
    "burying": (
        "ix_jobs_claimed", lambda w: w.workers._bury("w", NOW, silent=True, lease_s=20, now=NOW),
    ),
}  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
def test_what_runs_often_never_reads_a_whole_table(world: World, act: str) -> None:
    index, run = ACTS[act]
    if act == "burying":
        world.workers.join("w", now=NOW)
    with recorded(world.database) as statements:
        run(world)
    plans = [plan_of(world.database, *statement) for statement in statements]
    assert plans
    assert re.search(index, "\n".join(plans)), plans
    for plan in plans:
        assert not whole_tables(plan), plan


def test_the_next_page_begins_where_the_last_one_ended(world: World) -> None:
    jobs_, _ = world.queries.jobs("ann", VideoFilter(limit=100))
    with recorded(world.database) as statements:
        for newest_first in (True, False):
            world.queries.jobs("ann", VideoFilter(after=jobs_[-1].id, newest_first=newest_first))
    plans = [plan_of(world.database, *statement) for statement in statements]
    pages = [plan for plan in plans if "ix_jobs_listed" in plan]
    assert len(pages) == 2
    for plan in pages:
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan
        assert re.search(r"\(?created_at,? ?i?d?\)?[ <>]", plan)


def whole_tables(plan: str) -> list[str]:
    """The large tables that a plan reads from end to end, without an index."""
    large = "jobs|deliveries|submissions|history|objects"
    return re.findall(rf"Seq Scan on (?:{large})\b.*|SCAN (?:{large}|under_way)\b(?! USING).*", plan)


def test_this_test_knows_a_whole_table_when_it_sees_one(world: World) -> None:
    for table in (jobs, deliveries, submissions, objects):
        with recorded(world.database) as statements, world.database.read() as connection:
            connection.execute(sa.select(table).where(sa.func.length(table.c[next(iter(table.c.keys()))]) < 0))
        assert whole_tables(plan_of(world.database, *statements[0]))
