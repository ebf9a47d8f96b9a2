"""A real client against a whole gateway: curl as the reference client uses it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from gateway.demo import mp4
from gateway.demo.simulator import Simulator
from tests.e2e.conftest import MakeWorld
from tests.e2e.processes import LONG_S, eventually, free_port

PROMPT = "参考配图，使得动物们活跃起来"  # noqa: RUF001 - the reference client's own


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
