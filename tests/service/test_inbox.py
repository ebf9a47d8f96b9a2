"""The demo's receiver of callbacks, over real HTTP and against the official signer."""

from __future__ import annotations

import base64
import datetime as dt
import threading
import time
from collections.abc import Iterator, Mapping

import pytest
import requests
from standardwebhooks import Webhook

from gateway.demo.inbox import Callback, Inbox, Reply

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
BODY = '{"id":"evt_1","type":"video.completed","data":{"id":"video_1","status":"completed"}}'


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox(secrets=[SECRET]) as running:
        yield running


def signed(webhook_id: str = "evt_1", *, body: str = BODY, at: float | None = None, attempt: int = 1) -> dict[str, str]:
    now = dt.datetime.fromtimestamp(time.time() if at is None else at, dt.UTC)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(webhook_id, now, body),
        "gateway-attempt": str(attempt),
    }


def post(inbox: Inbox, headers: Mapping[str, str], *, body: str = BODY, path: str = "/hook") -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{inbox.url}{path}", data=body, headers=headers, timeout=10, allow_redirects=False)


def test_a_signed_callback_is_verified_and_recorded(inbox: Inbox) -> None:
    assert post(inbox, signed(attempt=3), path="/hook/a").status_code == 200
    (callback,) = inbox.callbacks
    assert (callback.verified, callback.problem, callback.path, callback.attempt) == (True, "", "/hook/a", 3)
    assert (callback.type, callback.video["id"], callback.webhook_id) == ("video.completed", "video_1", "evt_1")
    assert (callback.body, callback.status, callback.number) == (BODY.encode(), 200, 1)


def test_a_callback_that_was_tampered_with_is_refused_with_the_reason(inbox: Inbox) -> None:
    answer = post(inbox, signed(), body=BODY.replace("completed", "failed"))
    assert (answer.status_code, answer.text) == (400, "no signature matches")
    assert (inbox.callbacks[0].verified, inbox.callbacks[0].problem) == (False, "no signature matches")


def test_an_old_callback_is_refused(inbox: Inbox) -> None:
    assert post(inbox, signed(at=time.time() - 400)).status_code == 400


def test_a_callback_of_a_newly_trusted_secret_is_verified() -> None:
    with Inbox(secrets=["whsec_" + base64.b64encode(b"o" * 24).decode()]) as inbox:
        assert post(inbox, signed()).status_code == 400
        inbox.trust(SECRET)
        assert post(inbox, signed()).status_code == 200


def test_without_a_secret_nothing_is_verified_and_everything_taken() -> None:
    with Inbox() as inbox:
        assert post(inbox, {}, body="no json").status_code == 200
        (callback,) = inbox.callbacks
        assert (callback.verified, callback.event, callback.video, callback.attempt) == (None, {}, {}, 0)


def test_the_scripted_answers_come_in_order_and_then_200(inbox: Inbox) -> None:
    inbox.answer_with(
        500, Reply(status=429, headers={"Retry-After": "7"}), Reply(status=302, headers={"Location": "/x"})
    )
    answers = [post(inbox, signed(attempt=number)) for number in range(1, 5)]
    assert [answer.status_code for answer in answers] == [500, 429, 302, 200]
    assert answers[1].headers["Retry-After"] == "7"
    assert [callback.repeat for callback in inbox.callbacks] == [False, True, True, True]
    assert [callback.status for callback in inbox.callbacks] == [500, 429, 302, 200]


def test_a_reset_gives_the_sender_no_answer(inbox: Inbox) -> None:
    inbox.answer_with(Reply(reset=True))
    with pytest.raises(requests.ConnectionError):
        post(inbox, signed())
    assert inbox.callbacks[0].status == 0


def test_a_late_answer_does_not_outlive_the_inbox() -> None:
    with Inbox(answers=[Reply(after_s=3600)]) as inbox:
        failed: list[type[Exception]] = []

        def send() -> None:
            try:
                post(inbox, {})
            except requests.ConnectionError as error:
                failed.append(type(error))

        sender = threading.Thread(target=send)
        sender.start()
        assert inbox.wait_for(lambda callbacks: len(callbacks) == 1) is not None
    sender.join(10)
    assert failed == [requests.ConnectionError]


def test_whoever_waits_is_told_after_the_callback_function_was() -> None:
    told: list[Callback] = []
    with Inbox(on_callback=told.append) as inbox:
        assert inbox.wait_for(bool, timeout_s=0.01) is None
        sender = threading.Thread(target=post, args=(inbox, {}))
        sender.start()
        callbacks = inbox.wait_for(bool)
        assert callbacks is not None
        assert told == list(callbacks)
        sender.join(10)


def test_a_get_is_no_callback(inbox: Inbox) -> None:
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(inbox.url, timeout=10).status_code == 405
    assert inbox.callbacks == ()
