"""Paces: a 429 narrows what a key is asked for, over all workers together; time without another widens it again."""

from __future__ import annotations

from gateway.worker.paces import Paces
from tests.contracts.world import NOW, World


def per_minute(paces: Paces, *, configured: int = 0, at: float = NOW) -> int:
    return paces.per_minute("main", "one", configured=configured, now=at)


def turn_away(paces: Paces, *, configured: int = 0, at: float = NOW, retry_after_s: float | None = None) -> None:
    paces.turned_away("main", "one", configured=configured, retry_after_s=retry_after_s, now=at)


def test_a_pace_is_what_the_settings_say_until_somebody_is_turned_away(world: World) -> None:
    paces = Paces(world.lanes)
    assert (per_minute(paces), per_minute(paces, configured=60)) == (0, 60)


def test_a_429_halves_it_and_each_minute_without_another_doubles_it_up_to_the_limit(world: World) -> None:
    paces = Paces(world.lanes)
    turn_away(paces, configured=60)
    assert per_minute(paces, configured=60) == 30
    assert per_minute(paces, configured=60, at=NOW + 30) == 42
    assert per_minute(paces, configured=60, at=NOW + 61) == 60
    turn_away(paces, configured=60, at=NOW + 30)
    assert per_minute(paces, configured=60, at=NOW + 30) == 21


def test_several_429s_at_once_are_one(world: World) -> None:
    paces = Paces(world.lanes)
    for _ in range(5):
        turn_away(paces, configured=600)
    assert per_minute(paces, configured=600) == 300


def test_where_no_limit_is_set_it_is_half_of_what_was_asked_in_the_last_minute_and_forgotten_in_the_end(
    world: World,
) -> None:
    paces = Paces(world.lanes)
    for second in range(100):
        paces.asked("main", "one", 2, now=NOW + second)
    turn_away(paces, at=NOW + 100)
    assert 55 <= per_minute(paces, at=NOW + 100) <= 65
    assert per_minute(paces, at=NOW + 160) >= 110
    assert per_minute(paces, at=NOW + 701) == 0


def test_one_429_does_not_slow_down_who_asked_for_little_and_another_narrows_it_further(world: World) -> None:
    paces = Paces(world.lanes)
    paces.asked("main", "one", 3, now=NOW)
    turn_away(paces)
    assert per_minute(paces) == 60
    turn_away(paces, at=NOW + 6)
    assert 30 <= per_minute(paces, at=NOW + 6) <= 32


def test_it_is_never_narrowed_below_one_in_ten_seconds(world: World) -> None:
    paces = Paces(world.lanes)
    for again in range(5):
        turn_away(paces, configured=10, at=NOW + 6 * again)
    assert per_minute(paces, configured=10, at=NOW + 24) == 6


def test_every_worker_keeps_to_it(world: World) -> None:
    mine, theirs = Paces(world.lanes), Paces(world.lanes)
    assert per_minute(theirs, configured=60) == 60
    turn_away(mine, configured=60)
    assert per_minute(theirs, configured=60, at=NOW + 2.5) == 30


def test_a_key_is_left_alone_for_as_long_as_the_upstream_asked(world: World) -> None:
    turn_away(Paces(world.lanes), configured=60, retry_after_s=20.0)

    def take(at: float) -> int:
        return world.lanes.take_requests("main", "one", wanted=1, per_minute=30, now=at)

    assert [take(NOW + 1), take(NOW + 19), take(NOW + 20.5)] == [0, 0, 1]


def test_another_key_is_not_narrowed(world: World) -> None:
    paces = Paces(world.lanes)
    turn_away(paces, configured=60)
    assert paces.per_minute("main", "two", configured=60, now=NOW) == 60
