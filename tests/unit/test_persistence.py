"""Writes of what the outside world did already, over moments without a database."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from gateway.jobs.errors import StaleJob, Unavailable
from gateway.observability.metrics import Metrics
from gateway.worker.persistence import Persistence
from gateway.worker.wakes import Wakes


class Nowhere:
    """A recorder that nobody asks."""

    def record(self, transition: Any) -> Any:
        raise StaleJob("video_1")


def persistence(*, stopping: bool = False, tries: int = 3) -> Persistence:
    event = threading.Event()
    if stopping:
        event.set()
    return Persistence(
        recorder=Nowhere(),  # type: ignore[arg-type]
        stopping=event,
        metrics=Metrics(),
        wakes=Wakes(),
        delays_s=[0.0] * tries,
    )


class Away:
    """A write that fails so often before it works."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.tried = 0

    def __call__(self) -> str:
        self.tried += 1
        if self.left:
            self.left -= 1
            raise Unavailable("away", code="unavailable")
        return "written"


def test_a_write_is_repeated_while_the_database_is_away() -> None:
    write = Away(3)
    assert persistence().write(write) == "written"
    assert write.tried == 4


def test_a_write_is_given_up_after_the_last_delay() -> None:
    write = Away(100)
    with pytest.raises(Unavailable):
        persistence().write(write)
    assert write.tried == 4


def test_a_process_that_stops_tries_once_more_only() -> None:
    write = Away(100)
    with pytest.raises(Unavailable):
        persistence(stopping=True).write(write)
    assert write.tried == 2


def test_what_is_wrong_with_the_write_itself_is_not_repeated() -> None:
    tried: list[int] = []

    def wrong() -> None:
        tried.append(1)
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        persistence().write(wrong)
    assert len(tried) == 1
