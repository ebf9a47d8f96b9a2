"""Clients and their keys: hashed, revocable, rotating, and rated."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.db.engine import Database
from gateway.db.tables import api_keys, clients
from gateway.jobs.errors import NotFound
from gateway.jobs.ports import Caller
from tests.contracts.world import NOW, World, race


def contents(database: Database) -> bytes:
    """Everything that the database holds, as text."""
    if database.path is not None:
        with database.write() as connection:
            connection.exec_driver_sql("SELECT 1")
        return b"".join(path.read_bytes() for path in database.path.parent.glob("gateway.db*") if path.is_file())
    with database.read() as connection:
        tables = connection.exec_driver_sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").scalars()
        return repr([connection.exec_driver_sql(f"SELECT * FROM {name}").all() for name in tables.all()]).encode()


def test_a_key_tells_its_client_and_neither_it_nor_a_secret_is_in_the_database(world: World) -> None:
    key, secret = world.clients.create_key("ann", admin=True, now=NOW)
    assert world.clients.caller(secret) == Caller(client="ann", admin=True)
    assert secret.endswith(key.hint)
    assert len(key.hint) == 4
    held = contents(world.database)
    assert key.id.encode() in held
    assert secret.encode() not in held
    assert secret.removeprefix("sgw_").encode() not in held


@pytest.mark.parametrize("stranger", ["", "sgw_", "sgw_" + "A" * 43, "\x00", "\ud800", "' OR 1=1 --", "é" * 5000])
def test_a_stranger_is_nobody(world: World, stranger: str) -> None:
    world.clients.create_key("ann", admin=False, now=NOW)
    assert world.clients.caller(stranger) is None


def test_a_client_may_have_several_keys_and_lose_one_of_them(world: World) -> None:
    old, old_secret = world.clients.create_key("ann", admin=False, now=NOW)
    _, new_secret = world.clients.create_key("ann", admin=False, now=NOW + 1)
    assert world.clients.revoke_key(old.id, now=NOW + 2)
    assert not world.clients.revoke_key(old.id, now=NOW + 3)
    assert not world.clients.revoke_key("key_none", now=NOW + 3)
    assert world.clients.caller(old_secret) is None
    assert world.clients.caller(new_secret) == Caller(client="ann")
    listed = world.clients.keys()
    assert [(key.id == old.id, key.revoked_at) for key in listed] == [(True, NOW + 2), (False, None)]
    assert len(world.rows(clients)) == 1


def test_there_is_a_key_until_the_last_is_revoked(world: World) -> None:
    assert not world.clients.any_key()
    key, _ = world.clients.create_key("ann", admin=False, now=NOW)
    assert world.clients.any_key()
    world.clients.revoke_key(key.id, now=NOW)
    assert not world.clients.any_key()


def test_sixteen_threads_making_keys_for_a_new_client_make_one_client(world: World) -> None:
    made = race(lambda _: world.clients.create_key("ann", admin=False, now=NOW))
    assert [one for one in made if isinstance(one, Exception)] == []
    assert len(world.rows(clients)) == 1
    assert len({row.hash for row in world.rows(api_keys)}) == 16


def test_a_client_of_the_settings_gets_its_row_with_its_first_video(world: World) -> None:
    world.queued("ann")
    assert (world.row(clients).name, world.row(clients).secret_version) == ("ann", 1)


def test_a_client_with_a_key_of_ours_owns_its_secret_also_when_the_key_is_revoked(world: World) -> None:
    key, _ = world.clients.create_key("ann", admin=False, now=NOW)
    world.clients.revoke_key(key.id, now=NOW)
    assert world.clients.owns_secret("ann")
    assert not world.clients.owns_secret("bob")


def test_for_a_day_after_a_rotation_the_old_secret_signs_too(world: World) -> None:
    world.clients.create_key("ann", admin=False, now=NOW)
    assert world.clients.secret_versions("ann", now=NOW) == (1,)
    assert world.clients.rotate_secret("ann", now=NOW) == 2
    assert world.clients.secret_versions("ann", now=NOW + 86399) == (2, 1)
    assert world.clients.secret_versions("ann", now=NOW + 86400) == (2,)
    assert world.clients.rotate_secret("ann", now=NOW + 86401) == 3
    assert world.clients.secret_versions("ann", now=NOW + 86402) == (3, 2)


def test_an_unknown_client_has_no_secret(world: World) -> None:
    with pytest.raises(NotFound):
        world.clients.secret_versions("nobody", now=NOW)
    with pytest.raises(NotFound):
        world.clients.rotate_secret("nobody", now=NOW)


def test_sixteen_rotations_at_once_are_sixteen_versions(world: World) -> None:
    world.clients.create_key("ann", admin=False, now=NOW)
    versions = race(lambda _: world.clients.rotate_secret("ann", now=NOW))
    assert sorted(versions) == list(range(2, 18))  # type: ignore[type-var]


# -- request rates -----------------------------------------------------------------------------------------------------


def take(world: World, now: float, *, client: str = "ann", per_minute: int = 6) -> float | None:
    return world.clients.take(client, per_minute=per_minute, now=now)


def test_a_minutes_requests_may_come_at_once_and_then_evenly(world: World) -> None:
    assert [take(world, NOW) for _ in range(6)] == [None] * 6
    assert take(world, NOW) == pytest.approx(10)
    assert take(world, NOW + 4) == pytest.approx(6)
    assert take(world, NOW + 10) is None
    assert take(world, NOW + 10) == pytest.approx(10)
    assert take(world, NOW + 10, client="bob") is None


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.floats(0, 20), min_size=1, max_size=30), per_minute=st.integers(1, 20))
def test_the_wait_that_is_told_is_the_wait_that_is_needed(world: World, steps: list[float], per_minute: int) -> None:
    client, now = f"client{hash((tuple(steps), per_minute))}", NOW
    for step in steps:
        now += step
        wait = take(world, now, client=client, per_minute=per_minute)
        if wait is not None:
            assert 0 < wait <= 60 / per_minute + 1e-3
            now += wait
            assert take(world, now, client=client, per_minute=per_minute) is None


def test_sixteen_requests_at_once_are_counted_one_by_one(world: World) -> None:
    waits = race(lambda _: take(world, NOW))
    assert sum(wait is None for wait in waits) == 6
    assert not any(isinstance(wait, Exception) for wait in waits)


def test_a_clock_that_is_set_back_does_not_lock_a_client_out(world: World) -> None:
    for _ in range(6):
        take(world, NOW)
    assert take(world, NOW - 3600) is None
