"""The official SDK for Python makes, watches, lists, fetches and deletes videos."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.harness import World
from tests.servers import RawServer, answering

pytestmark = [
    pytest.mark.xdist_group("sdk"),
    # The SDK warns that OpenAI's own service ends: what it speaks lives on.
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
]


def film_hash(world: World, prompt: str) -> str:
    """The hash of the film that the upstream made of a prompt, once."""
    (made,) = world.made(prompt)
    film = world.simulator.content_of(made.id)
    assert film is not None
    return film.sha256()


def test_a_picture_that_is_uploaded_becomes_a_video(whole: World, sdk: openai.OpenAI, picture: Path) -> None:
    prompt = "a cat from a file"
    with picture.open("rb") as file:
        video = sdk.videos.create(
            model="sora-2",
            prompt=prompt,
            size="1280x720",
            seconds="4",
            input_reference=file,
            extra_body={"callback_url": whole.inbox.url, "metadata": {"order": "4711"}},
        )
    assert (video.object, video.status, video.progress) == ("video", "queued", 0)
    assert (video.model, video.size, video.seconds) == ("sora-2", "1280x720", "4")
    whole.assert_done_once(video.id, prompt)
    assert whole.made(prompt)[0].picture
    done = sdk.videos.retrieve(video.id)
    assert (done.status, done.progress, done.error, done.prompt) == ("completed", 100, None, prompt)
    assert done.completed_at is not None
    assert done.completed_at >= done.created_at
    assert (done.model_extra or {})["metadata"] == {"order": "4711"}


def test_a_picture_may_be_a_data_url(whole: World, sdk: openai.OpenAI, picture: Path) -> None:
    url = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    # In the extra body: the SDK's own parameter takes files alone, whatever its type says.
    by_url = {"input_reference": {"image_url": url}}
    video = sdk.videos.create(prompt="a cat in a URL", size="1280x720", extra_body=by_url)
    whole.await_status(video.id, "completed")
    assert whole.made("a cat in a URL")[0].picture


def test_a_picture_may_lie_elsewhere(whole: World, sdk: openai.OpenAI, picture: Path) -> None:
    with RawServer(answering(200, picture.read_bytes(), content_type="image/png")) as elsewhere:
        by_url = {"input_reference": {"image_url": f"{elsewhere.url}/image.png"}}
        video = sdk.videos.create(prompt="a cat elsewhere", size="1280x720", extra_body=by_url)
        whole.await_status(video.id, "completed")
    assert whole.made("a cat elsewhere")[0].picture


def test_what_the_gateway_adds_goes_into_the_extra_body(whole: World, sdk: openai.OpenAI) -> None:
    added: dict[str, Any] = {
        "callback_url": whole.inbox.url,
        "callback_events": ["video.completed", "video.in_progress"],
        "metadata": {"order": "4711", "配图": "動物"},
    }
    video = sdk.videos.create(prompt="a cat with extras", extra_body=added)
    shown = video.model_extra or {}
    assert {name: shown[name] for name in ("callback_url", "metadata")} == {
        name: added[name] for name in ("callback_url", "metadata")
    }
    whole.await_status(video.id, "completed")
    whole.await_callback(video.id)


def test_a_post_that_names_a_key_may_be_repeated(sdk: openai.OpenAI) -> None:
    key = {"Idempotency-Key": "order-4711"}
    first = sdk.videos.create(prompt="a cat with a key", extra_headers=key)
    again = sdk.videos.with_raw_response.create(prompt="a cat with a key", extra_headers=key)
    assert again.parse().id == first.id
    assert again.headers["Idempotent-Replayed"] == "true"


def test_create_and_poll_comes_back_with_the_finished_video_that_can_be_downloaded(
    whole: World, sdk: openai.OpenAI, tmp_path: Path
) -> None:
    video = sdk.videos.create_and_poll(prompt="a cat to wait for", seconds="4")
    assert (video.status, video.progress) == ("completed", 100)
    whole_film, streamed = tmp_path / "whole.mp4", tmp_path / "streamed.mp4"
    sdk.videos.download_content(video.id).write_to_file(whole_film)
    with sdk.videos.with_streaming_response.download_content(video.id) as answer:
        answer.stream_to_file(streamed)
    expected = film_hash(whole, "a cat to wait for")
    assert {hashlib.sha256(film.read_bytes()).hexdigest() for film in (whole_film, streamed)} == {expected}


def test_the_asynchronous_client_does_the_same(whole: World) -> None:
    async def make() -> tuple[str, bytes]:
        async with openai.AsyncOpenAI(base_url=f"{whole.url}/v1", api_key=whole.api_key) as client:
            video = await client.videos.create_and_poll(prompt="a cat in a loop", poll_interval_ms=200)
            content = await client.videos.download_content(video.id)
            return video.status, content.content

    status, film = asyncio.run(make())
    assert status == "completed"
    assert hashlib.sha256(film).hexdigest() == film_hash(whole, "a cat in a loop")


def test_create_and_poll_comes_back_with_a_failure_and_its_reason(sdk: openai.OpenAI) -> None:
    video = sdk.videos.create_and_poll(prompt="a cat sim:fail-moderation", poll_interval_ms=200)
    assert (video.status, video.completed_at) == ("failed", None)
    assert video.error is not None
    assert video.error.code == "content_policy_violation"
    assert video.error.message


def test_a_list_pages_by_itself_in_both_orders(sdk: openai.OpenAI) -> None:
    mine = {"metadata[suite]": "python-pages"}
    made = [
        sdk.videos.create(prompt=f"cat {number}", extra_body={"metadata": {"suite": "python-pages"}}).id
        for number in range(5)
    ]
    for order, expected in (("asc", made), ("desc", made[::-1])):
        page = sdk.videos.list(limit=2, order=order, extra_query=mine)
        assert ([video.id for video in page.data], page.has_more) == (expected[:2], True)
        assert [video.id for video in page] == expected
        after = sdk.videos.list(limit=2, order=order, after=expected[1], extra_query=mine)
        assert [video.id for video in after] == expected[2:]


def test_a_deleted_video_is_gone(sdk: openai.OpenAI) -> None:
    video = sdk.videos.create(prompt="a cat to delete")
    deleted = sdk.videos.delete(video.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (video.id, True, "video.deleted")
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(video.id)


def test_models_are_listed_and_looked_at(sdk: openai.OpenAI) -> None:
    models = list(sdk.models.list())
    assert "sora-2" in [model.id for model in models]
    model = sdk.models.retrieve("sora-2")
    assert (model.object, model.id) == ("model", "sora-2")
    assert "1280x720" in (model.model_extra or {})["sizes"]
