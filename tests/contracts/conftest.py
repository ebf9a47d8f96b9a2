"""One migrated database per test, on either engine, and the classes under test on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.db.engine import Database
from gateway.db.migrate import migrate
from gateway.db.workers import SqlWorkers
from gateway.outbound.session import Outbound
from tests.contracts.world import World
from tests.upstreams import open_outbounds


def migrated(url: str) -> None:
    """Bring the database at a URL to the newest schema."""
    database = Database(url)
    migrate(database)
    database.close()


@pytest.fixture(scope="module")
def outbounds() -> Iterator[dict[str, Outbound]]:
    """Guarded sessions that only reach loopback, of which benches for upstreams are made."""
    with open_outbounds() as made:
        yield made


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("template") / "gateway.db"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated database of one's own."""
    if request.param == "sqlite":
        path = tmp_path / "gateway.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    with request.getfixturevalue("postgres_server").database(migrated) as url:
        yield url


@pytest.fixture
def open_database(database_url: str) -> Iterator[Callable[..., Database]]:
    """Open the test's database once more, as another process would: with an engine and locks of its own."""
    opened: list[Database] = []

    def open_one(**settings: object) -> Database:
        # The power cut that `full` is for does not happen here.
        database = Database(database_url, **{"synchronous": "off", **settings})  # type: ignore[arg-type]
        opened.append(database)
        return database

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def database(open_database: Callable[..., Database]) -> Database:
    """A migrated database of one's own."""
    return open_database(pool_size=20)


@pytest.fixture
def open_workers(open_database: Callable[..., Database]) -> Iterator[Callable[[], SqlWorkers]]:
    """Open the workers' table as another process would; what was joined and not left is let go, as at its end."""
    opened: list[SqlWorkers] = []

    def open_one() -> SqlWorkers:
        opened.append(SqlWorkers(open_database(pool_size=2)))
        return opened[-1]

    yield open_one
    for workers in opened:
        let_go(workers)


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """Everything behind the ports, on one database."""
    world = World(database)
    yield world
    let_go(world.workers)


def let_go(workers: SqlWorkers) -> None:
    for name in list(workers._proof._held):
        workers._proof.let_go(name)
