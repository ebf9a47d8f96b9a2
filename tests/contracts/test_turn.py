"""The turn to write: it orders processes, and nothing hangs on it."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.db import turn as turn_module
from gateway.db.engine import Database
from gateway.db.tables import clients
from gateway.db.turn import Turn
from tests.contracts.world import World
from tests.worker_world import Time

SOON_S = 10.0

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def path(world: World) -> Path:
    found = world.database.path
    assert found is not None
    return found


def write(database: Database) -> None:
    with database.write() as connection:
        connection.execute(sa.update(clients).values(turn=clients.c.turn + 1))


def test_who_writes_waits_for_the_turn_of_another_process(
    world: World, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_module, "_PATIENCE_S", SOON_S)
    waits, pause = threading.Event(), threading.Event()

    def waiting(seconds: float) -> None:
        waits.set()
        pause.wait(seconds)

    monkeypatch.setattr(turn_module, "sleep", waiting)
    writer = threading.Thread(target=write, args=(world.database,))
    with Turn(path).taken():
        writer.start()
        assert waits.wait(SOON_S)
        assert writer.is_alive()
    writer.join(SOON_S)
    assert not writer.is_alive()


def test_a_turn_that_is_not_given_back_is_waited_for_once_and_then_passed_by_for_a_while(
    world: World, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        time.on(seconds)

    monkeypatch.setattr(turn_module, "monotonic", time)
    monkeypatch.setattr(turn_module, "sleep", nap)
    with Turn(path).taken():
        write(world.database)
        assert sum(naps) == pytest.approx(0.5, abs=0.01)
        waited = len(naps)
        write(world.database)
        time.on(1.9)
        write(world.database)
        assert len(naps) == waited
        time.on(0.2)
        write(world.database)
        assert len(naps) == 2 * waited


def test_where_the_file_cannot_be_had_writing_goes_on(open_database: Callable[..., Database]) -> None:
    database = open_database()
    assert database.path is not None
    lock = database.path.with_name(database.path.name + "-turn.lock")
    lock.unlink(missing_ok=True)
    lock.mkdir()
    lock.chmod(0o000)
    write(database)


def test_a_file_system_without_such_locks_loses_nothing_that_was_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    world.queued()
    monkeypatch.setattr(turn_module.fcntl, "flock", none)
    monkeypatch.setattr(turn_module, "_PATIENCE_S", 0.0)
    write(world.database)
    assert world.row(clients).turn == 1


def test_a_turn_ends_with_a_failure_too(world: World, path: Path) -> None:
    with pytest.raises(LookupError), world.database.write():
        raise LookupError
    with path.with_name(path.name + "-turn.lock").open("a") as file:
        assert turn_module._locked(file.fileno())
