"""The official SDK for Python remixes a video, and downloads what lies beside it."""

from __future__ import annotations

import io

import openai
import pytest
from PIL import Image

from tests.e2e.harness import World

pytestmark = [
    pytest.mark.xdist_group("sdk"),
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
]


def test_every_variant_is_downloaded(whole: World, sdk: openai.OpenAI) -> None:
    video = sdk.videos.create(prompt="a cat in pictures")
    whole.await_status(video.id, "completed")
    assert sdk.videos.download_content(video.id, variant="video").content[4:8] == b"ftyp"
    for variant in ("thumbnail", "spritesheet"):
        picture = sdk.videos.download_content(video.id, variant=variant)  # type: ignore[arg-type]
        assert Image.open(io.BytesIO(picture.content)).width > 0
        assert picture.response.headers["content-type"].startswith("image/")


def test_a_finished_video_is_remixed_and_an_unfinished_one_is_a_conflict(whole: World, sdk: openai.OpenAI) -> None:
    source = sdk.videos.create(prompt="a cat to remix")
    whole.await_status(source.id, "completed")
    remix = sdk.videos.remix(source.id, prompt="the cat, remixed")
    assert (remix.status, remix.remixed_from_video_id) == ("queued", source.id)
    assert (remix.model, remix.size, remix.seconds) == (source.model, source.size, source.seconds)
    assert whole.await_status(remix.id, "completed")["remixed_from_video_id"] == source.id
    unfinished = sdk.videos.create(prompt="a cat sim:render=600")
    with pytest.raises(openai.ConflictError) as caught:
        sdk.videos.remix(unfinished.id, prompt="too early")
    assert caught.value.code == "not_ready"
    with pytest.raises(openai.NotFoundError):
        sdk.videos.remix("video_none", prompt="of nothing")
