"""Migrations: they build exactly the tables that the program uses, once, however many processes try."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gateway.db.claims import SqlClaims
from gateway.db.engine import Database
from gateway.db.migrate import current_revision, migrate, newest_revision
from gateway.db.queries import SqlQueries
from gateway.db.rows import values_of
from gateway.db.tables import metadata
from tests.contracts.world import NOW, new_job, race


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'new.db'}", synchronous="off")
        yield database
        database.close()
        return
    with request.getfixturevalue("postgres_server").database() as url:
        database = Database(url)
        yield database
        database.close()


def sqlite_schema(database: Database) -> dict[str, list[str]]:
    """Every statement that made the schema, in parts that may stand in any order."""
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    return {name: sorted(statement_parts(sql)) for name, sql in rows if name != "alembic_version"}


def statement_parts(sql: str) -> list[str]:
    """A statement's columns and constraints, wherever its commas and line ends stand, and what is around them."""
    begin, _, rest = re.sub(r"\s+", " ", sql.replace('"', "")).partition("(")
    body, _, end = rest.rpartition(")")
    parts, depth = [""], 0
    for char in body:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [begin.strip(), end.strip(), *(part.strip() for part in parts)]


POSTGRES_SCHEMA = {
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "constraints": (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace"
    ),
    "columns": (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_schema = 'public'"
    ),
}


def postgres_schema(database: Database) -> dict[str, set[Any]]:
    with database.read() as connection:
        return {
            what: {tuple(row) for row in connection.exec_driver_sql(query) if not str(row).count("alembic_version")}
            for what, query in POSTGRES_SCHEMA.items()
        }


def schema(database: Database) -> object:
    return sqlite_schema(database) if database.sqlite else postgres_schema(database)


def test_migrating_an_empty_database_leaves_nothing_to_change(empty: Database) -> None:
    migrate(empty)
    with empty.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrations_build_the_same_checks_and_partial_indexes_as_the_tables(empty: Database) -> None:
    migrate(empty)
    migrated = schema(empty)
    with empty.write() as connection:
        connection.exec_driver_sql("DROP TABLE alembic_version")
        metadata.drop_all(connection)
        metadata.create_all(connection)
    assert migrated == schema(empty)


def test_migrating_twice_changes_nothing_the_second_time(empty: Database) -> None:
    assert migrate(empty) == (None, newest_revision())
    assert migrate(empty) == (newest_revision(), newest_revision())


def test_a_database_is_current_only_once_it_is_migrated(empty: Database) -> None:
    queries = SqlQueries(empty)
    assert not queries.schema_current()
    migrate(empty)
    assert queries.schema_current()


def test_the_newest_revision_is_the_one_that_alembic_finds() -> None:
    from alembic.script import ScriptDirectory

    from gateway.db.migrate import _config

    assert newest_revision() == ScriptDirectory.from_config(_config()).get_current_head()


def test_a_migration_can_be_taken_back(empty: Database) -> None:
    from alembic import command

    from gateway.db.migrate import _config

    migrate(empty)
    with empty.write() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with empty.read() as connection:
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]


def test_what_was_accepted_before_a_migration_is_there_after_it(empty: Database) -> None:
    from alembic import command

    from gateway.db.migrate import _config

    with empty.write() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        old = sa.MetaData()
        old.reflect(connection)
        connection.execute(sa.insert(old.tables["clients"]).values(name="ann", created_at=NOW))
        known = {name: value for name, value in values_of(new_job()).items() if name in old.tables["jobs"].c}
        connection.execute(sa.insert(old.tables["jobs"]).values(**known, request_hash="h"))
    assert migrate(empty) == ("0001", newest_revision())
    (found,) = SqlClaims(empty).queued(after=None, limit=9)
    assert found == replace(new_job(), id=found.id)
    assert SqlQueries(empty).job(found.id, client="ann").source is None


def test_eight_threads_migrate_one_database_once(empty: Database) -> None:
    databases = [Database(empty.url.render_as_string(hide_password=False), synchronous="off") for _ in range(8)]
    before = [result[0] for result in race(lambda number: migrate(databases[number]), threads=8)]  # type: ignore[index]
    for database in databases:
        database.close()
    assert sorted(before, key=str) == sorted([None] + [newest_revision()] * 7, key=str)


MIGRATE = """
import sys
from gateway.db.claims import SqlClaims
from gateway.db.engine import Database
from gateway.db.migrate import migrate
print(migrate(Database(sys.argv[1]))[0])
"""


def test_processes_started_together_migrate_one_database_once(empty: Database) -> None:
    url = empty.url.render_as_string(hide_password=False)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=60) for process in started]
    assert [error for _, error in said if error] == []
    assert sorted(out.strip() for out, _ in said) == sorted([newest_revision()] * 3 + ["None"])
    with empty.read() as connection:
        assert current_revision(connection) == newest_revision()
