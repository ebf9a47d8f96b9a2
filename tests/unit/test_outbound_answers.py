"""Whole answers of an exchange: heads, bodies and their limits, redirects, uploads."""

from __future__ import annotations

import io
import socket

import pytest

from gateway.outbound.deadline import Deadlines
from gateway.outbound.session import AnswerLost, Outbound
from tests.servers import Conversation, RawServer, answering, head, trap
from tests.unit.outbound_peers import get

pytestmark = pytest.mark.usefixtures("only_loopback")


def test_exchange_returns_status_headers_body_and_peer(outbound: Outbound) -> None:
    with RawServer(answering(201, b"made", X_Kind="one")) as server:
        reply = get(outbound, server.url)
    assert (reply.status, reply.body, reply.truncated, reply.peer) == (201, b"made", False, "127.0.0.1")
    assert reply.headers["x-kind"] == reply.headers["X-KIND"] == "one"
    assert 0 < reply.elapsed_s < 10


def test_exchange_says_nothing_of_itself_but_its_name_and_wants_no_compression(outbound: Outbound) -> None:
    with RawServer(answering()) as server:
        get(outbound, server.url)
        sent = server.request().headers
    assert sent["accept-encoding"] == "identity"
    assert sent["user-agent"] == "Sora-Gateway"
    assert "cookie" not in sent


def test_exchange_reads_a_chunked_body_whole(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        while conversation.read_request():
            conversation.send(head(200, {"transfer-encoding": "chunked"}) + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")

    with RawServer(script) as server:
        assert [get(outbound, server.url).body for _ in range(3)] == [b"abcdefg"] * 3
        assert server.connections == 1


def test_exchange_reads_to_the_end_of_the_connection_when_the_answer_names_no_length(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000)

    with RawServer(script) as server:
        assert len(get(outbound, server.url).body) == 100_000


def test_exchange_cuts_a_body_at_the_limit_and_closes_the_connection(outbound: Outbound) -> None:
    closed: list[bool] = []

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(200, {"content-length": "1000000000"}) + b"x" * 5000)
        closed.append(conversation.wait_until_closed())

    with RawServer(script) as server:
        reply = get(outbound, server.url, max_body=100)
        server.wait_until_served()
    assert (len(reply.body), reply.truncated) == (100, True)
    assert closed == [True]


def test_exchange_is_not_truncated_when_the_body_is_as_long_as_the_limit(outbound: Outbound) -> None:
    with RawServer(answering(200, b"x" * 100)) as server:
        replies = [get(outbound, server.url, max_body=100) for _ in range(2)]
        assert [(len(reply.body), reply.truncated) for reply in replies] == [(100, False)] * 2
        assert server.connections == 1


def test_exchange_keeps_no_cookies(outbound: Outbound) -> None:
    with RawServer(answering(200, b"", Set_Cookie="a=b; Path=/")) as server:
        get(outbound, server.url)
        get(outbound, server.url)
        server.request()
        assert "cookie" not in server.request().headers


def test_exchange_gives_back_a_redirect_without_following_or_preparing_it(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(302, {"location": target.url, "content-length": "1000000000"}) + b"x" * 5000)
        conversation.wait_until_closed()

    with RawServer(trap) as target, RawServer(script) as server:
        reply = get(outbound, server.url, max_body=100)
        assert (reply.status, reply.truncated) == (302, True)
        assert target.connections == 0


def test_exchange_ignores_proxies_of_the_environment(outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(trap) as proxy, RawServer(answering(200, b"direct")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert get(outbound, server.url).body == b"direct"
        assert proxy.connections == 0


@pytest.mark.parametrize("block_size", [1000, 65536])
def test_exchange_streams_a_sized_source_with_its_length(deadlines: Deadlines, block_size: int) -> None:
    class Source:
        def __init__(self) -> None:
            self.reads: list[int] = []
            self.inner = io.BytesIO(b"z" * 200_000)

        def __len__(self) -> int:
            return 200_000

        def read(self, size: int) -> bytes:
            self.reads.append(size)
            return self.inner.read(size)

    source = Source()
    outbound = Outbound(pool_size=1, deadlines=deadlines, block_size=block_size)
    with RawServer(answering()) as server:
        outbound.exchange("PUT", server.url, deadline_s=10, max_body=10, data=source)
        request = server.request()
    outbound.close()
    assert (request.headers["content-length"], len(request.body)) == ("200000", 200_000)
    assert set(source.reads) == {block_size}


def test_exchange_passes_through_what_a_source_raises_and_the_connection_is_closed(outbound: Outbound) -> None:
    class Broken(Exception):
        pass

    class Source:
        def __len__(self) -> int:
            return 1000

        def read(self, size: int) -> bytes:
            raise Broken

    heads: list[bool] = []

    def script(conversation: Conversation) -> None:
        heads.append(conversation.read_head() is not None)
        conversation.wait_until_closed()

    with RawServer(script) as server:
        with pytest.raises(Broken):
            outbound.exchange("PUT", server.url, deadline_s=10, max_body=10, data=Source())
        server.wait_until_served()
        assert heads == [True]


def test_exchange_reads_an_early_answer_when_the_server_refuses_the_body(outbound: Outbound) -> None:
    class Endless:
        def __len__(self) -> int:
            return 1 << 30

        def read(self, size: int) -> bytes:
            return b"x" * size

    def script(conversation: Conversation) -> None:
        conversation.read_head()
        conversation.answer(413, b"too much")
        conversation.sock.shutdown(socket.SHUT_WR)
        # Reading on for a moment, as servers do, so that the answer is not lost to a reset.
        for _ in range(64):
            conversation.sock.recv(65536)

    with RawServer(script) as server:
        try:
            status = outbound.exchange("PUT", server.url, deadline_s=10, max_body=10, data=Endless()).status
        except AnswerLost as lost:
            status = lost.reason
    assert status in {413, "reset"}
