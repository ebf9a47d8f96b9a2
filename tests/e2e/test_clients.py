"""Real clients against a whole gateway: curl as the reference client uses it, and the official OpenAI SDK."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from gateway.demo import mp4
from gateway.demo.simulator import Simulator
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import World
from tests.e2e.processes import LONG_S, eventually, free_port

# The SDK warns that OpenAI's own service ends: what it speaks lives on.
spoken_by_the_sdk = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")

PROMPT = "参考配图，使得动物们活跃起来"  # noqa: RUF001 - the reference client's own


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(path)
    return path


@pytest.fixture
def sdk(world: World) -> Iterator[openai.OpenAI]:
    world.serve()
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key=world.api_key) as client:
        yield client


def curl(*arguments: str) -> bytes:
    return subprocess.run(["curl", "-sS", *arguments], capture_output=True, timeout=LONG_S, check=True).stdout


def test_curl_as_the_reference_client_uses_it_gets_a_video_that_plays(make_world: MakeWorld, picture: Path) -> None:
    world = make_world({"dialect": "apiyi"}, GATEWAY_UPSTREAM_DIALECT="apiyi")
    world.serve()
    videos, key = f"{world.url}/v1/videos", ("-H", f"Authorization: {world.api_key}")
    form = (f"prompt={PROMPT}", "model=sora-2", "size=1280x720", "seconds=10", f"input_reference=@{picture}")
    posted = json.loads(curl("-X", "POST", videos, *key, *(part for field in form for part in ("-F", field))))
    assert posted["status"] == "queued"
    one = f"{videos}/{posted['id']}"

    def status() -> Any:
        return json.loads(curl("-X", "GET", one, *key))["status"]

    eventually(status, lambda word: word == "completed", "completed")
    film = picture.with_name("video.mp4")
    curl("-X", "GET", f"{one}/content", *key, "-L", "-o", str(film))
    seen = mp4.probe(film)
    assert (seen.width, seen.height, round(seen.duration)) == (1280, 720, 10)
    made = world.made(PROMPT)
    assert [(video.size, video.seconds, bool(video.picture)) for video in made] == [("1280x720", 10, True)]
    content = world.simulator.content_of(made[0].id)
    assert content is not None
    assert hashlib.sha256(film.read_bytes()).hexdigest() == content.sha256()


def test_a_post_is_answered_while_the_upstream_is_down_and_the_video_made_when_it_is_back(
    make_world: MakeWorld,
) -> None:
    world = make_world({"port": free_port()})
    world.serve()
    world.simulator.stop()
    video = world.post("a patient cat")
    eventually(lambda: world.event_names(video["id"]), lambda names: "not_accepted" in names, "tried")
    assert world.video(video["id"])["status"] == "queued"
    world.simulator = world.enter(Simulator(world.simulator.settings))
    world.assert_done_once(video["id"], "a patient cat")


@spoken_by_the_sdk
def test_the_official_sdk_makes_a_video_from_a_picture_and_verifies_its_callback(
    world: World, sdk: openai.OpenAI, picture: Path
) -> None:
    with picture.open("rb") as file:
        video = sdk.videos.create(
            model="sora-2",
            prompt="a cat by the sdk",
            size="1280x720",
            seconds="4",
            input_reference=file,
            extra_body={"callback_url": world.inbox.url, "metadata": {"order": "4711"}},
        )
    assert (video.status, video.model, video.seconds) == ("queued", "sora-2", "4")
    world.assert_done_once(video.id, "a cat by the sdk")
    assert sdk.videos.retrieve(video.id).status == "completed"
    assert world.made("a cat by the sdk")[0].picture
    callback = world.await_callback(video.id)
    event = sdk.webhooks.unwrap(callback.body, callback.headers, secret=world.webhook_secret)
    assert event.type == "video.completed"
    assert event.data.id == video.id
    with pytest.raises(openai.InvalidWebhookSignatureError):
        sdk.webhooks.unwrap(callback.body + b" ", callback.headers, secret=world.webhook_secret)


@spoken_by_the_sdk
def test_the_official_sdk_polls_lists_downloads_and_deletes(world: World, sdk: openai.OpenAI) -> None:
    video = sdk.videos.create_and_poll(prompt="a cat to be polled", seconds="4", poll_interval_ms=200)
    assert (video.status, video.progress) == ("completed", 100)
    other = sdk.videos.create(prompt="a cat to be listed")
    listed = list(sdk.videos.list(limit=1, order="asc"))
    assert [each.id for each in listed] == [video.id, other.id]
    film = io.BytesIO(sdk.videos.download_content(video.id).content)
    content = world.simulator.content_of(world.made("a cat to be polled")[0].id)
    assert content is not None
    assert hashlib.sha256(film.getvalue()).hexdigest() == content.sha256()
    assert sdk.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(video.id)
