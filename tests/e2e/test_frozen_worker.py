"""A worker that is stopped between its intent and its POST, and goes on long after: it sends nothing twice."""

from __future__ import annotations

import signal
import time

from tests.e2e.conftest import MakeWorld
from tests.e2e.door import Door
from tests.e2e.processes import eventually


def test_a_worker_frozen_before_its_post_sends_nothing_until_it_has_begun_anew(
    make_world: MakeWorld, door: Door
) -> None:
    world = make_world()
    door.lead_to(world)
    worker = world.serve().role("worker")
    door.shut()
    video = world.post("a frozen cat")
    door.await_caller()
    worker.send_signal(signal.SIGSTOP)
    frozen_at = time.monotonic()
    door.open()
    eventually(lambda: time.monotonic() - frozen_at, lambda seconds: seconds > 6, "past the sender's own patience")
    worker.send_signal(signal.SIGCONT)
    world.assert_done_once(video["id"], "a frozen cat")
    assert "not_sent" in world.event_names(video["id"])
    assert world.posts("a frozen cat") == 1


def test_a_frozen_worker_sends_nothing_when_another_has_submitted_its_video_meanwhile(
    make_world: MakeWorld, door: Door, on_postgres: dict[str, str]
) -> None:
    world = make_world(GATEWAY_SUBMIT_TIMEOUT_S="2", **on_postgres)
    door.lead_to(world)
    frozen, _ = world.start_apart()
    world.await_callback(world.prove_list()["id"])
    door.shut()
    video = world.post("a cat frozen for long")
    door.await_caller()
    frozen.send(signal.SIGSTOP)
    door.open()
    world.start("worker")
    world.assert_done_once(video["id"], "a cat frozen for long")
    frozen.send(signal.SIGCONT)
    # Stopping, it first finishes what it still has in hand.
    assert frozen.stop()[0] == 0
    assert world.posts("a cat frozen for long") == 1
