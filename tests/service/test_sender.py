from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import standardwebhooks

from gateway.clock import wall
from gateway.outbound.allow_list import AllowList
from gateway.outbound.deadline import Deadlines
from gateway.outbound.guard import Guard
from gateway.outbound.session import Outbound
from gateway.webhooks.outcomes import Delivered, Gone, Outcome, Retry
from gateway.webhooks.sender import Sender
from gateway.webhooks.signing import derive_secret
from tests.servers import Conversation, RawServer, Script, allow_only_loopback, answering, head, self_signed, trap

SECRET = derive_secret(b"master of the tests", owner="alice", version=1)
BODY = b'{"id":"evt_1","object":"event"}'
Send = Callable[[str], Outcome]


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_only_loopback(monkeypatch)


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    made = Deadlines()
    yield made
    made.close()


@pytest.fixture
def outbound(deadlines: Deadlines) -> Iterator[Outbound]:
    guard = Guard(allow=AllowList(["127.0.0.0/8", "receiver.test"]))
    made = Outbound(pool_size=1, deadlines=deadlines, reuse=False, guard=guard)
    yield made
    made.close()


def sending(outbound: Outbound, *, timeout_s: float) -> Send:
    sender = Sender(outbound=outbound, timeout_s=timeout_s, clock=wall)
    return lambda url: sender.send(url, BODY, webhook_id="evt_1", attempt=3, secrets=[SECRET])


@pytest.fixture
def send(outbound: Outbound) -> Send:
    return sending(outbound, timeout_s=10)


@pytest.fixture
def hasty_send(outbound: Outbound) -> Send:
    return sending(outbound, timeout_s=0.5)


def test_callback_is_a_signed_post_of_json_that_counts_its_tries(send: Send) -> None:
    with RawServer(answering(204)) as server:
        outcome = send(server.url + "/hook?a=b")
        request = server.request()
    assert isinstance(outcome, Delivered)
    assert (request.method, request.target, request.body) == ("POST", "/hook?a=b", BODY)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["gateway-attempt"] == "3"
    assert request.headers["user-agent"].startswith("Sora-Gateway/")
    assert standardwebhooks.Webhook(SECRET).verify(request.body, request.headers) == {"id": "evt_1", "object": "event"}


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_callback_is_delivered_by_any_2xx(send: Send, status: int) -> None:
    with RawServer(answering(status, b"" if status == 204 else b"thanks")) as server:
        outcome = send(server.url)
    assert isinstance(outcome, Delivered)
    assert (outcome.result.status, outcome.result.error, outcome.peer) == (status, "", "127.0.0.1")
    assert 0 <= outcome.result.latency_ms < 10_000


@pytest.mark.parametrize("status", [400, 401, 404, 408, 413, 429, 500, 502, 503, 504])
def test_callback_is_tried_again_after_any_other_status(send: Send, status: int) -> None:
    with RawServer(answering(status, b"no")) as server:
        outcome = send(server.url)
    assert isinstance(outcome, Retry)
    assert (outcome.result.status, outcome.result.error, outcome.result.answer) == (status, "status", "no")
    assert outcome.retry_after_s is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_a_failure_and_is_not_followed(send: Send, status: int) -> None:
    with RawServer(trap) as target, RawServer(answering(status, Location=target.url)) as server:
        outcome = send(server.url)
        assert isinstance(outcome, Retry)
        assert outcome.result.error == "redirect"
        assert target.connections == 0


def test_receiver_that_answers_410_wants_no_more(send: Send) -> None:
    with RawServer(answering(410, b"gone")) as server:
        outcome = send(server.url)
    assert isinstance(outcome, Gone)
    assert outcome.result.status == 410


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_told(send: Send, status: int) -> None:
    with RawServer(answering(status, Retry_After="120")) as server:
        outcome = send(server.url)
    assert isinstance(outcome, Retry)
    assert outcome.retry_after_s == 120


def test_answer_is_kept_to_a_kilobyte_without_control_characters(send: Send) -> None:
    with RawServer(answering(200, b"\x1b[31mred\x00\r\n\xff\xe2\x82\xac" + b"x" * 5000)) as server:
        outcome = send(server.url)
    answer = outcome.result.answer
    assert answer.startswith("�[31mred��\n�€xxx")
    assert len(answer.encode()) <= 1024
    assert "\x1b" not in answer


@pytest.mark.parametrize("before", [0, 960])
def test_answer_that_echoes_a_presigned_link_is_kept_without_its_signature(send: Send, before: int) -> None:
    link = "https://bucket.example/ann/film.mp4?X-Amz-Credential=AKIA&X-Amz-Signature=5ec4e7"
    with RawServer(answering(200, b" " * before + f'{{"got": "{link}"}}'.encode())) as server:
        answer = send(server.url).result.answer
    assert "https://bucket.example/ann/film.mp4" in answer
    assert "X-Amz" not in answer
    assert "AKIA" not in answer


