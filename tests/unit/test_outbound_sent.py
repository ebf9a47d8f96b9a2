"""What surely was not sent, and what may have been: NotSent and AnswerLost."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from gateway.outbound.deadline import Deadlines
from gateway.outbound.session import AnswerLost, NotSent, Outbound
from tests.servers import Conversation, RawServer, answering, self_signed
from tests.unit.outbound_peers import get

pytestmark = pytest.mark.usefixtures("only_loopback")


def test_exchange_was_not_sent_when_the_connection_is_refused(outbound: Outbound) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSent, match="refused"):
        get(outbound, f"http://127.0.0.1:{port}/")


def test_exchange_was_not_sent_when_the_name_does_not_exist(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*args: object, **kw: object) -> list:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(NotSent, match="dns"):
        get(outbound, "http://nowhere.example/")


def test_exchange_was_not_sent_when_the_certificate_is_nobodys(outbound: Outbound, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    with RawServer(answering(), tls=certificate.server) as server:
        with pytest.raises(NotSent, match="tls"):
            get(outbound, server.url)
        assert server.requests.empty()


def test_exchange_was_not_sent_when_the_certificate_names_another_host(deadlines: Deadlines, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "elsewhere.example")
    outbound = Outbound(pool_size=1, deadlines=deadlines, tls=certificate.trusting)
    with RawServer(answering(), tls=certificate.server) as server, pytest.raises(NotSent, match="tls"):
        get(outbound, server.url)
    outbound.close()


def test_exchange_was_not_sent_when_the_scheme_is_unknown(outbound: Outbound) -> None:
    with pytest.raises(NotSent, match="invalid"):
        get(outbound, "ftp://127.0.0.1/")


def test_exchange_was_not_sent_when_a_header_would_break_the_request(outbound: Outbound) -> None:
    with RawServer(answering()) as server:
        with pytest.raises(NotSent, match="invalid"):
            outbound.exchange("GET", server.url, deadline_s=5, max_body=1, headers={"x": "a\r\nevil: 1"})
        assert server.requests.empty()


def test_exchange_asks_once_after_connecting_and_sends_nothing_when_told_not_to(outbound: Outbound) -> None:
    asked: list[int] = []
    heard: list[bytes] = []

    def script(conversation: Conversation) -> None:
        heard.append(conversation.sock.recv(65536))

    def before_send() -> bool:
        asked.append(server.connections)
        return False

    with RawServer(script) as server:
        with pytest.raises(NotSent) as refused:
            outbound.exchange("POST", server.url, deadline_s=10, max_body=10, data=b"x", before_send=before_send)
        server.wait_until_served()
    assert refused.value.declined
    assert len(asked) == 1
    assert heard == [b""]


def test_exchange_asks_once_when_the_body_goes_out_in_many_blocks(outbound: Outbound) -> None:
    asked: list[bool] = []
    with RawServer(answering()) as server:
        outbound.exchange(
            "POST",
            server.url,
            deadline_s=10,
            max_body=10,
            data=b"x" * 500_000,
            before_send=lambda: asked.append(True) is None,
        )
    assert asked == [True]


def test_exchange_sends_nothing_when_the_deadline_passed_while_it_was_asked(outbound: Outbound) -> None:
    heard: list[bytes] = []

    def script(conversation: Conversation) -> None:
        heard.append(conversation.sock.recv(65536))

    def before_send() -> bool:
        return not threading.Event().wait(0.2)

    with RawServer(script) as server:
        with pytest.raises(NotSent, match="timeout"):
            outbound.exchange("POST", server.url, deadline_s=0.1, max_body=10, before_send=before_send)
        server.wait_until_served()
    assert heard == [b""]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "reset"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "short"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nabc", "malformed"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", "short"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab", "short"),
    ],
)
def test_exchange_loses_the_answer_when_it_is_not_whole(outbound: Outbound, said: bytes, reason: str) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(said)

    with RawServer(script) as server, pytest.raises(AnswerLost) as lost:
        outbound.exchange("POST", server.url, deadline_s=10, max_body=1000, data=b"x")
    assert lost.value.reason == reason


def test_exchange_loses_the_answer_when_the_peer_resets(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.reset()

    with RawServer(script) as server, pytest.raises(AnswerLost, match="reset"):
        get(outbound, server.url)
