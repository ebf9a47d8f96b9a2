"""Remixes and the pictures beside a video, through real processes, a real bucket and a kill at the worst moment."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import World
from tests.e2e.processes import LONG_S

KINDS = {"thumbnail": ("image/webp", "WEBP"), "spritesheet": ("image/jpeg", "JPEG")}


def remix(world: World, source: str, prompt: str) -> dict[str, Any]:
    """Post a remix that must be accepted."""
    body = {"prompt": prompt, "callback_url": world.inbox.url}
    answer = world.http.post(f"{world.url}/v1/videos/{source}/remix", json=body, timeout=LONG_S)
    assert answer.status_code == 202, answer.text
    video: dict[str, Any] = answer.json()
    return video


def test_a_finished_video_is_remixed_and_the_new_one_is_stored_and_told_of(world: World) -> None:
    world.serve()
    source = world.prove_list()
    prompt = "the same boat at night"
    done = world.assert_done_once(remix(world, source["id"], prompt)["id"], prompt)
    kept = ("model", "size", "seconds")
    assert done["remixed_from_video_id"] == source["id"]
    assert [done[name] for name in kept] == [source[name] for name in kept]
    assert world.made(prompt)[0].remixed_from == world.made(source["prompt"])[0].id
    assert done["content"]["sha256"] != source["content"]["sha256"]


def test_a_remix_is_paid_for_once_when_all_was_killed_before_its_answer(world: World) -> None:
    gateway = world.serve()
    source = world.prove_list()
    prompt = "the same boat at dawn sim:submit-hold-after"
    video = remix(world, source["id"], prompt)
    world.await_held("submit")
    gateway.kill_tree()
    world.serve()
    done = world.assert_done_once(video["id"], prompt)
    assert done["remixed_from_video_id"] == source["id"]
    assert world.posts(prompt) == 1


@pytest.mark.parametrize("mode", ["redirect", "stream"])
def test_the_pictures_beside_a_video_are_served_as_what_they_are(make_world: MakeWorld, mode: str) -> None:
    world = make_world(GATEWAY_CONTENT=mode)
    world.serve()
    video = world.prove_list()
    for variant, (kind, name) in KINDS.items():
        url = f"{world.url}/v1/videos/{video['id']}/content?variant={variant}"
        answer = world.http.get(url, timeout=LONG_S)
        assert [step.status_code for step in (*answer.history, answer)] == ([302, 200] if mode == "redirect" else [200])
        assert answer.headers["Content-Type"] == kind
        assert f"{video['id']}-{variant}." in answer.headers["Content-Disposition"]
        with Image.open(io.BytesIO(answer.content)) as picture:
            picture.load()
            assert picture.format == name
    world.http.delete(f"{world.url}/v1/videos/{video['id']}", timeout=LONG_S)
    gone = world.http.get(f"{world.url}/v1/videos/{video['id']}/content?variant=thumbnail", timeout=LONG_S)
    assert gone.status_code == 404
