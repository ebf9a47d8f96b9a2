"""Wake-ups: who made something due need not wait for the metronome, and nobody spins."""

from __future__ import annotations

import threading

from gateway.worker.wakes import APART_S, Wakes
from tests.worker_world import Time

SOON_S = 5.0


def made() -> tuple[Wakes, Time]:
    time = Time()
    return Wakes(clock=time), time


def now_wanted(wakes: Wakes) -> list[str]:
    """Who would be asked at this instant; the sentinel sees to it that nobody has to be waited for."""
    wakes.beat(["sentinel"])
    return sorted(name for name in wakes.wait() or () if name != "sentinel")


def test_who_is_woken_is_asked_at_once_and_only_once() -> None:
    wakes, _ = made()
    wakes.wake("deliver", "submit")
    wakes.wake("deliver")
    assert now_wanted(wakes) == ["deliver", "submit"]
    assert now_wanted(wakes) == []


def test_what_comes_due_singly_is_asked_for_together() -> None:
    wakes, time = made()
    wakes.wake("deliver")
    assert now_wanted(wakes) == ["deliver"]
    wakes.wake("deliver")
    wakes.wake("deliver")
    assert now_wanted(wakes) == []
    time.on(APART_S)
    assert now_wanted(wakes) == ["deliver"]
    assert now_wanted(wakes) == []


def test_the_metronome_does_not_wait_for_that() -> None:
    wakes, _ = made()
    wakes.wake("poll")
    assert now_wanted(wakes) == ["poll"]
    wakes.beat(["poll", "submit"])
    assert now_wanted(wakes) == ["poll", "submit"]


def test_a_full_pool_is_asked_again_once_a_quarter_of_it_is_free() -> None:
    wakes, _ = made()
    wakes.wake("poll")
    assert now_wanted(wakes) == ["poll"]
    wakes.begun("poll", full=True, under_way=32)
    for _ in range(7):
        wakes.freed("poll")
    assert now_wanted(wakes) == []
    wakes.freed("poll")
    assert now_wanted(wakes) == ["poll"]


def test_or_a_moment_later_where_the_rest_of_it_is_stuck() -> None:
    wakes, time = made()
    wakes.wake("poll")
    assert now_wanted(wakes) == ["poll"]
    wakes.begun("poll", full=True, under_way=32)
    wakes.freed("poll")
    assert now_wanted(wakes) == []
    time.on(APART_S)
    assert now_wanted(wakes) == ["poll"]


def test_a_step_that_had_less_than_it_might_is_left_to_the_metronome() -> None:
    wakes, time = made()
    wakes.begun("poll", full=True, under_way=4)
    wakes.begun("poll", full=False, under_way=1)
    wakes.freed("poll")
    time.on(60)
    assert now_wanted(wakes) == []


def test_whoever_waits_hears_of_a_wake_up_and_of_the_end() -> None:
    wakes = Wakes()
    heard: list[object] = []
    first = threading.Event()

    def wait() -> None:
        while (names := wakes.wait()) is not None:
            heard.append(names)
            first.set()
        heard.append(None)

    thread = threading.Thread(target=wait)
    thread.start()
    wakes.wake("deliver")
    assert first.wait(SOON_S)
    wakes.close()
    thread.join(SOON_S)
    assert heard == [["deliver"], None]


def test_after_the_end_nobody_is_asked_whatever_is_wanted() -> None:
    wakes, _ = made()
    wakes.wake("submit")
    wakes.close()
    assert wakes.wait() is None


def test_a_wake_up_during_a_tick_is_not_lost() -> None:
    wakes, time = made()
    wakes.wake("deliver")
    assert now_wanted(wakes) == ["deliver"]
    wakes.wake("deliver")  # the tick of the first is still under way
    time.on(APART_S)
    assert now_wanted(wakes) == ["deliver"]
