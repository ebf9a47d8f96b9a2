"""The examples that receive callbacks, against callbacks that are forged, stale, repeated and damaged."""

from __future__ import annotations

import base64
import hmac
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.webhooks.signing import derive_secret, sign
from tests.e2e.examples.running import Ended, Examples, Receiver
from tests.e2e.harness import World
from tests.servers import RawServer, answering

OTHER_SECRET = derive_secret(b"somebody else", owner="tests", version=1)


def event_of(video_id: str, type_: str = "video.failed", **facts: Any) -> bytes:
    error = {"code": "upstream_error", "message": f'提示词不行 "{video_id}"'}
    data = {"id": video_id, "object": "video", "metadata": {"type": "x", "id": "y"}, "error": error, **facts}
    return json.dumps({"id": f"evt_{video_id}", "object": "event", "type": type_, "data": data}).encode()


def signed(secrets: list[str], body: bytes, *, webhook_id: str, age_s: int = 0) -> dict[str, str]:
    return sign(secrets, webhook_id=webhook_id, timestamp=int(time.time()) - age_s, body=body)


def test_what_is_not_signed_by_the_gateway_is_refused(receiver: Receiver, world: World) -> None:
    secret, body = world.webhook_secret, event_of("video_forged")
    good = signed([secret], body, webhook_id="evt_forged")
    forgeries = {
        "another's secret": signed([OTHER_SECRET], body, webhook_id="evt_forged"),
        "another id": good | {"webhook-id": "evt_other"},
        "another time": good | {"webhook-timestamp": str(int(good["webhook-timestamp"]) - 1)},
        "six minutes old": signed([secret], body, webhook_id="evt_forged", age_s=360),
        "six minutes ahead": signed([secret], body, webhook_id="evt_forged", age_s=-360),
        "no time": good | {"webhook-timestamp": "now"},
        "no signature": good | {"webhook-signature": ""},
        "a malformed signature": good | {"webhook-signature": "v1"},
        "no headers": {},
    }
    answers = {what: receiver.post(body, headers) for what, headers in forgeries.items()}
    assert answers == dict.fromkeys(forgeries, 400)
    assert receiver.post(body + b" ", good) == 400
    assert receiver.post(body, good) == 204
    receiver.await_said("video_forged failed: ")


def test_a_body_that_is_too_large_is_not_read(receiver: Receiver, world: World) -> None:
    body = event_of("video_large", padding="x" * (2 << 20))
    assert receiver.post(body, signed([world.webhook_secret], body, webhook_id="evt_large")) in {413, None}
    assert receiver.post(event_of("video_small"), {}) == 400


def test_a_repeat_is_answered_and_dropped_and_any_of_two_signatures_is_enough(receiver: Receiver, world: World) -> None:
    first, second = event_of("video_first"), event_of("video_second")
    rotating = [OTHER_SECRET, world.webhook_secret]
    for age_s in (10, 5, 0):  # each attempt has a time of its own
        assert receiver.post(first, signed(rotating, first, webhook_id="evt_first", age_s=age_s)) == 204
    assert receiver.post(second, signed(rotating, second, webhook_id="evt_second")) == 204
    explained = 'video_first failed: 提示词不行 "video_first" (code upstream_error)'
    said = receiver.await_said(explained, "video_second failed: ")
    assert said.count("video_first failed: ") == 1


@pytest.mark.parametrize("type_", ["video.cancelled", "video.in_progress"])
def test_other_events_are_told_and_nothing_else(receiver: Receiver, world: World, type_: str) -> None:
    body = event_of("video_other", type_, error=None)
    assert receiver.post(body, signed([world.webhook_secret], body, webhook_id="evt_other")) == 204
    receiver.await_said(f"video_other {type_}")


def test_a_damaged_download_is_told_and_never_bears_the_name_of_a_whole_one(receiver: Receiver, world: World) -> None:
    with RawServer(answering(200, b"no film")) as server:
        content = {"bytes": 7, "sha256": "0" * 64}
        body = event_of("video_bad", "video.completed", url=f"{server.url}/video", content=content, error=None)
        assert receiver.post(body, signed([world.webhook_secret], body, webhook_id="evt_bad")) == 204
        receiver.await_said("video_bad is not saved")
    assert not (receiver.directory / "video_bad.mp4").exists()


def test_without_a_secret_nothing_gets_in(examples: Examples, tmp_path: Path) -> None:
    body, now = event_of("video_unsigned"), str(int(time.time()))
    signature = base64.b64encode(hmac.digest(b"", f"evt_unsigned.{now}.".encode() + body, "sha256")).decode()
    headers = {"webhook-id": "evt_unsigned", "webhook-timestamp": now, "webhook-signature": f"v1,{signature}"}
    with suppress(Ended), examples.receiver(tmp_path / "receiver", "") as receiver:
        assert receiver.post(body, headers) is None
