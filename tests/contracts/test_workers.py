"""Workers: what the dead held comes back, what the slow hold does not, and nobody is buried for an outage of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from gateway.db.tables import deliveries, jobs, submissions, workers
from gateway.db.workers import SqlWorkers
from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Job, Status
from tests.contracts.world import HOOK, LANE, NOW, World, claimed_singly, race

WIDE = replace(LANE, max_concurrent=99)
SILENCE_S = 10.0

JOIN = """
import sys
from gateway.db.engine import Database
from gateway.db.workers import SqlWorkers
workers = SqlWorkers(Database(sys.argv[1], synchronous="off"))
workers.join(sys.argv[2], now=float(sys.argv[3]))
print("joined", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def start(database_url: str) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a real process that joins as a worker and then stands still."""
    started: list[subprocess.Popen[str]] = []

    def start_one(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", JOIN, database_url, name, str(NOW)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "joined\n"
        return process

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(timeout=20)


def watch(world: World, *, until: float, start: float = NOW, workers_: SqlWorkers | None = None) -> int:
    """Look every four seconds, as housekeeping does more often; how many were buried."""
    buried, now = 0, start
    while now < until:
        buried += bury(world, now=now, workers_=workers_)
        now = min(now + 4, until)
    return buried + bury(world, now=until, workers_=workers_)


def bury(world: World, *, now: float, workers_: SqlWorkers | None = None) -> int:
    return (workers_ or world.workers).bury(silent_since=now - SILENCE_S, poll_lease_s=20, now=now)


def submitting_of(world: World, worker: str) -> Job:
    job = world.queued()
    (claimed,) = world.submissions.take_turn(WIDE, worker=worker, limit=1, lease_s=60, now=NOW)
    assert claimed.id == job.id
    begun = world.submissions.begin(claimed, WIDE, fingerprint=job.id, due_at=NOW + 130, now=NOW)
    assert begun is not None
    return begun[0]


def claimed_in(world: World, status: Status, worker: str, *, now: float = NOW + 30) -> Job:
    (job,) = world.claims.due(status, worker=worker, limit=1, lease_s=60, now=now)
    return job


def wait_until_gone(world: World) -> None:
    """The server notices the end of a killed process's session; until then its lock is held."""
    if world.database.sqlite:
        return
    with world.database.read() as connection:
        for _ in range(2000):
            locks = connection.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"))
            if not locks:
                return
            connection.execute(sa.text("SELECT pg_sleep(0.005)"))
    pytest.fail("the session lock of a killed process did not go away")


# -- real processes ----------------------------------------------------------------------------------------------------


def test_a_killed_workers_submit_is_released_and_its_socket_noted_as_closed(
    world: World, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = start("victim")
    job = submitting_of(world, "victim")
    assert bury(world, now=NOW + 1) == 0
    kill(process)
    wait_until_gone(world)
    # A file lock proves death by itself; a session lock is also gone for a moment when a connection merely broke.
    at_once = bury(world, now=NOW + 2)
    assert at_once == (1 if world.database.sqlite else 0)
    assert at_once + watch(world, start=NOW + 3, until=NOW + 15) == 1
    released = world.now_holds(job)
    assert (released.status, released.claimed_by) == (Status.SUBMITTING, None)
    assert released.due_at <= NOW + 15
    # With a database session may go only the way to the database: the socket closes at its own deadline at the latest.
    assert world.row(submissions).closed_at == (released.due_at if world.database.sqlite else job.due_at)
    assert not world.claims.holds(job)
    assert world.rows(workers) == []


def test_a_frozen_workers_submit_is_never_released_but_the_rest_of_its_work_is(
    world: World, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    process = start("frozen")
    submitting = submitting_of(world, "frozen")
    preparing = world.claimed(lane=replace(LANE, key="two"), worker="frozen")
    world.storing()
    storing = claimed_in(world, Status.STORING, "frozen")
    world.told(url=HOOK)
    claimed_singly(world.outbox, worker="frozen", limit=1, lease_s=500, now=NOW)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        assert watch(world, until=NOW + 9) == 0
        assert watch(world, start=NOW + 12, until=NOW + 40) > 0
        assert world.claims.holds(submitting)
        assert world.row(submissions, job_id=submitting.id).closed_at is None
        for job in (preparing, storing):
            assert not world.claims.holds(job)
            assert world.now_holds(job).due_at <= NOW + 40
        assert world.row(deliveries).due_at <= NOW + 40
        assert len(world.rows(workers)) == 1
    finally:
        os.kill(process.pid, signal.SIGCONT)


def test_a_worker_that_ended_in_good_order_leaves_nothing_to_bury(
    world: World, start: Callable[[str], subprocess.Popen[str]]
) -> None:
    world.workers.join("w", now=NOW)
    world.workers.leave("w", now=NOW)
    assert world.rows(workers) == []
    assert watch(world, until=NOW + 30) == 0
    if world.database.sqlite:
        assert world.database.path is not None
        assert list(world.database.path.parent.glob("*.workers/*")) == []


def test_a_worker_that_leaves_gives_back_what_it_could_not_finish(world: World) -> None:
    world.workers.join("w", now=NOW)
    submitting = submitting_of(world, "w")
    world.storing()
    storing = claimed_in(world, Status.STORING, "w")
    world.told(url=HOOK)
    claimed_singly(world.outbox, worker="w", limit=1, lease_s=500, now=NOW)
    world.workers.leave("w", now=NOW + 3)
    for job in (submitting, storing):
        assert not world.claims.holds(job)
        assert world.now_holds(job).due_at == NOW + 3
    assert world.row(deliveries).due_at == NOW + 3
    assert world.row(submissions, job_id=submitting.id).closed_at == NOW + 3


# -- polls -------------------------------------------------------------------------------------------------------------


def test_of_polls_only_those_claimed_just_before_the_silence_are_released(world: World) -> None:
    world.rendering(lane=WIDE)
    old = claimed_in(world, Status.RENDERING, "dead", now=NOW + 30)
    world.rendering(lane=WIDE, now=NOW + 45, at=NOW + 45)
    recent = claimed_in(world, Status.RENDERING, "dead", now=NOW + 80)
    with world.database.write() as connection:
        connection.execute(sa.insert(workers).values(id="dead", started_at=NOW, beat_at=NOW + 95))
    watch(world, start=NOW + 100, until=NOW + 115)
    assert world.now_holds(old).due_at == NOW + 90
    assert world.now_holds(recent).due_at <= NOW + 115
    assert world.now_holds(recent).claimed_by is None


# -- beats -------------------------------------------------------------------------------------------------------------


def test_a_worker_that_beats_is_not_buried(world: World) -> None:
    world.workers.join("alive", now=NOW)
    job = submitting_of(world, "alive")
    for second in range(0, 60, 2):
        world.workers.beat("alive", now=NOW + second)
        assert bury(world, now=NOW + second + 1) == 0
    assert world.claims.holds(job)


def test_a_living_worker_that_falls_silent_keeps_its_submit(
    world: World, open_workers: Callable[[], SqlWorkers]
) -> None:
    world.workers.join("slow", now=NOW)
    job = submitting_of(world, "slow")
    other = open_workers()
    assert watch(world, until=NOW + 60, workers_=other) > 0
    assert world.claims.holds(job)
    world.workers.beat("slow", now=NOW + 61)
    assert [row.beat_at for row in world.rows(workers)] == [NOW + 61]


def test_after_an_outage_of_the_database_nobody_is_buried_before_all_had_time_to_beat(
    world: World, open_workers: Callable[[], SqlWorkers]
) -> None:
    world.workers.join("alive", now=NOW)
    world.storing()
    job = claimed_in(world, Status.STORING, "alive")
    other = open_workers()
    bury(world, now=NOW + 1, workers_=other)
    assert bury(world, now=NOW + 100, workers_=other) == 0
    world.workers.beat("alive", now=NOW + 102)
    assert watch(world, start=NOW + 103, until=NOW + 111, workers_=other) == 0
    assert world.claims.holds(job)


def test_a_worker_taken_for_dead_enters_itself_again(world: World) -> None:
    world.workers.join("w", now=NOW)
    with world.database.write() as connection:
        connection.execute(sa.delete(workers))
    world.workers.beat("w", now=NOW + 2)
    assert world.row(workers).beat_at == NOW + 2


def test_sixteen_workers_burying_one_dead_bury_it_once(
    world: World, start: Callable[[str], subprocess.Popen[str]], open_workers: Callable[[], SqlWorkers]
) -> None:
    kill(start("victim"))
    wait_until_gone(world)
    job = submitting_of(world, "victim")
    undertakers = [open_workers() for _ in range(8)]
    for undertaker in undertakers:
        for second in (1, 5):
            undertaker._watched_throughout(NOW, NOW + second)

    def act(number: int) -> int:
        return undertakers[number].bury(silent_since=NOW + 2, poll_lease_s=20, now=NOW + 9)

    assert sum(race(act, threads=8)) == 1  # type: ignore[arg-type]
    assert world.row(jobs, id=job.id).claim_token == job.claim_token + 1


# -- the session lock --------------------------------------------------------------------------------------------------


def test_a_broken_session_is_taken_up_again_by_the_next_beat_and_its_owner_not_buried(world: World) -> None:
    if world.database.sqlite:
        world.workers.join("w", now=NOW)
        assert not world.workers._proof.shows_dead("w", silent=True)
        return
    world.workers.join("w", now=NOW)
    job = submitting_of(world, "w")
    end_sessions(world)
    world.workers.beat("w", now=NOW + 2)
    with world.database.read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 1
    assert bury(world, now=NOW + 3) == 0
    assert world.claims.holds(job)


def test_two_processes_cannot_be_the_same_worker(world: World, open_workers: Callable[[], SqlWorkers]) -> None:
    world.workers.join("w", now=NOW)
    other = open_workers()
    with pytest.raises((Unavailable, BlockingIOError)):
        other.join("w", now=NOW)
    world.workers.leave("w", now=NOW)
    other.join("w", now=NOW)
    other.leave("w", now=NOW)


def end_sessions(world: World) -> None:
    """End every session of the database's but this one, as a restart of the server does."""
    with world.database.read() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
