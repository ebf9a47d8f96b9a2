"""SIGKILL of every process while a video renders, is stored, or its callback is pending: all of it is made up for."""

from __future__ import annotations

import math

from gateway.demo.inbox import Inbox
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import World
from tests.e2e.processes import eventually, free_port


def test_a_rendering_video_is_completed_after_everything_was_killed(make_world: MakeWorld) -> None:
    world = make_world({"render_s": math.inf})
    gateway = world.serve()
    video = world.post("a cat that renders")
    world.await_status(video["id"], "in_progress")
    assert world.simulator.wait_for(lambda books: books.count("polls") >= 1)
    gateway.kill_tree()
    world.simulator.render()
    world.serve()
    world.assert_done_once(video["id"], "a cat that renders")
    assert world.posts("a cat that renders") == 1


def test_a_video_half_stored_is_stored_whole_after_everything_was_killed(make_world: MakeWorld) -> None:
    world = make_world({"video_bytes": 12_000_000})
    prompt = "a cat half stored sim:content-hold"
    gateway = world.serve()
    video = world.post(prompt)
    world.await_held("content")
    gateway.kill_tree()
    world.serve()
    world.assert_done_once(video["id"], prompt)
    assert world.posts(prompt) == 1


def test_a_callback_that_was_refused_comes_again_after_everything_was_killed(world: World) -> None:
    gateway = world.serve()
    world.inbox.answer_with(500)
    video = world.post("a cat that calls back")
    refused = world.await_callback(video["id"], status=500)
    gateway.kill_tree()
    world.serve()
    world.assert_done_once(video["id"], "a cat that calls back")
    repeat = world.await_callback(video["id"])
    assert repeat.webhook_id == refused.webhook_id
    assert repeat.repeat


def test_a_callback_comes_after_everything_was_killed_while_its_receiver_was_down(world: World) -> None:
    gateway = world.serve()
    port = free_port()
    video = world.post("a cat that finds nobody", callback_url=f"http://127.0.0.1:{port}/hook")
    eventually(lambda: world.deliveries(video["id"]), _tried, "tried")
    gateway.kill_tree()
    world.inbox = world.enter(Inbox(secrets=[world.webhook_secret], port=port))
    world.serve()
    world.assert_done_once(video["id"], "a cat that finds nobody")


def _tried(deliveries: list[dict[str, object]]) -> bool:
    return bool(deliveries and deliveries[0]["attempts"])
