from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.outbound.target_url import BadUrl, read_url
from gateway.webhooks.schedule import held_until, next_attempt
from gateway.webhooks.targets import UNREADABLE, receiver_of

DEFAULT = (5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)


def test_schedule_gives_each_delay_once_and_is_then_used_up() -> None:
    delays = [next_attempt(DEFAULT, made, now=1000, jitter=0) for made in range(1, 11)]
    assert delays == [1000 + delay for delay in DEFAULT]
    assert next_attempt(DEFAULT, 11, now=1000, jitter=0) is None


@given(st.lists(st.floats(0, 1), min_size=10, max_size=10))
def test_default_schedule_lasts_longer_than_three_days_whatever_the_dice_say(dice: list[float]) -> None:
    at: float | None = 0.0
    for made, jitter in enumerate(dice, 1):
        assert at is not None
        at = next_attempt(DEFAULT, made, now=at, jitter=jitter)
    assert at is not None
    assert at > 72 * 3600


@given(st.integers(1, 10), st.floats(0, 1))
def test_jitter_lengthens_a_delay_by_a_fifth_at_most(made: int, jitter: float) -> None:
    at = next_attempt(DEFAULT, made, now=0, jitter=jitter)
    assert at is not None
    assert DEFAULT[made - 1] - 1e-6 <= at <= 1.2 * DEFAULT[made - 1] + 1e-6


@given(st.integers(1, 10), st.floats(0, 1e9), st.floats(0, 1))
def test_retry_after_never_shortens_and_is_heeded_up_to_a_day(made: int, asked: float, jitter: float) -> None:
    own = next_attempt(DEFAULT, made, now=0, jitter=jitter)
    at = next_attempt(DEFAULT, made, now=0, jitter=jitter, retry_after_s=asked)
    assert own is not None
    assert at == max(own, min(asked, 86400))


def test_an_empty_schedule_tries_once() -> None:
    assert next_attempt((), 1, now=0, jitter=0) is None


@pytest.mark.parametrize(
    ("failures", "held_s"), [(10, 60), (11, 120), (12, 240), (15, 1920), (16, 3600), (10_000, 3600)]
)
def test_breaker_holds_longer_with_each_failure_up_to_an_hour(failures: int, held_s: float) -> None:
    assert held_until(failures, now=5000) == 5000 + held_s


@pytest.mark.parametrize("failures", range(10))
def test_breaker_is_closed_before_the_tenth_failure_in_a_row(failures: int) -> None:
    assert held_until(failures, now=5000) is None


@pytest.mark.parametrize(
    ("url", "receiver"),
    [
        ("https://Hooks.Example.com/a?b", "https://hooks.example.com:443"),
        ("http://hooks.example.com./a", "http://hooks.example.com:80"),
        ("http://hooks.example.com:8080", "http://hooks.example.com:8080"),
        ("http://[2606:4700:0::1111]/", "http://[2606:4700::1111]:80"),
        ("http://münchen.example/", "http://xn--mnchen-3ya.example:80"),
    ],
)
def test_receiver_is_scheme_host_and_port(url: str, receiver: str) -> None:
    assert str(receiver_of(url)) == receiver


@given(st.text())
def test_receiver_is_found_for_any_text(text: str) -> None:
    assert receiver_of(text) == UNREADABLE or read_url(text)


@given(st.text(alphabet="htp:/@[]%.0x1a\\#?", max_size=30))
def test_a_url_is_read_or_refused_and_nothing_else(text: str) -> None:
    url = "http://" + text
    if receiver_of(url) == UNREADABLE:
        with pytest.raises(BadUrl, match=r"^must "):
            read_url(url)
        return
    target = read_url(url)
    assert target.host
    assert 1 <= target.port <= 65535
