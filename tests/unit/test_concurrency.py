"""Concurrency: many threads while they are of use, fewer while they only get in each other's way."""

from __future__ import annotations

from gateway.worker.concurrency import Concurrency
from tests.worker_world import Time


class Process:
    """A process that uses a share of a core, and is asked for its bound every eighth of a second."""

    def __init__(self) -> None:
        self.time = Time()
        self.spent_s = 0.0
        self.concurrency = Concurrency(least=8, most=32, cpu_time=lambda: self.spent_s, clock=self.time)

    def lasts(self, seconds: float, *, share: float, every_s: float = 0.125) -> int:
        """Return how many may be in use after such a time."""
        for _ in range(round(seconds / every_s)):
            self.time.on(every_s)
            self.spent_s += share * every_s
            self.concurrency.room(0)
        return self.concurrency.room(0)


def test_at_rest_the_most_may_begin() -> None:
    process = Process()
    assert process.concurrency.room(0) == 32
    assert process.concurrency.room(30) == 2
    assert process.lasts(60, share=0.1) == 32


def test_it_shrinks_to_the_least_while_there_is_no_time_left() -> None:
    process = Process()
    assert process.lasts(0.125, share=1.0) == 25
    assert process.lasts(5, share=1.0) == 8
    assert process.concurrency.room(9) == 0


def test_it_grows_back_while_there_is() -> None:
    process = Process()
    process.lasts(5, share=1.0)
    assert process.lasts(0.25, share=0.5) == 18
    assert process.lasts(5, share=0.5) == 32


def test_it_grows_as_far_where_it_is_asked_seldom() -> None:
    process = Process()
    process.lasts(5, share=1.0)
    assert process.lasts(0.75, share=0.25, every_s=0.75) == 32


def test_looks_that_follow_each_other_quickly_count_as_one() -> None:
    process = Process()
    assert process.lasts(0.0625, share=1.0, every_s=0.03125) == 32
    assert process.lasts(0.0625, share=1.0, every_s=0.03125) == 25
