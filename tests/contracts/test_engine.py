"""When the database is busy, away or back again: always `Unavailable`, never for long, and never a bug's disguise."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.db.engine import Database
from gateway.db.inbox import SqlInbox
from gateway.db.queries import SqlQueries
from gateway.db.tables import clients
from gateway.jobs.errors import Unavailable
from tests.contracts.world import NOW, World, new_job, race


def post(database: Database) -> object:
    return SqlInbox(database).accept(
        new_job(), request_hash="h", idempotency_key=None, sdk_retry=0, max_unfinished=9, now=NOW
    )


# -- both --------------------------------------------------------------------------------------------------------------


def test_a_write_waits_for_another_process_no_longer_than_the_busy_timeout(
    world: World, open_database: Callable[..., Database]
) -> None:
    world.queued()
    impatient = open_database(busy_timeout_s=0.2)
    with world.database.write() as connection:
        connection.execute(sa.update(clients).values(turn=7))
        connection.execute(sa.select(clients.c.name).with_for_update())  # against whoever refers to a client, too
        started = time.monotonic()
        with pytest.raises(Unavailable) as refused:
            post(impatient)
        assert 0.1 < time.monotonic() - started < 3
    assert (refused.value.code, refused.value.retry_after_s) == ("unavailable", 2)
    post(impatient)


def test_reading_waits_for_no_writer(world: World, open_database: Callable[..., Database]) -> None:
    job = world.queued()
    reader = SqlQueries(open_database(busy_timeout_s=0.2))
    with world.database.write() as connection:
        connection.execute(sa.update(clients).values(turn=7))
        assert reader.job(job.id, client="ann") == job


def test_an_error_of_the_database_tells_nothing_of_what_was_to_be_written(world: World) -> None:
    nowhere = sa.insert(sa.table("nowhere", sa.column("prompt"))).values(prompt="a private prompt")
    with world.database.engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as wrong:
        connection.execute(nowhere)
    assert "a private prompt" not in str(wrong.value)


def answer(database: Database) -> object:
    with database.read() as connection:
        return connection.scalar(sa.select(1))


def test_what_a_failed_transaction_wrote_is_gone(world: World) -> None:
    world.queued()

    def write_and_fail() -> None:
        with world.database.write() as connection:
            connection.execute(sa.update(clients).values(turn=7))
            raise LookupError

    with pytest.raises(LookupError):
        write_and_fail()
    assert world.row(clients).turn == 0


def test_a_wrong_statement_stays_a_bug(world: World) -> None:
    with pytest.raises(sa.exc.DBAPIError), world.database.read() as connection:
        connection.execute(sa.text("SELEKT 1"))


def test_a_database_that_was_never_migrated_is_unavailable(world: World) -> None:
    with world.database.write() as connection:
        connection.execute(sa.text("ALTER TABLE history RENAME TO elsewhere"))
    with pytest.raises(Unavailable) as refused:
        world.queued()
    assert "schema" in refused.value.message


def test_a_pool_that_is_used_up_makes_others_wait_and_then_come_again(open_database: Callable[..., Database]) -> None:
    database = open_database(pool_size=1, busy_timeout_s=0.2)
    with ExitStack() as taken:
        for _ in range(5):
            taken.enter_context(database.engine.connect())
        with pytest.raises(Unavailable):
            answer(database)
    assert answer(database) == 1


def test_unavailable_names_no_host_user_or_statement(tmp_path: Path) -> None:
    for url in (
        f"sqlite:////{tmp_path}/none/gateway.db",
        f"postgresql+psycopg://secret-user:secret-word@/x?host={tmp_path}",
    ):
        database = Database(url, busy_timeout_s=0.2)
        for ask in (answer, lambda database: SqlQueries(database).job("video_1", client=None)):
            with pytest.raises(Unavailable) as refused:
                ask(database)
            assert str(refused.value) == "The database cannot be reached."


# -- SQLite ------------------------------------------------------------------------------------------------------------


def test_threads_of_one_process_queue_for_the_writer_instead_of_failing(tmp_path: Path, sqlite_template: Path) -> None:
    path = tmp_path / "gateway.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}", synchronous="off", busy_timeout_s=20)
    results = race(lambda _: [post_one(database) for _ in range(5)])
    database.close()
    assert [result for result in results if isinstance(result, Exception)] == []


def post_one(database: Database) -> None:
    SqlInbox(database).accept(
        new_job(), request_hash="h", idempotency_key=None, sdk_retry=0, max_unfinished=999, now=NOW
    )


def test_the_log_is_copied_into_the_file_while_somebody_writes(tmp_path: Path, sqlite_template: Path) -> None:
    path = tmp_path / "gateway.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    post_one(database)
    with database.write() as connection:
        connection.execute(sa.update(clients).values(turn=7))
        database.copy_log()
    # As the file is by itself, without its log.
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT turn FROM clients").fetchall() == [(0,)]
    database.copy_log()
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT turn FROM clients").fetchall() == [(7,)]
    database.close()


@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_sqlite_is_opened_as_promised(tmp_path: Path, synchronous: str) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}", synchronous=synchronous)
    with database.read() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in (
            "journal_mode", "synchronous", "foreign_keys",
        )]  # fmt: skip
    database.close()
    assert pragmas == ["wal", {"full": 2, "normal": 1}[synchronous], 1]


def test_what_need_not_last_waits_for_no_disk_and_what_must_does_so_again(
    open_database: Callable[..., Database],
) -> None:
    database = open_database(synchronous="full", pool_size=1)
    question, lasting, fleeting = "PRAGMA synchronous", 2, 1
    if not database.sqlite:
        question, lasting, fleeting = "SHOW synchronous_commit", "on", "off"
        with open_database(pool_size=1).write() as other:
            other.exec_driver_sql(f'ALTER DATABASE "{database.url.database}" SET synchronous_commit = on')
    seen = []
    for durable in (True, False, False, True):
        with database.write(durable=durable) as connection:
            seen.append(connection.exec_driver_sql(question).scalar())
    assert seen == [lasting, fleeting, fleeting, lasting]


def test_a_full_disk_is_unavailable_and_keeps_nothing(tmp_path: Path, sqlite_template: Path) -> None:
    path = tmp_path / "gateway.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}", pool_size=1)
    with database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable) as refused:
        [post_one(database) for _ in range(500)]
    assert "full" in refused.value.message
    database.close()
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


@pytest.fixture
def postgres(open_database: Callable[..., Database]) -> Database:
    """A migrated database on PostgreSQL; these tests have nothing to ask of SQLite."""
    return open_database(busy_timeout_s=1.0)


only_postgres = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def end_sessions(database: Database) -> None:
    """End every session but this one, as a restart of the server does."""
    killer = Database(database.url.render_as_string(hide_password=False))
    with killer.read() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    killer.close()


@only_postgres
@pytest.mark.parametrize("asks", ["the clock", "a video"])
def test_after_a_restart_the_pool_fails_once_and_not_once_for_every_connection(
    postgres: Database, asks: str, caplog: pytest.LogCaptureFixture
) -> None:
    job, queries = new_job(), SqlQueries(postgres)
    SqlInbox(postgres).accept(job, request_hash="h", idempotency_key=None, sdk_retry=0, max_unfinished=9, now=NOW)
    ask = postgres.now if asks == "the clock" else partial(queries.job, job.id, client=None)
    race(lambda _: ask(), threads=8)
    end_sessions(postgres)
    failures = 0
    for _ in range(20):
        try:
            ask()
        except Unavailable:
            failures += 1
    assert failures <= 1
    assert not caplog.records


def test_a_look_at_a_video_tells_of_a_schema_that_is_not_there(world: World) -> None:
    job = world.queued()
    with world.database.write() as connection:
        connection.execute(sa.text("ALTER TABLE jobs RENAME TO elsewhere"))
    with pytest.raises(Unavailable, match="schema"):
        world.queries.job(job.id, client=None)


def session(database: Database) -> int:
    with database.read() as connection:
        return int(connection.scalar(sa.text("SELECT pg_backend_pid()")))


@only_postgres
def test_a_look_at_a_video_that_must_wait_is_given_up_and_keeps_its_connection(postgres: Database) -> None:
    before = session(postgres)
    holder = Database(postgres.url.render_as_string(hide_password=False))
    with holder.write() as connection:
        connection.execute(sa.text("LOCK TABLE jobs"))
        with pytest.raises(Unavailable, match="busy"):
            SqlQueries(postgres).job("video_none", client=None)
    holder.close()
    assert session(postgres) == before


@only_postgres
def test_a_connection_lost_within_a_transaction_is_unavailable_and_keeps_nothing(postgres: Database) -> None:
    post(postgres)

    def lose() -> None:
        with postgres.write() as connection:
            connection.execute(sa.update(clients).values(turn=7))
            end_sessions(postgres)
            connection.execute(sa.update(clients).values(turn=8))

    with pytest.raises(Unavailable):
        lose()
    with postgres.read() as connection:
        assert connection.scalar(sa.select(clients.c.turn)) == 0


@only_postgres
def test_a_deadlock_is_unavailable_for_one_and_nothing_for_the_other(postgres: Database) -> None:
    patient = Database(postgres.url.render_as_string(hide_password=False))
    with patient.write() as connection:
        for name in "ab":
            connection.execute(sa.insert(clients).values(name=name, created_at=NOW))
    both = threading.Barrier(2)

    def cross(number: int) -> None:
        with patient.write() as connection:
            connection.execute(sa.update(clients).where(clients.c.name == "ab"[number]).values(turn=1))
            both.wait()
            connection.execute(sa.update(clients).where(clients.c.name == "ba"[number]).values(turn=1))

    results = race(cross, threads=2)
    patient.close()
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "Unavailable"]


@only_postgres
def test_a_statement_that_takes_too_long_is_unavailable(postgres: Database) -> None:
    def dawdle() -> None:
        with postgres.read() as connection:
            connection.execute(sa.text("SET statement_timeout = 20"))
            connection.execute(sa.text("SELECT pg_sleep(5)"))

    with pytest.raises(Unavailable):
        dawdle()


@only_postgres
def test_a_transaction_that_froze_loses_its_locks_and_says_so(postgres: Database) -> None:
    post(postgres)

    def freeze() -> None:
        with postgres.write() as connection:
            connection.execute(sa.text("SET idle_in_transaction_session_timeout = 20"))
            connection.execute(sa.update(clients).values(turn=7))
            with postgres.write() as other:  # waits until the server has ended the frozen one
                other.execute(sa.update(clients).values(turn=9))
            connection.execute(sa.update(clients).values(turn=8))

    with pytest.raises(Unavailable):
        freeze()


@only_postgres
def test_a_server_that_takes_no_writes_for_now_is_unavailable_and_used_again_once_it_does(postgres: Database) -> None:
    # As one that was the primary until now, or one whose provider lets nobody write since its disk is full.
    operator = Database(postgres.url.render_as_string(hide_password=False))
    setting = f"ALTER DATABASE {postgres.url.database} %s default_transaction_read_only %s"
    with operator.engine.connect() as session:
        session.exec_driver_sql(setting % ("SET", "= on"))
        postgres.engine.dispose()
        with pytest.raises(Unavailable, match="takes no writes"):
            post(postgres)
        session.exec_driver_sql(setting % ("RESET", ""))
    operator.close()
    # Not even in the session that was opened meanwhile, which stays as it was for as long as it lives.
    post(postgres)
