"""Requests that wait for a video: woken when it is final, bounded in number, and never in the way of an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from gateway.api.waiting import Waiting, wished
from gateway.jobs.errors import Unavailable

LONG_S = 20.0


class Videos:
    """What is final, and what was asked about."""

    def __init__(self) -> None:
        self.final: set[str] = set()
        self.asked: list[set[str]] = []
        self.trouble: Exception | None = None
        self.looked = threading.Semaphore(0)

    def finished(self, ids: Collection[str]) -> Collection[str]:
        self.asked.append(set(ids))
        self.looked.release()
        if self.trouble is not None:
            raise self.trouble
        return self.final & set(ids)


class Rig:
    def __init__(self, pool: ThreadPoolExecutor, places: int = 4) -> None:
        self.videos = Videos()
        self.pool = pool
        self.stop = threading.Event()
        self.waiting = Waiting(
            finished=self.videos.finished,
            places=threading.BoundedSemaphore(places),
            stopping=self.stop.is_set,
            monotonic=time.monotonic,
        )

    def hold(self, video_id: str, seconds: float = LONG_S) -> Future[bool]:
        return self.pool.submit(self.waiting.hold, video_id, seconds)

    def until_asked(self, *ids: str) -> None:
        while not self.videos.asked or not set(ids) <= self.videos.asked[-1]:
            assert self.videos.looked.acquire(timeout=LONG_S)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=10", 10), ("WAIT = 10", 10), ('wait="7"', 7), ("respond-async, wait=10", 10), ("wait=10; x=y", 10),
        ("wait=61", 60), ("wait=999999999", 60), ("wait=0", 0), ("", 0), ("wait", 0), ("wait=-1", 0), ("wait=1.5", 0),
        ("wait=ten", 0), ("await=10", 0), ("wait=1e3", 0),
    ],
)  # fmt: skip
def test_a_preference_is_read_as_the_rfc_says_and_ignored_where_it_makes_no_sense(prefer: str, seconds: int) -> None:
    assert wished(prefer) == seconds


def test_who_waits_is_woken_when_the_video_is_final_and_the_others_wait_on(pool: ThreadPoolExecutor) -> None:
    rig = Rig(pool)
    first, also, second = rig.hold("a"), rig.hold("a"), rig.hold("b")
    rig.until_asked("a", "b")
    rig.videos.final.add("a")
    assert first.result(LONG_S) is also.result(LONG_S) is True
    assert not second.done()
    rig.videos.final.add("b")
    assert second.result(LONG_S) is True


def test_all_are_asked_about_together(pool: ThreadPoolExecutor) -> None:
    rig = Rig(pool)
    held = [rig.hold(name) for name in "abcd"]
    rig.until_asked(*"abcd")
    rig.videos.final |= set("abcd")
    assert [each.result(LONG_S) for each in held] == [True] * 4
    assert len(rig.videos.asked) < 8


def test_who_finds_no_place_is_answered_at_once(pool: ThreadPoolExecutor) -> None:
    rig = Rig(pool, places=2)
    held = [rig.hold("a"), rig.hold("b")]
    rig.until_asked("a", "b")
    assert rig.waiting.hold("c", LONG_S) is False
    rig.videos.final |= {"a", "b"}
    assert [each.result(LONG_S) for each in held] == [True, True]
    assert rig.waiting.hold("a", 0.01) is True


def test_a_wait_ends_when_its_time_is_over_and_nobody_is_asked_any_more(pool: ThreadPoolExecutor) -> None:
    rig = Rig(pool)
    assert rig.waiting.hold("a", 0.05) is True
    while rig.waiting._watching:
        rig.videos.looked.acquire(timeout=0.1)
    asked = len(rig.videos.asked)
    assert rig.waiting.hold("b", 0.05) is True
    assert len(rig.videos.asked) > asked


def test_an_end_of_the_process_lets_everybody_go(pool: ThreadPoolExecutor) -> None:
    rig = Rig(pool)
    held = [rig.hold("a"), rig.hold("b")]
    rig.until_asked("a", "b")
    rig.stop.set()
    assert [each.result(LONG_S) for each in held] == [True, True]


@pytest.mark.parametrize("trouble", [Unavailable("away", code="unavailable"), ValueError("a bug")])
def test_trouble_with_asking_does_not_end_the_asking(pool: ThreadPoolExecutor, trouble: Exception) -> None:
    rig = Rig(pool)
    rig.videos.trouble = trouble
    held = rig.hold("a")
    rig.until_asked("a")
    rig.videos.trouble = None
    rig.videos.final.add("a")
    assert held.result(LONG_S) is True


def test_a_thread_that_could_not_be_begun_is_begun_for_the_next_who_waits(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(pool)

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            rig.waiting.hold("a", LONG_S)
    rig.videos.final.add("b")
    assert rig.hold("b").result(LONG_S)
    assert rig.videos.asked[0] == {"b"}
