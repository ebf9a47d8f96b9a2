"""Connections kept, closed, shared by threads, and made to the next address."""

from __future__ import annotations

import gc
import http.client
import socket
import threading
from pathlib import Path

import pytest

from gateway.outbound.deadline import Deadlines
from gateway.outbound.session import AnswerLost, Outbound
from tests.servers import Conversation, RawServer, answering, head, self_signed
from tests.unit.outbound_peers import get

pytestmark = pytest.mark.usefixtures("only_loopback")


def closes_on_the_second(conversation: Conversation) -> None:
    """Answers one request; takes a second one on the same connection and hangs up."""
    conversation.read_request()
    conversation.answer(200, b"ok")
    conversation.read_request()


def test_get_is_sent_again_when_a_kept_connection_turns_out_to_be_closed(outbound: Outbound) -> None:
    with RawServer(closes_on_the_second) as server:
        assert get(outbound, server.url).body == b"ok"
        assert get(outbound, server.url).body == b"ok"
        assert server.connections == 2
        assert server.requests.qsize() == 3


def test_get_is_not_sent_again_when_a_new_connection_brings_no_answer(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()

    with RawServer(script) as server:
        with pytest.raises(AnswerLost, match="reset"):
            get(outbound, server.url)
        assert server.connections == 1


def test_post_is_never_sent_again_when_a_kept_connection_turns_out_to_be_closed(outbound: Outbound) -> None:
    with RawServer(closes_on_the_second) as server:
        outbound.exchange("POST", server.url, deadline_s=10, max_body=10, data=b"1")
        with pytest.raises(AnswerLost, match="reset"):
            outbound.exchange("POST", server.url, deadline_s=10, max_body=10, data=b"2")
        assert server.connections == 1
        assert server.requests.qsize() == 2


def test_every_call_has_a_connection_of_its_own_without_reuse(deadlines: Deadlines) -> None:
    outbound = Outbound(pool_size=2, deadlines=deadlines, reuse=False)
    with RawServer(answering(200, b"ok")) as server:
        for _ in range(3):
            outbound.exchange("POST", server.url, deadline_s=10, max_body=10, data=b"1")
        assert server.connections == 3
        assert server.request().headers["connection"] == "close"
    outbound.close()


@pytest.mark.parametrize(("size", "sends"), [(1, 1), (1000, 1), (100_000, 2)])
def test_a_short_request_leaves_in_one_piece(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch, size: int, sends: int
) -> None:
    sent: list[int] = []
    send = http.client.HTTPConnection.send

    def note(connection: http.client.HTTPConnection, data: bytes) -> None:
        sent.append(len(data))
        send(connection, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", note)
    with RawServer(answering(200, b"ok")) as server:
        outbound.exchange("POST", server.url, deadline_s=10, max_body=10, data=b"x" * size)
        assert server.request().body == b"x" * size
    assert len(sent) == sends


@pytest.mark.parametrize("reuse", [True, False])
def test_no_descriptor_is_left_open_whatever_became_of_the_calls(deadlines: Deadlines, reuse: bool) -> None:
    def script(conversation: Conversation) -> None:
        while request := conversation.read_request():
            if request.target == "/reset":
                conversation.reset()
                return
            if request.target == "/short":
                conversation.send(head(200, {"content-length": "10"}))
                return
            conversation.answer(200, b"x" * 50_000)

    outbound = Outbound(pool_size=2, deadlines=deadlines, reuse=reuse)
    with RawServer(script) as server:
        before = open_descriptors()
        for path in ("/", "/reset", "/short", "/") * 5:
            try:
                outbound.exchange("POST", server.url + path, deadline_s=10, max_body=100 if path == "/" else 1 << 20)
            except AnswerLost:
                continue
        outbound.close()
        for thread in server._threads:
            thread.join(10)
        gc.collect()
        assert open_descriptors() <= before


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_threads_share_one_outbound(outbound: Outbound) -> None:
    with RawServer(answering(200, b"ok")) as server:
        bodies: list[bytes] = []

        def work() -> None:
            bodies.extend(get(outbound, server.url).body for _ in range(10))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert bodies == [b"ok"] * 40
        assert server.connections <= 4


def test_exchange_works_over_tls_with_kept_connections(deadlines: Deadlines, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "localhost", "127.0.0.1")
    outbound = Outbound(pool_size=1, deadlines=deadlines, tls=certificate.trusting)
    with RawServer(answering(200, b"safe"), tls=certificate.server) as server:
        assert [get(outbound, server.url).body for _ in range(3)] == [b"safe"] * 3
        assert server.connections == 1
    outbound.close()


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[socket.AddressFamily, str, int]) -> None:
    def getaddrinfo(host: str, port: int, *args: object, **kw: object) -> list:
        return [(family, socket.SOCK_STREAM, 6, "", (ip, at)) for family, ip, at in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_next_address_is_tried_when_the_first_refuses(outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(answering(200, b"second")) as server:
        with socket.create_server(("127.0.0.2", 0)) as listener:
            dead = listener.getsockname()[1]
        resolving_to(monkeypatch, (socket.AF_INET, "127.0.0.2", dead), (socket.AF_INET, "127.0.0.1", server.port))
        reply = get(outbound, f"http://two.example:{server.port}/")
    assert (reply.body, reply.peer) == (b"second", "127.0.0.1")


def test_an_ipv4_address_is_tried_when_four_ipv6_addresses_come_first_and_are_dead(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(answering(200, b"four")) as server:
        dead = [(socket.AF_INET6, "::1", 1)] * 4
        distinct = [(family, ip, 1 + index) for index, (family, ip, _) in enumerate(dead)]
        resolving_to(monkeypatch, *distinct, (socket.AF_INET, "127.0.0.1", server.port))
        assert get(outbound, f"http://both.example:{server.port}/").body == b"four"


def test_an_ipv6_address_is_reached_by_name_and_in_brackets(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        server = RawServer(answering(200, b"six"), host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with server:
        reply = get(outbound, server.url)
        assert (reply.body, reply.peer) == (b"six", "::1")
        assert server.request().headers["host"] == f"[::1]:{server.port}"
