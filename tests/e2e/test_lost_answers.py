"""Submits whose answer is lost while the gateway lives: adopted, submitted again after proof, or given up by name."""

from __future__ import annotations

from typing import Any

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import World


def test_a_lost_answer_is_settled_by_the_list_of_the_upstream(world: World) -> None:
    made, never_made = "a fox sim:submit-reset-after", "a hare sim:submit-504"
    world.serve()
    world.prove_list()
    videos = {prompt: world.post(prompt)["id"] for prompt in (made, never_made)}
    for prompt, video_id in videos.items():
        world.assert_done_once(video_id, prompt)
    assert world.posts(made) == 1
    assert _hows(world, videos[made]) == ["adopted"]
    assert world.posts(never_made) == 2
    assert "proven_absent" in world.event_names(videos[never_made])


def test_a_lost_answer_of_an_upstream_without_a_list_fails_the_video_and_is_told(make_world: MakeWorld) -> None:
    world = make_world({"dialect": "apiyi"}, GATEWAY_UPSTREAM_DIALECT="apiyi")
    prompt = "an owl sim:submit-reset-after"
    world.serve()
    video = world.post(prompt)
    failed = world.await_status(video["id"], "failed")
    assert failed["error"]["code"] == "submission_unknown"
    assert world.posts(prompt) == 1
    callback = world.await_callback(video["id"])
    assert (callback.verified, callback.type) == (True, "video.failed")
    assert callback.video["error"]["code"] == "submission_unknown"


def test_a_lost_answer_of_an_upstream_without_a_list_is_submitted_again_where_the_operator_says_so(
    make_world: MakeWorld,
) -> None:
    world = make_world({"dialect": "apiyi"}, GATEWAY_UPSTREAM_DIALECT="apiyi", GATEWAY_RESUBMIT_UNKNOWN="true")
    prompt = "an owl sim:submit-reset"
    world.serve()
    video = world.post(prompt)
    world.assert_done_once(video["id"], prompt)
    assert world.posts(prompt) == 2


def _hows(world: World, video_id: str) -> list[Any]:
    return [event["detail"]["how"] for event in world.events(video_id) if "how" in event["detail"]]
