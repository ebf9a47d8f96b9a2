"""A worker as a process: it waits for its database, and its end is an orderly one."""

from __future__ import annotations

import threading
import time as real_time
from collections.abc import Callable, Iterator
from typing import Self

import pytest

from gateway.db.tables import attempts, workers
from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Status
from gateway.worker import process as process_module
from gateway.worker.pools import Pool
from gateway.worker.process import WorkerProcess
from gateway.worker.ticks import Ticker
from gateway.worker.unbegun import Unbegun
from tests.worker_world import Worker

SOON_S = 10.0
CANCELLED = ("video.cancelled",)


def away() -> Unavailable:
    return Unavailable("away", code="unavailable")


class Running:
    """A worker's process in a thread of the test."""

    def __init__(self, worker: Worker, *, now: Callable[[], float] | None = None) -> None:
        self.worker = worker
        self.pools = [Pool("submit", 2), Pool("poll", 2), Pool("deliver", 1)]
        self.ticker = Ticker(
            worker=worker.name,
            steps=((worker.submit, self.pools[0]), (worker.poll, self.pools[1]), (worker.deliver, self.pools[2])),
            database_now=now or worker.time,
            monotonic=real_time.monotonic,
            wakes=worker.wakes,
            unbegun=Unbegun(worker=worker.name, release=worker.world.claims.release_unbegun),
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
            relieve=worker.deliver.relieve,
            copy_log=worker.database.copy_log,
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
    worker.world.workers.leave(worker.name, now=worker.time())


@pytest.mark.parametrize("stops", [False, True])
def test_what_was_delivered_is_written_down_though_every_thread_waits_for_a_receiver(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, *, stops: bool
) -> None:
    for number in range(4):
        job = worker.posted(prompt=f"cat {number}", callback_url="https://hooks.test/", callback_events=CANCELLED)
        worker.world.recorder.cancel(job.id, client="ann", now=worker.time())
    hangs, answers, written = threading.Event(), threading.Event(), threading.Event()
    delivered = worker.world.outbox.delivered

    def third_hangs() -> None:
        if len(worker.receiver.sent) == 3:
            hangs.set()
            answers.wait(SOON_S)

    def noted(*made: object, **how: object) -> None:
        delivered(*made, **how)  # type: ignore[arg-type]
        written.set()

    worker.receiver.meanwhile = third_hangs
    monkeypatch.setattr(worker.world.outbox, "delivered", noted)
    with Running(worker):
        assert hangs.wait(SOON_S)
        if stops:
            worker.stopping.set()
        worker.time.on(1)
        assert written.wait(SOON_S)
        assert sorted(made.outcome for made in worker.world.rows(attempts)) == ["delivered", "delivered", "started"]
        answers.set()


def test_nothing_is_claimed_any_more_once_the_wake_ups_are_closed(worker: Worker) -> None:
    worker.posted()
    running = Running(worker)
    running.ticker.beat()
    worker.wakes.close()
    running.ticker.run()
    assert worker.upstream.posts == []
    assert all(pool.free == pool.threads for pool in running.pools)


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
