"""Group commit: nobody waits for company, and of those who come meanwhile one acts for all."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gateway.db.together import Together
from gateway.jobs.errors import Unavailable

LONG_S = 20


class Acting:
    """Squares numbers; of the first batch only once it is let."""

    def __init__(self) -> None:
        self.batches: list[Sequence[int]] = []
        self.began = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, wishes: Sequence[int]) -> Sequence[int]:
        self.batches.append(wishes)
        self.began.set()
        assert self.go_on.wait(LONG_S)
        if 13 in wishes:
            raise LookupError("13")
        return [wish * wish for wish in wishes]


class Queue(Together[int, int]):
    """With a signal for every thread that waits."""

    def __init__(self, acting: Acting, *, most: int = 9, patience_s: float = LONG_S) -> None:
        super().__init__(acting, most=most, patience_s=patience_s)
        self.waits = threading.Semaphore(0)

    def _wait(self, mine: Any) -> None:
        self.waits.release()
        super()._wait(mine)


def queued(queue: Queue, acting: Acting, pool: ThreadPoolExecutor, wishes: Sequence[int]) -> list[Future[int]]:
    """Let the first be under way, and the others wait behind it in their order."""
    first = pool.submit(queue.do, wishes[0])
    assert acting.began.wait(LONG_S)
    others = []
    for wish in wishes[1:]:
        others.append(pool.submit(queue.do, wish))
        assert queue.waits.acquire(timeout=LONG_S)
    return [first, *others]


def test_who_comes_alone_is_served_at_once_and_alone() -> None:
    acting = Acting()
    acting.go_on.set()
    queue = Queue(acting)
    assert [queue.do(wish) for wish in (2, 3)] == [4, 9]
    assert acting.batches == [[2], [3]]


def test_those_who_come_meanwhile_are_served_by_one_of_them_in_their_order() -> None:
    acting = Acting()
    queue = Queue(acting, most=3)
    with ThreadPoolExecutor(6) as pool:
        found = queued(queue, acting, pool, [1, 2, 3, 4, 5, 6])
        acting.go_on.set()
        assert [future.result(LONG_S) for future in found] == [1, 4, 9, 16, 25, 36]
    assert acting.batches == [[1], [2, 3, 4], [5, 6]]


def test_what_goes_wrong_is_told_to_everybody_it_befell_and_to_nobody_else() -> None:
    acting = Acting()
    queue = Queue(acting)
    with ThreadPoolExecutor(3) as pool:
        first, *others = queued(queue, acting, pool, [1, 13, 3])
        acting.go_on.set()
        assert first.result(LONG_S) == 1
        assert [str(future.exception(LONG_S)) for future in others] == ["13", "13"]
    assert queue.do(4) == 16


def test_whose_turn_does_not_come_in_time_is_not_served_later() -> None:
    acting = Acting()
    queue = Queue(acting, patience_s=0.05)
    with ThreadPoolExecutor(2) as pool:
        first, late = queued(queue, acting, pool, [1, 2])
        assert isinstance(late.exception(LONG_S), Unavailable)
        acting.go_on.set()
        assert first.result(LONG_S) == 1
    assert queue.do(3) == 9
    assert acting.batches == [[1], [3]]


def test_of_many_at_once_each_gets_its_own() -> None:
    acting = Acting()
    acting.go_on.set()
    queue = Queue(acting, most=4)
    with ThreadPoolExecutor(8) as pool:
        numbers = [number for number in range(500) if number != 13]
        assert list(pool.map(queue.do, numbers)) == [number * number for number in numbers]
    assert sorted(number for batch in acting.batches for number in batch) == numbers
