"""Bounded pools: what is free may be claimed, and what goes wrong frees its thread."""

from __future__ import annotations

import logging
import threading

import pytest

from gateway.jobs.errors import Unavailable
from gateway.worker.pools import Pool

SOON_S = 5.0


def test_a_pool_counts_what_it_could_begin_now() -> None:
    pool = Pool("test", 2)
    release = threading.Event()
    pool.start(lambda: release.wait(SOON_S) and None)
    assert pool.free == 1
    pool.start(lambda: release.wait(SOON_S) and None)
    assert pool.free == 0
    release.set()
    assert pool.wait_idle(SOON_S)
    assert pool.free == 2
    pool.close()


def test_work_that_raises_is_logged_and_frees_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    pool = Pool("test", 1)

    def breaks() -> None:
        raise ValueError("a fault")

    with caplog.at_level(logging.ERROR):
        pool.start(breaks)
        assert pool.wait_idle(SOON_S)
    assert pool.free == 1
    assert "a fault" in caplog.text
    pool.close()


def test_work_that_meets_a_database_that_is_away_is_one_line_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool = Pool("test", 1)

    def finds_it_away() -> None:
        raise Unavailable("The database cannot be reached.", code="unavailable")

    with caplog.at_level(logging.WARNING):
        pool.start(finds_it_away)
        assert pool.wait_idle(SOON_S)
    assert pool.free == 1
    assert [(line.levelname, line.exc_info) for line in caplog.records] == [("WARNING", None)]
    assert "The database cannot be reached." in caplog.text
    pool.close()


def test_work_for_which_no_thread_can_be_begun_waits_for_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool("test", 3)
    release, done = threading.Event(), threading.Semaphore(0)
    pool.start(lambda: release.wait(SOON_S) and None)

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", none_left)
        for _ in range(2):
            pool.start(done.release)
    assert pool.free == 0
    release.set()
    assert done.acquire(timeout=SOON_S)
    assert done.acquire(timeout=SOON_S)
    assert pool.wait_idle(SOON_S)
    assert pool.free == 3
    pool.close()


def test_waiting_for_a_busy_pool_ends_in_time() -> None:
    pool = Pool("test", 1)
    release = threading.Event()
    pool.start(lambda: release.wait(SOON_S) and None)
    assert not pool.wait_idle(0.01)
    release.set()
    assert pool.wait_idle(SOON_S)
    pool.close()


def test_work_that_comes_after_the_end_is_refused_and_takes_no_place() -> None:
    pool = Pool("test", 1)
    pool.close()
    with pytest.raises(RuntimeError):
        pool.start(lambda: None)
    assert pool.free == 1
