"""Delays between tries: they grow to their last value, and a remote may lengthen but never shorten them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs import backoff
from gateway.jobs.backoff import delay

SCHEDULES = {name: value for name, value in vars(backoff).items() if name.endswith("_DELAYS_S")}


@pytest.mark.parametrize(("tries", "seconds"), [(0, 4), (1, 10), (2, 30), (3, 30), (1000, 30)])
def test_a_delay_is_that_of_the_try_and_stays_at_the_last(tries: int, seconds: float) -> None:
    assert delay(backoff.CONTENT_DELAYS_S, tries) == seconds


@pytest.mark.parametrize(("asked", "seconds"), [(None, 10), (0, 10), (9.5, 10), (11, 11), (10**9, 3600)])
def test_a_remote_may_lengthen_a_delay_up_to_an_hour_and_never_shorten_it(asked: float | None, seconds: float) -> None:
    assert delay(backoff.CONTENT_DELAYS_S, 1, asked_s=asked) == seconds


@given(tries=st.integers(0, 500), asked=st.none() | st.floats(0, 1e12), longest=st.floats(600, 1e5))
def test_no_delay_is_shorter_than_its_own_or_longer_than_the_longest(
    tries: int, asked: float | None, longest: float
) -> None:
    for schedule in SCHEDULES.values():
        wait = delay(schedule, tries, asked_s=asked, longest_s=longest)
        assert min(schedule) <= wait <= longest
        assert wait >= delay(schedule, max(0, tries - 1), longest_s=longest)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_grows_from_a_positive_start(name: str) -> None:
    assert list(SCHEDULES[name]) == sorted(SCHEDULES[name])
    assert SCHEDULES[name][0] > 0


def test_a_refused_key_is_probed_at_30_seconds_and_in_the_end_every_10_minutes() -> None:
    assert (delay(backoff.PROBE_DELAYS_S, 0), delay(backoff.PROBE_DELAYS_S, 99)) == (30, 600)
