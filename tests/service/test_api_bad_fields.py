"""Every field wrong in turn: 400 with the field and what is allowed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.jobs.catalogue import Catalogue
from tests.api_world import OFFER, World, make_world, picture
from tests.service.refused import error


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_world(tmp_path_factory.mktemp("world"))
    yield made
    made.database.close()


LONG = "x" * 5000


@pytest.mark.parametrize(
    ("field", "value", "code", "said"),
    [
        ("prompt", None, "invalid_type", "text"),
        ("prompt", "", "invalid_value", "1 to 32,000"),
        ("prompt", " \n\t", "invalid_value", "white space"),
        ("prompt", "x" * 32_001, "invalid_value", "32,000"),
        ("prompt", 7, "invalid_type", "text"),
        ("prompt", ["x"], "invalid_type", "text"),
        ("prompt", "a\0b", "invalid_value", "NUL"),
        ("prompt", "a\ud800b", "invalid_value", "surrogate"),
        ("model", "sora-9", "model_not_found", "'sora-2'"),
        ("model", 2, "invalid_type", "model"),
        ("model", "", "invalid_value", "model"),
        ("model", "x" * 201, "invalid_value", "model"),
        ("size", "640x480", "invalid_value", "'720x1280', '1280x720'"),
        ("size", "", "invalid_value", "1280x720"),
        ("size", 720, "invalid_type", "1280x720"),
        ("size", "1280x720\n", "invalid_value", "1280x720"),
        ("seconds", 5, "invalid_value", "'4', '8', '12'"),
        ("seconds", "4.5", "invalid_type", "whole number"),
        ("seconds", 4.5, "invalid_type", "whole number"),
        ("seconds", 4.0, "invalid_type", "whole number"),
        ("seconds", True, "invalid_type", "whole number"),
        ("seconds", "four", "invalid_type", "whole number"),
        ("seconds", "", "invalid_type", "whole number"),
        ("seconds", 0, "invalid_type", "whole number"),
        ("seconds", -4, "invalid_type", "whole number"),
        ("seconds", "٤", "invalid_type", "whole number"),
        ("seconds", 10**400, "invalid_type", "whole number"),
        ("seconds", [4], "invalid_type", "whole number"),
        ("input_reference", "https://example.com/p.png", "invalid_type", "image_url"),
        ("input_reference", {}, "invalid_type", "image_url"),
        ("input_reference", {"file_id": "file_1"}, "invalid_type", "image_url"),
        ("input_reference", {"image_url": "https://example.com/", "x": "y"}, "invalid_type", "image_url"),
        ("input_reference", {"image_url": 7}, "invalid_type", "image_url"),
        ("input_reference", {"image_url": "ftp://example.com/p.png"}, "invalid_value", "http"),
        ("input_reference", {"image_url": "data:image/png;base64"}, "invalid_image", "PNG, JPEG or WebP"),
        ("input_reference", {"image_url": "data:image/png;base64,%%%"}, "invalid_image", "base64"),
        ("input_reference", {"image_url": "data:image/png;base64,aGVsbG8="}, "invalid_image", "PNG, JPEG or WebP"),
        ("callback_url", "", "invalid_value", "http"),
        ("callback_url", "example.com/hook", "invalid_value", "http"),
        ("callback_url", "ftp://example.com/", "invalid_value", "http"),
        ("callback_url", "https://", "invalid_value", "http"),
        ("callback_url", "https://exa mple.com/", "invalid_value", "http"),
        ("callback_url", "https://example.com:99999/", "invalid_value", "http"),
        ("callback_url", "https://[::1/", "invalid_value", "http"),
        ("callback_url", "https://example.com/" + LONG, "invalid_value", "2048"),
        ("callback_url", 7, "invalid_type", "http"),
        ("callback_events", ["video.completed"], "invalid_value", "callback_url"),
        ("callback_events", [], "invalid_value", "at least one"),
        ("callback_events", ["video.done"], "invalid_value", "video.completed"),
        ("callback_events", ["video.failed", "video.failed"], "invalid_value", "once"),
        ("callback_events", "video.failed", "invalid_type", "list"),
        ("callback_events", [7], "invalid_type", "list"),
        ("metadata", "x", "invalid_type", "16 pairs"),
        ("metadata", {"a": 1}, "invalid_type", "16 pairs"),
        ("metadata", {"a": None}, "invalid_type", "16 pairs"),
        ("metadata", {f"k{n}": "v" for n in range(17)}, "invalid_value", "16 pairs"),
        ("metadata", {"k" * 65: "v"}, "invalid_value", "64"),
        ("metadata", {"": "v"}, "invalid_value", "64"),
        ("metadata", {"k": "v" * 513}, "invalid_value", "512"),
        ("metadata", {"k\0": "v"}, "invalid_value", "NUL"),
        ("metadata", {"k": "\udfff"}, "invalid_value", "surrogate"),
        ("extra", {"fps": 24}, "unknown_parameter", "negative_prompt, seed"),
        ("extra", {"seed": 1, "fps": 24}, "unknown_parameter", "'fps'"),
        ("extra", "x", "invalid_type", "object"),
        ("extra", [1], "invalid_type", "object"),
        ("extra", {"seed": "\0"}, "invalid_value", "NUL"),
        ("extra", {"seed": LONG * 4}, "invalid_value", "16,384"),
        ("n", 2, "unknown_parameter", "prompt"),
        ("webhook", "https://example.com", "unknown_parameter", "callback_url"),
    ],
)
def test_a_wrong_field_is_400_and_the_answer_says_what_is_allowed(
    world: World, field: str, value: object, code: str, said: str
) -> None:
    answer = world.post(**{field: value})
    found = error(answer)
    assert answer.status_code == 400, found
    assert (found["type"], found["code"]) == ("invalid_request_error", code), found
    assert found["param"].split(".")[0] == field
    assert said in found["message"], found["message"]


def test_nothing_of_a_refused_post_is_kept(world: World) -> None:
    before = world.jobs_written()
    world.post(seconds=5)
    world.post(size="1x1", input_reference={"image_url": "data:;base64," + base64.b64encode(picture()).decode()})
    assert world.jobs_written() == before
    assert world.bucket.objects == {}


def test_a_missing_prompt_is_named(world: World) -> None:
    answer = world.http.post("/v1/videos", json={"model": "sora-2"}, headers=world.key("alice"))
    found = error(answer)
    assert (answer.status_code, found["param"], found["code"]) == (400, "prompt", "missing_required_parameter")


@pytest.mark.parametrize(
    "field", ["model", "size", "seconds", "input_reference", "callback_url", "callback_events", "metadata", "extra"]
)
def test_null_is_the_same_as_left_out(world: World, field: str) -> None:
    assert world.post(**{field: None}).status_code == 202


def test_the_prompt_may_be_as_long_as_one_upstream_takes_it(tmp_path: Path) -> None:
    offers = [replace(OFFER, prompt_max=10), replace(OFFER, upstream="two", prompt_max=20)]
    world = make_world(tmp_path, catalogue=Catalogue(models={"sora-2": offers}))
    refused = world.post(prompt="x" * 21)
    assert world.post(prompt="x" * 20).status_code == 202
    assert (refused.status_code, error(refused)["param"]) == (400, "prompt")
    assert "at most 20" in error(refused)["message"]
    world.database.close()


def test_a_gateway_without_models_refuses_every_post(tmp_path: Path) -> None:
    world = make_world(tmp_path, catalogue=Catalogue(models={}))
    assert (world.post().status_code, error(world.post())["code"]) == (400, "model_not_found")
    world.database.close()


def test_a_callback_without_a_secret_to_sign_with_is_refused(world: World) -> None:
    world.secretless.add("carol")
    answer = world.post("carol", callback_url="https://example.com/hook")
    assert (answer.status_code, error(answer)["param"]) == (400, "callback_url")
    assert "secret" in error(answer)["message"]
    assert world.post("carol").status_code == 202


def test_a_callback_that_the_guard_refuses_is_refused(world: World) -> None:
    world.refusals["http://10.0.0.1/hook"] = "must be a public address"
    answer = world.post(callback_url="http://10.0.0.1/hook")
    assert (answer.status_code, error(answer)["param"]) == (400, "callback_url")
    assert "must be a public address" in error(answer)["message"]


def test_error_answers_never_repeat_a_long_value(world: World) -> None:
    for fields in (
        {LONG: "x"},
        {"model": "m" * 190},
        {"size": LONG},
        {"extra": {LONG: 1}},
        {"callback_events": [LONG]},
    ):
        assert len(json.dumps(error(world.post(**fields)))) < 1000
