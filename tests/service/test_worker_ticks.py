"""Ticks: nothing waits for a stuck neighbour, and a step that fails keeps no other from its work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest

from gateway.jobs.errors import Unavailable
from gateway.worker.moment import Moment
from gateway.worker.pools import Pool
from gateway.worker.ticks import Step, Ticker
from gateway.worker.unbegun import Unbegun
from gateway.worker.wakes import Wakes
from tests.worker_world import Time

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


def ticker(*steps: tuple[Step, Pool], now: Callable[[], float] | None = None, wakes: Wakes | None = None) -> Ticker:
    unbegun = Unbegun(worker="w", release=lambda *_, **__: (0, 0))
    return Ticker(
        worker="w", steps=steps, database_now=now or Time(), monotonic=Time(), wakes=wakes or Wakes(), unbegun=unbegun
    )


@contextmanager
def pools(*threads: int, wakes: Wakes | None = None) -> Iterator[list[Pool]]:
    made = []
    for number, count in enumerate(threads):
        name = f"pool{number}"
        made.append(Pool(name, count, freed=partial(wakes.freed, name)) if wakes else Pool(name, count))
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


@contextmanager
def running(one: Ticker) -> Iterator[None]:
    """The ticker in a thread of its own, and no metronome: every tick is a wake-up."""
    thread = threading.Thread(target=one.run)
    thread.start()
    yield
    one.wakes.close()
    thread.join(SOON_S)
    assert not thread.is_alive()


class Counted(Piecework):
    """A step that sets `enough` once it was asked so often."""

    def __init__(self, work: Callable[[], None], *, times: int, most: int | None = None) -> None:
        super().__init__(work)
        self.times = times
        self.most = most
        self.enough = threading.Event()

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        work = super().claim(worker=worker, limit=limit, moment=moment)
        if len(self.limits) >= self.times:
            self.enough.set()
        return work[: self.most]


def test_a_pool_that_was_filled_is_filled_again_as_its_places_come_free() -> None:
    wakes, step = Wakes(), Counted(lambda: None, times=20)
    with pools(4, wakes=wakes) as [pool], running(ticker((step, pool), wakes=wakes)):
        wakes.wake(pool.name)
        assert step.enough.wait(SOON_S)


class Noted(Wakes):
    """Remembers what it was told of the pools."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[bool, int]] = []

    def begun(self, name: str, *, full: bool, under_way: int) -> None:
        self.told.append((full, under_way))
        super().begun(name, full=full, under_way=under_way)


def test_only_a_step_that_filled_its_pool_is_asked_before_the_metronome() -> None:
    wakes, release = Noted(), threading.Event()
    step = Counted(lambda: release.wait(SOON_S) and None, times=1, most=3)
    with pools(4) as [pool]:
        one = ticker((step, pool), wakes=wakes)
        assert [one.tick(), one.tick(), one.tick()] == [3, 1, 0]
        assert wakes.told == [(False, 3), (True, 4)]
        release.set()


@pytest.mark.parametrize("error", [away(), ValueError("a fault")])
def test_a_step_that_cannot_claim_is_left_to_the_metronome(error: Exception) -> None:
    wakes = Wakes()
    asked = threading.Semaphore(0)

    class Broken(Failing):
        def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
            asked.release()
            return super().claim(worker=worker, limit=limit, moment=moment)

    with pools(2, wakes=wakes) as [pool]:
        one = ticker((Broken(error), pool), wakes=wakes)
        with running(one):
            one.beat()
            assert asked.acquire(timeout=SOON_S)
            one.beat()
            assert asked.acquire(timeout=SOON_S)
        assert not asked.acquire(blocking=False)


def test_a_step_with_always_more_to_do_starves_no_other() -> None:
    wakes, greedy, modest = Wakes(), Piecework(lambda: None), Counted(lambda: None, times=30, most=1)
    with pools(2, 1, wakes=wakes) as [first, second]:
        one = ticker((greedy, first), (modest, second), wakes=wakes)
        with running(one):
            one.beat()
            assert modest.enough.wait(SOON_S)


def test_a_tick_that_fails_is_not_the_last_one(caplog: pytest.LogCaptureFixture) -> None:
    wakes, asked = Wakes(), threading.Event()

    def now() -> float:
        asked.set()
        raise ValueError("a clock that broke")

    with pools(1) as [pool]:
        one = ticker((Piecework(lambda: None), pool), now=now, wakes=wakes)
        with caplog.at_level(logging.ERROR), running(one):
            for _ in range(2):
                one.beat()
                assert asked.wait(SOON_S)
                asked.clear()
    assert caplog.text.count("a clock that broke") >= 2
