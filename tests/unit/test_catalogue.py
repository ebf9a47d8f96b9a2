"""The catalogue: gaps are filled with defaults, and what nobody serves is refused with what is allowed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.jobs.catalogue import Catalogue, Offer
from gateway.jobs.errors import InvalidField

FIRST = Offer(
    upstream="first", upstream_model="a", sizes=("720x1280", "1280x720"), seconds=(8, 4, 12), prompt_max=32000
)
SECOND = Offer(upstream="second", upstream_model="b", sizes=("1024x1792",), seconds=(15,), prompt_max=32000)
OPEN = Offer(upstream="open", upstream_model="c", sizes=(), seconds=(), prompt_max=32000)


def choose(*offers: Offer, model: str | None = None, size: str | None = None, seconds: int | None = None) -> object:
    chosen = Catalogue(models={"sora-2": offers}).choose(model=model, size=size, seconds=seconds, now=0.0)
    return chosen.model, chosen.size, chosen.seconds, [offer.upstream for offer in chosen.offers]


def test_what_is_left_out_is_the_first_model_its_first_size_and_its_least_length() -> None:
    catalogue = Catalogue(models={"sora-2": [FIRST], "other": [SECOND]})
    chosen = catalogue.choose(model=None, size=None, seconds=None, now=0.0)
    assert (chosen.model, chosen.size, chosen.seconds) == ("sora-2", "720x1280", 4)


def test_what_is_named_is_kept_when_it_is_served() -> None:
    assert choose(FIRST, size="1280x720", seconds=12) == ("sora-2", "1280x720", 12, ["first"])


def test_every_upstream_that_can_serve_it_is_offered_in_order() -> None:
    also = replace(FIRST, upstream="also")
    assert choose(FIRST, SECOND, also) == ("sora-2", "720x1280", 4, ["first", "also"])


def test_the_gaps_are_filled_by_the_first_upstream_that_serves_what_was_named() -> None:
    assert choose(FIRST, SECOND, seconds=15) == ("sora-2", "1024x1792", 15, ["second"])
    assert choose(FIRST, SECOND, size="1024x1792") == ("sora-2", "1024x1792", 15, ["second"])


def test_an_upstream_of_which_nothing_is_known_takes_everything() -> None:
    assert choose(OPEN) == ("sora-2", "720x1280", 4, ["open"])
    assert choose(OPEN, size="99x99", seconds=99) == ("sora-2", "99x99", 99, ["open"])


def test_a_lenient_upstream_takes_what_it_does_not_list() -> None:
    assert choose(replace(FIRST, strict=False), size="99x99", seconds=5)[3] == ["first"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("asked", "param", "code", "allowed"),
    [
        ({"model": "sora-9"}, "model", "model_not_found", ["'sora-2'"]),
        ({"size": "1x1"}, "size", "invalid_value", ["'720x1280'", "'1280x720'", "'1024x1792'"]),
        ({"seconds": 5}, "seconds", "invalid_value", ["'4'", "'8'", "'12'", "'15'"]),
        ({"size": "720x1280", "seconds": 15}, "seconds", "invalid_value", ["'4'", "'8'"]),
        ({"seconds": 0}, "seconds", "invalid_value", ["'4'"]),
        ({"size": ""}, "size", "invalid_value", ["'720x1280'"]),
        ({"model": ""}, "model", "model_not_found", ["'sora-2'"]),
    ],
)
def test_a_refusal_names_the_field_and_what_is_allowed(
    asked: dict[str, object], param: str, code: str, allowed: list[str]
) -> None:
    with pytest.raises(InvalidField) as refused:
        choose(FIRST, SECOND, **asked)  # type: ignore[arg-type]
    assert (refused.value.param, refused.value.code) == (param, code)
    assert all(word in refused.value.message for word in allowed)


def test_a_refusal_repeats_no_more_than_the_start_of_what_was_sent() -> None:
    for asked in ({"model": "x" * 10_000}, {"size": "9" * 10_000}):
        with pytest.raises(InvalidField) as refused:
            choose(FIRST, **asked)  # type: ignore[arg-type]
        assert len(refused.value.message) < 300


def routes(*offers: Offer, **asked: object) -> tuple[str, ...]:
    usual: dict[str, object] = {"model": "m", "size": "720x1280", "seconds": 4, "prompt": "a cat", "extra": ()}
    return Catalogue(models={"m": offers}).routes(**(usual | asked))  # type: ignore[arg-type]


def test_the_routes_of_a_video_are_the_upstreams_that_can_make_it_in_order() -> None:
    seeded = replace(FIRST, upstream="seeded", extra=("seed",))
    assert routes(FIRST, SECOND, seeded, OPEN) == ("first", "seeded", "open")
    assert routes(FIRST, seeded, extra=["seed"]) == ("seeded",)
    assert routes(FIRST, replace(OPEN, prompt_max=3)) == ("first",)
    assert routes(FIRST, SECOND, size="1024x1792", seconds=15) == ("second",)
    assert routes(FIRST, model="unknown") == ()


def test_an_upstream_that_wants_pictures_as_large_as_the_video_is_no_route_for_another_one() -> None:
    picky = replace(FIRST, upstream="picky", image_must_match_size=True)
    assert routes(picky, FIRST, picture="640x480") == ("first",)
    assert routes(picky, FIRST, picture="720x1280") == ("picky", "first")
    # One that is yet to be fetched, and none at all.
    assert routes(picky, FIRST, picture="") == ("picky", "first")


def test_a_model_is_offered_until_its_last_day_is_over_and_then_only_by_who_has_it_longer() -> None:
    ends = replace(FIRST, available_until=100.0)
    longer = replace(FIRST, upstream="longer", available_until=200.0)
    catalogue = Catalogue(models={"sora-2": [ends, longer], "other": [OPEN]})
    offered = {now: [offer.upstream for offer in catalogue.offered("sora-2", now=now)] for now in (99.0, 100.0, 200.0)}
    assert offered == {99.0: ["first", "longer"], 100.0: ["longer"], 200.0: []}
    with pytest.raises(InvalidField) as refused:
        catalogue.choose(model="sora-2", size=None, seconds=None, now=200.0)
    assert (refused.value.param, refused.value.code) == ("model", "model_retired")
    assert "'other'" in refused.value.message
    assert catalogue.choose(model=None, size=None, seconds=None, now=200.0).model == "other"
    # What was accepted before goes on.
    assert routes(ends) == ("first",)
