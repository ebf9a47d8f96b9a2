"""What a worker claimed and could not begin, since its database failed in between, waits for no lease."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Job, Status
from gateway.worker.pools import Pool
from gateway.worker.ticks import Step, Ticker
from gateway.worker.unbegun import Unbegun
from tests.service.test_worker_transfer import film
from tests.worker_world import Worker

SOON_S = 10.0
TICK_S = 0.2
RATE = 600


class Failing:
    """A call to the database that fails, so many times, after doing its work or instead of it."""

    def __init__(self, call: Callable[..., Any], *, times: int = 1, after: bool = False) -> None:
        self.call = call
        self.times = times
        self.after = after
        self.asked = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        fails = self.asked <= self.times
        result = self.call(*args, **kwargs) if self.after or not fails else None
        if fails:
            raise Unavailable("The disk is full.", code="unavailable")
        return result


class Alive:
    """A worker's ticks, which go on while its database fails; every step of them in its own thread."""

    def __init__(self, worker: Worker, *steps: Step) -> None:
        self.worker = worker
        self.pools = [Pool(type(step).__name__, 4) for step in steps]
        self.ticker = Ticker(
            worker=worker.name,
            steps=list(zip(steps, self.pools, strict=True)),
            database_now=worker.time,
            monotonic=worker.time,
            wakes=worker.wakes,
            unbegun=Unbegun(worker=worker.name, release=worker.world.claims.release_unbegun),
        )

    def tick(self) -> int:
        begun = self.ticker.tick()
        assert all(pool.wait_idle(SOON_S) for pool in self.pools)
        self.worker.time.on(TICK_S)
        return begun


Living = Callable[..., Alive]


@pytest.fixture
def limited(worker: Worker) -> Worker:
    """A worker whose upstream allows so many requests a minute: what it claims has to be paid for first."""
    return worker.again(requests_per_minute=RATE)


@pytest.fixture
def living() -> Iterator[Living]:
    made: list[Alive] = []

    def live(worker: Worker, *steps: Step) -> Alive:
        made.append(Alive(worker, *steps))
        return made[-1]

    yield live
    for one in made:
        for pool in one.pools:
            pool.close()


def storing(worker: Worker, count: int) -> Sequence[Job]:
    jobs = [worker.storing(prompt=f"cat {number}") for number in range(count)]
    worker.upstream.contents += [film()] * count
    return jobs


def test_a_transfer_that_was_claimed_and_not_admitted_begins_at_the_next_tick(
    limited: Worker, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = storing(limited, 3)
    alive = living(limited, limited.transfer)
    monkeypatch.setattr(limited.world.lanes, "take_requests", Failing(limited.world.lanes.take_requests))
    assert [alive.tick(), alive.tick()] == [0, 3]
    assert [limited.now(job).status for job in jobs] == [Status.COMPLETED] * 3


def test_a_claim_that_was_committed_and_not_heard_of_is_given_back(
    worker: Worker, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = storing(worker, 1)
    alive = living(worker, worker.transfer)
    monkeypatch.setattr(worker.world.claims, "due", Failing(worker.world.claims.due, after=True))
    assert [alive.tick(), alive.tick()] == [0, 1]
    assert worker.now(job).status is Status.COMPLETED


def test_a_turn_that_was_taken_and_not_paid_for_holds_no_room_of_its_lane(
    limited: Worker, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(limited.max_concurrent):
        limited.posted(prompt=f"cat {number}")
    alive = living(limited, limited.submit)
    monkeypatch.setattr(limited.world.lanes, "take_requests", Failing(limited.world.lanes.take_requests))
    # As many as it has threads.
    assert [alive.tick(), alive.tick()] == [0, 4]


def test_what_could_not_be_given_back_is_not_forgotten_and_nothing_is_claimed_before_it(
    limited: Worker, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    storing(limited, 1)
    alive = living(limited, limited.transfer)
    lanes, claims = limited.world.lanes, limited.world.claims
    monkeypatch.setattr(lanes, "take_requests", Failing(lanes.take_requests))
    assert alive.tick() == 0
    release = Failing(claims.release_unbegun, times=3)
    alive.ticker.unbegun.release = release
    due = Failing(claims.due, times=0)
    monkeypatch.setattr(claims, "due", due)
    assert [alive.tick() for _ in range(4)] == [0, 0, 0, 1]
    assert due.asked == 1
    assert release.asked == 4


def test_what_was_begun_before_is_not_given_back_with_it(
    limited: Worker, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = storing(limited, 2)
    (under_way,) = limited.transfer.claim(worker=limited.name, limit=1, moment=limited.moment())
    limited.time.on(1)
    alive = living(limited, limited.transfer)
    monkeypatch.setattr(limited.world.lanes, "take_requests", Failing(limited.world.lanes.take_requests))
    assert [alive.tick(), alive.tick()] == [0, 1]
    assert sorted(limited.now(job).status for job in jobs) == [Status.COMPLETED, Status.STORING]
    under_way()
    assert [limited.now(job).status for job in jobs] == [Status.COMPLETED] * 2


def test_an_orderly_tick_asks_the_database_for_nothing_more(worker: Worker, living: Living) -> None:
    alive = living(worker, worker.transfer)
    release = Failing(worker.world.claims.release_unbegun, times=0)
    alive.ticker.unbegun.release = release
    storing(worker, 1)
    assert alive.tick() == 1
    assert alive.tick() == 0
    assert release.asked == 0


def test_a_fault_in_giving_back_ends_one_tick_and_not_every_one(
    worker: Worker, living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    storing(worker, 1)
    alive = living(worker, worker.transfer)
    monkeypatch.setattr(worker.world.claims, "due", Failing(worker.world.claims.due))
    assert alive.tick() == 0

    def faulty(*_: object, **__: object) -> tuple[int, int]:
        raise ValueError("a fault")

    alive.ticker.unbegun.release = faulty
    with pytest.raises(ValueError, match="a fault"):
        alive.tick()
    assert alive.tick() == 1
