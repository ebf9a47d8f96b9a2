"""`gateway api` and `gateway worker` apart, over PostgreSQL, and a worker that takes over what a killed one held."""

from __future__ import annotations

import re
import time

import requests

from gateway.demo.inbox import Reply
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import World
from tests.e2e.processes import eventually

CALLBACK, STORING = "a cat that calls", "a cat to store sim:content-hold"
RENDERING, SUBMITTING, QUEUED = "a slow cat sim:render=600", "a lost cat sim:submit-hold-after", "a waiting cat"


def test_a_second_worker_takes_over_within_15_s_what_a_killed_one_held_at_every_stage(
    make_world: MakeWorld, on_postgres: dict[str, str]
) -> None:
    world = make_world(GATEWAY_UPSTREAM_MAX_CONCURRENT="2", **on_postgres)
    worker, _ = world.start_apart()
    videos = _one_at_each_stage(world)
    world.start("worker")
    eventually(world.logs, lambda said: said.count("is at work") == 2, "both at work")
    worker.kill()
    killed_at = time.monotonic()
    # The download and the callback were in the dead worker's hands, under leases of a minute and of 20 s.
    assert world.simulator.wait_for(lambda books: books.count("contents") >= 3, timeout_s=60)
    assert world.inbox.wait_for(lambda callbacks: len(callbacks) >= 2, timeout_s=60)
    assert time.monotonic() - killed_at < 15
    world.await_status(videos[SUBMITTING], "completed")
    world.simulator.render()
    for prompt, video_id in videos.items():
        world.assert_done_once(video_id, prompt)
        assert world.posts(prompt) == 1


def test_an_api_does_not_share_a_port_that_another_one_listens_on(make_world: MakeWorld) -> None:
    world = make_world()
    world.serve()
    second = world.run("api")
    assert second.returncode == 1
    assert second.stderr.startswith("gateway: cannot listen on 127.0.0.1 port ")


def test_an_api_alone_says_on_which_port_of_the_systems_choice_it_listens(make_world: MakeWorld) -> None:
    world = make_world(GATEWAY_BIND="127.0.0.1:0")
    world.start("api")
    listens = re.compile(r"The API listens on (127\.0\.0\.1:[1-9][0-9]*)\.")
    (address,) = eventually(lambda: set(listens.findall(world.logs())), bool, "listening")
    eventually(lambda: _healthy(f"http://{address}/healthz"), bool, "healthy")


def _healthy(url: str) -> bool:
    try:
        return requests.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False


def _one_at_each_stage(world: World) -> dict[str, str]:
    """Post videos that a worker holds on to: two of them take both slots, so the last one waits."""
    world.inbox.answer_with(Reply(after_s=120))
    videos = {CALLBACK: world.post(CALLBACK)["id"]}
    assert world.inbox.wait_for(lambda callbacks: len(callbacks) == 1, timeout_s=60)
    videos[STORING] = world.post(STORING)["id"]
    world.await_held("content")
    videos[RENDERING] = world.post(RENDERING)["id"]
    world.await_status(videos[RENDERING], "in_progress")
    videos[SUBMITTING] = world.post(SUBMITTING)["id"]
    world.await_held("content", "submit")
    videos[QUEUED] = world.post(QUEUED)["id"]
    return videos
