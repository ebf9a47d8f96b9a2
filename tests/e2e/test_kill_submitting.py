"""SIGKILL of every process while a video is queued or being submitted: it is made once, and never paid for twice."""

from __future__ import annotations

import math
import signal

from tests.e2e.conftest import MakeWorld
from tests.e2e.door import Door
from tests.e2e.harness import World


def test_a_queued_video_is_made_once_after_everything_was_killed(make_world: MakeWorld) -> None:
    world = make_world({"render_s": math.inf}, GATEWAY_UPSTREAM_MAX_CONCURRENT="1")
    gateway = world.serve()
    first = world.post("the one that takes the only slot")
    world.await_status(first["id"], "in_progress")
    second = world.post("the one that waits")
    gateway.kill_tree()
    assert world.posts("the one that waits") == 0
    world.serve()
    assert world.video(second["id"])["status"] == "queued"
    world.simulator.render()
    world.assert_done_once(first["id"], "the one that takes the only slot")
    assert world.simulator.wait_for(lambda books: books.count("accepted") == 2)
    world.simulator.render()
    world.assert_done_once(second["id"], "the one that waits")


def test_a_video_is_made_once_when_all_was_killed_between_its_intent_and_its_post(
    make_world: MakeWorld, door: Door
) -> None:
    world = make_world()
    door.lead_to(world)
    gateway = world.serve()
    world.prove_list()
    door.shut()
    video = world.post("a cat before the post")
    door.await_caller()
    gateway.kill_tree()
    assert world.posts("a cat before the post") == 0
    door.open()
    world.serve()
    world.assert_done_once(video["id"], "a cat before the post")
    assert "proven_absent" in world.event_names(video["id"])
    assert world.posts("a cat before the post") == 1


def test_a_video_that_the_upstream_never_began_is_made_once_when_all_was_killed_during_the_post(world: World) -> None:
    prompt = "a cat in the middle sim:submit-hold"
    gateway = world.serve()
    world.prove_list()
    video = world.post(prompt)
    world.await_held("submit")
    gateway.kill_tree()
    assert world.made(prompt) == []
    world.serve()
    world.assert_done_once(video["id"], prompt)
    assert "proven_absent" in world.event_names(video["id"])
    assert world.posts(prompt) == 2


def test_a_video_that_the_upstream_makes_is_adopted_when_all_was_killed_during_the_post(world: World) -> None:
    prompt = "a dog in the middle sim:submit-hold-after"
    gateway = world.serve()
    world.prove_list()
    video = world.post(prompt)
    world.await_held("submit")
    gateway.kill_tree()
    assert len(world.made(prompt)) == 1
    world.serve()
    world.assert_done_once(video["id"], prompt)
    assert world.posts(prompt) == 1


def test_a_video_is_adopted_when_all_was_killed_before_the_answer_was_read(world: World) -> None:
    prompt = "a dog at the end sim:submit-hold-after"
    gateway = world.serve()
    world.prove_list()
    video = world.post(prompt)
    world.await_held("submit")
    # Frozen, the worker can't read the answer that is sent to it now.
    gateway.role("worker").send_signal(signal.SIGSTOP)
    world.simulator.release()
    world.await_held()
    gateway.kill_tree()
    world.serve()
    world.assert_done_once(video["id"], prompt)
    assert world.posts(prompt) == 1
