"""Upstream keys that are left alone for a moment."""

from __future__ import annotations

import pytest

from gateway.worker.rests import Rests


def rested(rests: Rests, *, now: float, asked_s: float | None = None) -> float:
    """Turn a submit away; for how long the key then rests."""
    rests.turned_away("main", "one", asked_s=asked_s, now=now)
    for seconds in range(100):
        if not rests.resting("main", "one", now=now + seconds):
            return seconds
    raise AssertionError("it rests for ever")


def test_a_key_that_was_never_turned_away_does_not_rest() -> None:
    assert not Rests().resting("main", "one", now=0.0)


def test_a_key_rests_longer_each_time_it_is_turned_away_in_a_row() -> None:
    rests = Rests()
    assert [rested(rests, now=1000.0 * turn) for turn in range(6)] == [2, 5, 10, 20, 30, 30]


def test_an_accepted_submit_lets_the_count_begin_again() -> None:
    rests = Rests()
    rested(rests, now=0)
    rests.answered("main", "one")
    assert rested(rests, now=1000) == 2


@pytest.mark.parametrize(("asked_s", "rests_s"), [(1, 2), (45, 45), (3600, 60)])
def test_a_key_rests_as_long_as_its_upstream_asks_up_to_a_minute(asked_s: float, rests_s: float) -> None:
    assert rested(Rests(), now=0, asked_s=asked_s) == rests_s


def test_a_late_refusal_never_shortens_a_rest() -> None:
    rests = Rests()
    rests.until("main", "one", 50)
    rests.until("main", "one", 10)
    assert rests.resting("main", "one", now=49)


def test_other_keys_do_not_rest() -> None:
    rests = Rests()
    rested(rests, now=0)
    assert not rests.resting("main", "two", now=0)
