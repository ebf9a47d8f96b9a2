"""`gateway listen` beside a running gateway: what comes, whether it can be trusted, and which attempt it is."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from tests.e2e.harness import World
from tests.e2e.processes import LONG_S, environment, gateway_command


@contextmanager
def listening(world: World) -> Iterator[tuple[str, Iterator[str]]]:
    """A listener with the world's secret: its URL, and the lines that it prints."""
    process = subprocess.Popen(
        gateway_command("listen", "--bind", "127.0.0.1:0", "--secret", world.webhook_secret),
        env=environment({}), cwd=world.directory, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        lines = iter(process.stdout)
        yield next(lines).split()[2].rstrip(":"), lines
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG_S) == 0
    finally:
        process.kill()
        process.wait(LONG_S)
        process.stdout.close()


def test_a_callback_that_is_sent_again_is_the_same_event_attempt_2(world: World) -> None:
    world.serve()
    with listening(world) as (url, lines):
        video_id = world.post("a boat", callback_url=url)["id"]
        assert next(lines).split() == ["video.completed", video_id, "verified"]
        (delivery,) = world.deliveries(video_id)
        assert next(lines) == f"  webhook-id {delivery['event_id']}, attempt 1, answered 200\n"
        assert world.fetched_hash(next(lines).split()[1]) == world.video(video_id)["content"]["sha256"]

        world.await_delivered(video_id)
        world.http.post(f"{world.url}/v1/deliveries/{delivery['id']}/redeliver", timeout=LONG_S).raise_for_status()
        assert next(lines).split() == ["video.completed", video_id, "verified"]
        again = f"  webhook-id {delivery['event_id']}, attempt 2, the same event again, answered 200\n"
        assert next(lines) == again


def test_what_anybody_sends_is_shown_as_not_verified_and_commands_no_terminal(world: World) -> None:
    with listening(world) as (url, lines):
        forged = {"type": "video.completed\x1b[2J", "data": {"id": "video_\x07", "url": "http://x/\r\nverified"}}
        headers = {"webhook-id": "evt_1", "webhook-timestamp": "1", "webhook-signature": "v1,"}
        assert requests.post(url, json=forged, headers=headers, timeout=LONG_S).status_code == 400
        shown = [next(lines) for _ in range(3)]
        assert shown[0].startswith("video.completed?[2J  video_?  NOT VERIFIED: ")
        assert shown[2] == "  link       http://x/??verified\n"
        assert requests.post(url, data=b"\xff", timeout=LONG_S).status_code == 400
        assert next(lines).startswith("no event  NOT VERIFIED: ")
        assert next(lines) == "  webhook-id missing, attempt 0, answered 400\n"


def test_a_secret_that_is_none_is_refused(world: World) -> None:
    done = world.run("listen", "--bind", "127.0.0.1:0", "--secret", "whsec_not-base64")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--secret: expected whsec_" in done.stderr