def silent(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.wait_until_closed()


def dripping_head(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.drip(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1000, every_s=0.02)


@pytest.mark.parametrize("script", [silent, dripping_head])
def test_attempt_ends_in_time_when_the_head_of_the_answer_does_not_come(hasty_send: Send, script: Script) -> None:
    started = time.monotonic()
    with RawServer(script) as server:
        outcome = hasty_send(server.url)
    assert time.monotonic() - started < 5
    assert isinstance(outcome, Retry)
    assert (outcome.result.status, outcome.result.error) == (None, "timeout")
    assert 400 <= outcome.result.latency_ms < 5000


@pytest.mark.parametrize(("status", "kind"), [(200, Delivered), (500, Retry), (410, Gone)])
def test_status_decides_when_the_body_drips_past_the_time_limit(
    hasty_send: Send, status: int, kind: type[Outcome]
) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(status, {"content-length": "100000"}) + b"start")
        conversation.drip(b"y" * 10_000, every_s=0.02)

    started = time.monotonic()
    with RawServer(script) as server:
        outcome = hasty_send(server.url)
    assert time.monotonic() - started < 5
    assert isinstance(outcome, kind)
    assert outcome.result.answer.startswith("start")


def test_endless_body_is_cut_off(send: Send) -> None:
    sent: list[int] = []

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(200, {"transfer-encoding": "chunked"}))
        while True:
            conversation.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            sent.append(4096)

    with RawServer(script) as server:
        outcome = send(server.url)
        assert server.closed_by_client.get(timeout=10)
    assert isinstance(outcome, Delivered)
    assert outcome.result.latency_ms < 5000
    assert len(outcome.result.answer) == 1024


def test_status_decides_when_the_body_breaks_off(send: Send) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(200, {"content-length": "100"}) + b"half")

    with RawServer(script) as server:
        outcome = send(server.url)
    assert isinstance(outcome, Delivered)
    assert outcome.result.answer == "half"


def reset(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.reset()


def no_http(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(b"220 mail.example ESMTP\r\n")


@pytest.mark.parametrize(("script", "word"), [(reset, "reset"), (no_http, "malformed")])
def test_attempt_fails_with_a_word_for_it_when_there_is_no_answer(send: Send, script: Script, word: str) -> None:
    with RawServer(script) as server:
        outcome = send(server.url)
    assert isinstance(outcome, Retry)
    assert (outcome.result.status, outcome.result.error) == (None, word)


def test_attempt_fails_when_the_certificate_is_self_signed(send: Send, tmp_path: Path) -> None:
    with RawServer(answering(), tls=self_signed(tmp_path, "127.0.0.1").server) as server:
        outcome = send(server.url)
        assert server.requests.empty()
    assert outcome.result.error == "tls"


def test_attempt_fails_when_nobody_listens(send: Send) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert send(f"http://127.0.0.1:{port}/").result.error == "refused"


@pytest.mark.parametrize(("error", "word"), [(socket.EAI_NONAME, "dns"), (socket.EAI_AGAIN, "dns")])
def test_attempt_fails_when_the_name_is_not_resolved(
    send: Send, monkeypatch: pytest.MonkeyPatch, error: int, word: str
) -> None:
    def getaddrinfo(*_args: object, **_kw: object) -> None:
        raise socket.gaierror(error, "made up")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert send("http://receiver.test/").result.error == word


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://[::1]:9/", "ftp://a.example/", "http://u:p@a.example/"])
def test_attempt_is_blocked_when_the_target_is_not_public(send: Send, url: str) -> None:
    outcome = send(url)
    assert isinstance(outcome, Retry)
    assert (outcome.result.status, outcome.result.error) == (None, "blocked")


def test_each_attempt_has_a_timestamp_of_its_own_and_the_same_id(deadlines: Deadlines) -> None:
    times = iter([1000.0, 1000.9, 2000.0])
    outbound = Outbound(pool_size=1, deadlines=deadlines, reuse=False)
    sender = Sender(outbound=outbound, timeout_s=5, clock=lambda: next(times))
    with RawServer(answering(204)) as server:
        for attempt in (1, 2, 3):
            sender.send(server.url, BODY, webhook_id="evt_1", attempt=attempt, secrets=[SECRET])
        sent = [server.request().headers for _ in range(3)]
    outbound.close()
    assert [headers["webhook-timestamp"] for headers in sent] == ["1000", "1000", "2000"]
    assert {headers["webhook-id"] for headers in sent} == {"evt_1"}
    assert [headers["gateway-attempt"] for headers in sent] == ["1", "2", "3"]
