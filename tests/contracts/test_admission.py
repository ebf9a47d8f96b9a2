"""Admission: requests of many clients at once, in one process and in two, each accepted or refused on its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.admission import Admission
from gateway.db.engine import Database
from gateway.db.tables import clients, history, jobs
from gateway.jobs.ports import Acceptance
from tests.contracts.world import NOW, World, new_job, post, race

T = TypeVar("T")


def held_up(world: World, work: Callable[[int], T], *, threads: int) -> list[T | Exception]:
    """Let the first thread be held up by a lock of the database until all others wait behind it."""
    with ThreadPoolExecutor(threads) as pool:
        with world.database.write() as connection:
            if not world.database.sqlite:  # there no row that is written holds up an acceptance
                connection.exec_driver_sql("LOCK TABLE clients")
            waiting = [pool.submit(work, number) for number in range(threads)]
            everybody_waits(world, threads - 1)
        return [future.exception() or future.result() for future in waiting]


def everybody_waits(world: World, count: int) -> None:
    pause = threading.Event()
    while len(world.inbox._together._queue) < count:
        pause.wait(0.01)


def let_in(world: World, connection: Connection, client: str, *, alone: bool) -> bool:
    """Let a request of another process in, for as long as the transaction lasts."""
    admission = Admission(world.database.engine.dialect, at_once=8)
    return client in admission.let_in(connection, {client: 1000}, alone={client} if alone else set())


def somebody_waits_for_a_lock(world: World) -> None:
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    pause = threading.Event()
    count = 0
    while not count:
        pause.wait(0.01)
        with world.database.read() as connection:
            count = connection.scalar(waiting)


def test_those_who_wait_together_are_accepted_or_refused_each_on_its_own(world: World) -> None:
    for client in ("ann", "bob"):
        post(world, client, key=None)
    room = {"ann": 9, "bob": 1}

    def one(number: int) -> Acceptance:
        client = "ab"[number % 2]
        name = {"a": "ann", "b": "bob"}[client]
        return post(world, name, key=None, max_unfinished=room[name])

    results = held_up(world, one, threads=8)
    assert [type(result).__name__ for result in results] == ["Acceptance", "QueueFull"] * 4
    assert len(world.rows(jobs)) == len(world.rows(history)) == 2 + 4


def test_what_the_database_refuses_takes_nobody_else_with_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    post(world, key=None)

    def one(number: int) -> Acceptance:
        return world.accept(new_job(seconds=None if number == 3 else 4))

    results = held_up(world, one, threads=6)
    assert [isinstance(result, sa.exc.IntegrityError) for result in results] == [number == 3 for number in range(6)]
    assert len(world.rows(jobs)) == 1 + 5
    assert caplog.text.count("could not be accepted together") == 1


def test_equal_requests_that_wait_together_make_one_video(world: World) -> None:
    post(world, key=None)
    results = held_up(world, lambda _: post(world, key="same"), threads=6)
    assert sorted(result.replayed for result in results if isinstance(result, Acceptance)) == [False] + [True] * 5
    assert len(world.rows(jobs)) == 2


def test_equal_requests_to_two_processes_make_one_video(world: World, open_database: Callable[..., Database]) -> None:
    worlds = world, World(open_database())
    post(world, key=None)
    for key in map(str, range(20)):
        results = race(partial(lambda key, number: post(worlds[number], key=key), key), threads=2)
        assert {result.replayed for result in results if isinstance(result, Acceptance)} == {False, True}
    assert len(world.rows(jobs)) == 1 + 20


def test_two_processes_fill_a_queue_exactly(world: World, open_database: Callable[..., Database]) -> None:
    worlds = world, World(open_database())
    post(world, key=None)
    for full in range(2, 22):
        results = race(
            partial(lambda full, number: post(worlds[number], key=None, max_unfinished=full), full), threads=2
        )
        assert {type(result).__name__ for result in results} == {"Acceptance", "QueueFull"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock for all
def test_a_client_whose_row_is_held_is_let_in_all_the_same(world: World) -> None:
    post(world, "ann", key=None)
    with world.database.write() as connection:
        connection.execute(sa.update(clients).values(turn=7).where(clients.c.name == "ann"))
        assert not post(world, "ann", key=None).replayed
        assert not post(world, "ann", key="k").replayed


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock for all
@pytest.mark.parametrize(("key", "waits_for"), [(None, "ShareLock"), ("k", "ExclusiveLock")])
def test_a_client_of_whom_one_is_let_in_alone_holds_up_nobody_but_itself(
    world: World, key: str | None, waits_for: str
) -> None:
    for client in ("ann", "bob"):
        post(world, client, key=None)
    with ThreadPoolExecutor(1) as pool:
        with world.database.write() as connection:
            assert let_in(world, connection, "ann", alone=True)
            held = pool.submit(post, world, "ann", key=key)
            somebody_waits_for_a_lock(world)
            # Not alone where it need not be: whoever came meanwhile would have to wait behind it.
            assert connection.scalar(sa.text("SELECT mode FROM pg_locks WHERE NOT granted")) == waits_for
            assert not post(world, "bob", key=key).replayed
            assert not held.done()
        assert not held.result(20).replayed


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock for all
def test_who_looks_for_nothing_is_let_in_beside_others_and_who_looks_for_an_equal_is_not(world: World) -> None:
    post(world, "ann", key=None)
    with ThreadPoolExecutor(1) as pool:
        with world.database.write() as connection:
            assert let_in(world, connection, "ann", alone=False)
            assert not post(world, "ann", key=None).replayed
            looks = pool.submit(post, world, "ann", key="k")
            somebody_waits_for_a_lock(world)
            assert not looks.done()
        assert not looks.result(20).replayed


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock for all
def test_near_its_bound_a_client_is_let_in_alone_and_with_room_beside_others_again(world: World) -> None:
    made = [post(world, "ann", key=None, max_unfinished=514).job for _ in range(2)]
    with ThreadPoolExecutor(1) as pool:
        with world.database.write() as connection:
            assert let_in(world, connection, "ann", alone=False)
            assert not post(world, "ann", key=None, max_unfinished=514).replayed
            near = pool.submit(post, world, "ann", key=None, max_unfinished=514)
            somebody_waits_for_a_lock(world)
            assert not near.done()
        assert not near.result(20).replayed
    for job in made:
        world.recorder.cancel(job.id, client="ann", now=NOW)
    post(world, "ann", key=None, max_unfinished=515)
    with world.database.write() as connection:
        assert let_in(world, connection, "ann", alone=False)
        assert not post(world, "ann", key=None, max_unfinished=516).replayed


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock for all
def test_a_retry_whose_video_is_held_holds_up_nobody_but_itself(world: World) -> None:
    first = post(world, "ann", key=None)
    post(world, "bob", key=None)
    with ThreadPoolExecutor(1) as pool:
        with world.database.write() as connection:
            connection.execute(sa.update(jobs).values(progress=7).where(jobs.c.id == first.job.id))
            held = pool.submit(post, world, "ann", key=None, sdk_retry=1)
            somebody_waits_for_a_lock(world)
            assert not post(world, "bob", key=None).replayed
            assert not held.done()
        retried = held.result(20)
        assert (retried.replayed, retried.job.id) == (True, first.job.id)
