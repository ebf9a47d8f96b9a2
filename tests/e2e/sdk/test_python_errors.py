"""Every refusal of the gateway is the class of the official SDK for Python that its users catch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.harness import World

pytestmark = [
    pytest.mark.xdist_group("sdk"),
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
]

Call = Callable[[openai.OpenAI], object]


@pytest.fixture
def refused(narrow: World) -> Iterator[openai.OpenAI]:
    """The SDK before the gateway that refuses much; it sends nothing again by itself."""
    with openai.OpenAI(base_url=f"{narrow.url}/v1", api_key="sk-python", max_retries=0) as client:
        yield client


def rest(sdk: openai.OpenAI) -> str:
    """A video that is not finished for a long time."""
    return sdk.videos.create(prompt="a cat sim:render=600").id


def reused_key(sdk: openai.OpenAI) -> object:
    key = {"Idempotency-Key": "python-reused"}
    sdk.videos.create(prompt="one cat", extra_headers=key)
    return sdk.videos.create(prompt="another cat", extra_headers=key)


CASES: dict[str, tuple[Call, type[openai.APIStatusError], int, str, str | None]] = {
    "a wrong size": (
        lambda sdk: sdk.videos.create(prompt="a cat", size="1x1"),  # type: ignore[arg-type]
        openai.BadRequestError, 400, "invalid_value", "size",
    ),
    "an unknown field": (
        lambda sdk: sdk.videos.create(prompt="a cat", extra_body={"colour": "red"}),
        openai.BadRequestError, 400, "unknown_parameter", "colour",
    ),
    "a wrong key": (
        lambda sdk: sdk.with_options(api_key="sk-wrong").videos.list(),
        openai.AuthenticationError, 401, "invalid_api_key", None,
    ),
    "a video that there is not": (
        lambda sdk: sdk.videos.retrieve("video_none"), openai.NotFoundError, 404, "not_found", "video_id",
    ),
    "a page after a video that there is not": (
        lambda sdk: sdk.videos.list(after="video_none"), openai.NotFoundError, 404, "not_found", "after",
    ),
    "the content of an unfinished video": (
        lambda sdk: sdk.videos.download_content(rest(sdk)), openai.ConflictError, 409, "not_ready", None,
    ),
    "a key that was used for another video": (
        reused_key, openai.UnprocessableEntityError, 422, "idempotency_key_reused", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_is_the_class_for_its_status_with_code_and_param(sdk: openai.OpenAI, case: str) -> None:
    call, kind, status, code, param = CASES[case]
    with pytest.raises(kind) as caught:
        call(sdk)
    error: Any = caught.value
    assert (error.status_code, error.code, error.param) == (status, code, param)
    assert error.type == "invalid_request_error"
    assert error.body["message"] in error.message
    assert error.request_id


def test_a_failed_video_has_no_content(sdk: openai.OpenAI) -> None:
    failed = sdk.videos.create_and_poll(prompt="a cat sim:fail-moderation", poll_interval_ms=200)
    with pytest.raises(openai.ConflictError) as caught:
        sdk.videos.download_content(failed.id)
    assert caught.value.code == "video_failed"


def test_a_full_queue_is_a_rate_limit_that_says_when_to_come_back(refused: openai.OpenAI) -> None:
    video = rest(refused)
    with pytest.raises(openai.RateLimitError) as caught:
        rest(refused)
    assert (caught.value.status_code, caught.value.code) == (429, "queue_full")
    assert int(caught.value.response.headers["retry-after"]) > 0
    refused.videos.delete(video)


def test_a_bucket_that_is_away_is_an_error_of_the_server_to_come_back_after(
    refused: openai.OpenAI, picture: Path
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        refused.videos.create(prompt="a cat", size="1280x720", input_reference=picture)
    assert (caught.value.status_code, caught.value.code) == (503, "unavailable")
    assert int(caught.value.response.headers["retry-after"]) > 0


def test_a_body_that_is_too_large_is_an_answer_and_no_broken_connection(refused: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        refused.videos.create(prompt="a cat", input_reference=b"x" * 200_000)
    assert (caught.value.status_code, caught.value.code) == (413, "body_too_large")
