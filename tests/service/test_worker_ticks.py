"""Ticks and the process round them: nothing waits for a stuck neighbour, and an end is an orderly one."""

from __future__ import annotations

import logging
import threading
import time as real_time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import pytest

from gateway.db.tables import workers
from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Status
from gateway.worker import process as process_module
from gateway.worker.moment import Moment
from gateway.worker.pools import Pool
from gateway.worker.process import WorkerProcess
from gateway.worker.ticks import Step, Ticker
from tests.worker_world import Time, Worker

SOON_S = 10.0


class Piecework:
    """A step with always more to do than it may."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.limits: list[int] = []

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        self.limits.append(limit)
        return [self.work] * limit


class Failing:
    """A step that cannot claim."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        raise self.error


def away() -> Unavailable:
    return Unavailable("away", code="unavailable")


def ticker(*steps: tuple[Step, Pool], now: Callable[[], float] | None = None) -> Ticker:
    return Ticker(worker="w", steps=steps, database_now=now or Time(), monotonic=Time())


@contextmanager
def pools(*threads: int) -> Iterator[list[Pool]]:
    made = [Pool("test", count) for count in threads]
    yield made
    for pool in made:
        pool.close()


def test_a_tick_claims_no_more_than_there_are_free_threads() -> None:
    release = threading.Event()
    step = Piecework(lambda: release.wait(SOON_S) and None)
    with pools(3) as [pool]:
        one = ticker((step, pool))
        assert one.tick() == 3
        assert one.tick() == 0
        assert step.limits == [3]
        release.set()
        assert pool.wait_idle(SOON_S)
        assert one.tick() == 3


def test_a_stuck_pool_holds_up_nobody_else() -> None:
    release = threading.Event()
    stuck, quick = Piecework(lambda: release.wait(SOON_S) and None), Piecework(lambda: None)
    with pools(1, 2) as [first, second]:
        one = ticker((stuck, first), (quick, second))
        one.tick()
        assert second.wait_idle(SOON_S)
        assert one.tick() == 2
        release.set()


def test_without_a_database_there_is_no_tick_and_the_next_one_works() -> None:
    step = Piecework(lambda: None)
    clock: list[Exception | float] = [away(), 5.0]

    def now() -> float:
        found = clock.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    with pools(1) as [pool]:
        one = ticker((step, pool), now=now)
        assert one.tick() == 0
        assert one.tick() == 1


@pytest.mark.parametrize("error", [away(), ValueError("a fault")])
def test_a_step_that_cannot_claim_keeps_no_other_from_its_work(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    step = Piecework(lambda: None)
    with pools(1, 1) as [first, second], caplog.at_level(logging.WARNING):
        assert ticker((Failing(error), first), (step, second)).tick() == 1
    assert "Failing" in caplog.text


class Running:
    """A worker's process in a thread of the test."""

    def __init__(self, worker: Worker, *, now: Callable[[], float] | None = None) -> None:
        self.worker = worker
        self.pools = [Pool("submit", 2), Pool("poll", 2)]
        self.ticker = Ticker(
            worker=worker.name,
            steps=((worker.submit, self.pools[0]), (worker.poll, self.pools[1])),
            database_now=now or worker.time,
            monotonic=real_time.monotonic,
        )
        self.process = WorkerProcess(
            worker=worker.name,
            ticker=self.ticker,
            housekeeping=worker.housekeeping,
            workers=worker.world.workers,
            pools=self.pools,
            database_now=now or worker.time,
            monotonic=real_time.monotonic,
            stopping=worker.stopping,
            reroute=worker.reroute,
        )
        self.thread = threading.Thread(target=self.process.run)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def stop(self) -> None:
        self.worker.stopping.set()
        self.thread.join(SOON_S)
        assert not self.thread.is_alive()

    def __exit__(self, *error: object) -> None:
        self.stop()


@pytest.fixture
def in_flight(worker: Worker) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Set when a submit is under way; set it to let the upstream answer."""
    began, answer = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        answer.wait(SOON_S)

    worker.upstream.in_flight = wait
    yield began, answer
    answer.set()


def test_a_worker_that_is_stopped_finishes_what_is_under_way_and_leaves(
    worker: Worker, in_flight: tuple[threading.Event, threading.Event]
) -> None:
    began, answer = in_flight
    job = worker.posted()
    with Running(worker) as running:
        assert began.wait(SOON_S)
        worker.stopping.set()
        answer.set()
        running.stop()
    assert worker.now(job).status is Status.RENDERING
    assert worker.world.rows(workers) == []


def test_a_worker_that_cannot_finish_in_time_ends_without_taking_leave(
    worker: Worker, in_flight: tuple[threading.Event, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    began, answer = in_flight
    monkeypatch.setattr(process_module, "STOP_WITHIN_S", 0.05)
    job = worker.posted()
    with Running(worker) as running:
        assert began.wait(SOON_S)
        running.stop()
    assert worker.now(job).status is Status.SUBMITTING
    assert [row.id for row in worker.world.rows(workers)] == [worker.name]
    answer.set()
    assert all(pool.wait_idle(SOON_S) for pool in running.pools)
    worker.world.workers.leave(worker.name)


def test_nothing_is_claimed_any_more_once_a_stop_was_asked_for(worker: Worker) -> None:
    worker.stopping.set()
    worker.posted()
    running = Running(worker)
    running.process._tick()
    assert worker.upstream.posts == []
    assert all(pool.free == 2 for pool in running.pools)


def test_a_worker_waits_for_a_database_that_is_not_there_yet(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "JOIN_AGAIN_S", 0.01)
    tried: list[int] = []
    began = threading.Event()
    worker.upstream.in_flight = began.set

    def there_at_the_third() -> float:
        tried.append(1)
        if len(tried) < 3:
            raise away()
        return worker.time()

    worker.posted()
    with Running(worker, now=there_at_the_third):
        assert began.wait(SOON_S)
    assert len(tried) >= 3


def test_a_worker_that_is_stopped_before_there_is_a_database_ends(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def never() -> float:
        tried.set()
        raise away()

    with Running(worker, now=never) as running:
        assert tried.wait(SOON_S)
        running.stop()
    assert worker.world.rows(workers) == []


def test_a_database_that_goes_away_ends_neither_beat_nor_ticks(worker: Worker) -> None:
    gone, noticed, began = threading.Event(), threading.Event(), threading.Event()
    joined = threading.Event()
    worker.upstream.in_flight = began.set

    def sometimes() -> float:
        if gone.is_set():
            noticed.set()
            raise away()
        joined.set()
        return worker.time()

    with Running(worker, now=sometimes):
        assert joined.wait(SOON_S)
        gone.set()
        assert noticed.wait(SOON_S)
        worker.posted()
        gone.clear()
        assert began.wait(SOON_S)
