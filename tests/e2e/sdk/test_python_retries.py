"""What the official SDK for Python sends again by itself, because an answer was lost, makes no second video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.e2e.harness import World
from tests.e2e.sdk.relay import LOSE
from tests.servers import RawServer

pytestmark = [
    pytest.mark.xdist_group("sdk"),
    pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning"),
]


@pytest.fixture
def far(whole: World, relay: RawServer) -> Iterator[openai.OpenAI]:
    """The SDK behind a relay that loses answers."""
    with openai.OpenAI(base_url=f"{relay.url}/v1", api_key=whole.api_key) as client:
        yield client


def posts(relay: RawServer) -> int:
    """How many POSTs have come since this was asked last."""
    return sum(relay.request().method == "POST" for _ in range(relay.requests.qsize()))


@pytest.mark.parametrize("lost", [1, 2])
def test_a_lost_answer_to_a_post_makes_one_video(
    whole: World, far: openai.OpenAI, relay: RawServer, picture: Path, lost: int
) -> None:
    prompt = f"a cat whose answers are lost {lost} times"
    posts(relay)
    with picture.open("rb") as file:
        video = far.videos.create(prompt=prompt, size="1280x720", input_reference=file, extra_headers={LOSE: str(lost)})
    assert posts(relay) == lost + 1
    assert [each.id for each in far.videos.list() if each.prompt == prompt] == [video.id]
    whole.await_status(video.id, "completed")
    assert [bool(made.picture) for made in whole.made(prompt)] == [True]


def test_two_equal_posts_whose_answers_are_lost_make_two_videos(whole: World, far: openai.OpenAI) -> None:
    prompt = "a cat that is wished for twice"
    ids = {far.videos.create(prompt=prompt, extra_headers={LOSE: "1"}).id for _ in range(2)}
    assert len(ids) == 2
    for video_id in ids:
        whole.await_status(video_id, "completed")
    assert len(whole.made(prompt)) == 2
