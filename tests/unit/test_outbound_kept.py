"""A connection kept for a few calls of one thread, and what the guard has to say of it meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.outbound.allow_list import AllowList
from gateway.outbound.deadline import Deadlines
from gateway.outbound.errors import AnswerLost, Blocked
from gateway.outbound.guard import Guard
from gateway.outbound.session import Outbound, Reply
from tests.servers import Conversation, RawServer, answering

pytestmark = pytest.mark.usefixtures("only_loopback")

NAME = "receiver.test"


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where the receiver's name leads now."""
    table = {NAME: "127.0.0.1"}

    def getaddrinfo(host: str, port: int, *_args: object, **_kw: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (table[host], port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = Guard(allow=AllowList(["127.0.0.1/32"]))
    yield made
    made.close()


@pytest.fixture
def outbound(deadlines: Deadlines, guard: Guard) -> Iterator[Outbound]:
    made = Outbound(pool_size=4, deadlines=deadlines, reuse=False, guard=guard)
    yield made
    made.close()


def post(outbound: Outbound, url: str) -> Reply:
    return outbound.exchange("POST", url, deadline_s=10, max_body=100, data=b"1")


def by_name(server: RawServer) -> str:
    return server.url.replace("127.0.0.1", NAME)


def once_a_connection(conversation: Conversation) -> None:
    """Answers one request; takes a second one on the same connection and hangs up."""
    conversation.read_request()
    conversation.answer(200, b"ok")
    conversation.read_request()


def test_calls_share_a_connection_until_the_end(outbound: Outbound) -> None:
    with RawServer(answering(200, b"ok")) as server:
        with outbound.kept():
            assert [post(outbound, server.url).body for _ in range(3)] == [b"ok"] * 3
            assert server.connections == 1
            assert "connection" not in server.request().headers
        post(outbound, server.url)
        assert server.connections == 2


def test_another_thread_has_its_own(outbound: Outbound) -> None:
    with RawServer(answering(200, b"ok")) as server, outbound.kept():
        post(outbound, server.url)
        thread = threading.Thread(target=post, args=(outbound, server.url))
        thread.start()
        thread.join(10)
        assert server.connections == 2


def test_a_call_that_meets_a_closed_connection_is_sent_once_more(outbound: Outbound) -> None:
    with RawServer(once_a_connection) as server, outbound.kept():
        assert [post(outbound, server.url).status for _ in range(2)] == [200, 200]
        assert server.connections == 2


def test_a_call_whose_new_connection_brings_no_answer_is_not_sent_again(outbound: Outbound) -> None:
    with RawServer(lambda conversation: conversation.read_request() and None) as server, outbound.kept():
        with pytest.raises(AnswerLost, match="reset"):
            post(outbound, server.url)
        assert server.connections == 1


def test_a_name_that_changes_its_address_does_not_move_a_kept_connection(
    outbound: Outbound, addresses: dict[str, str]
) -> None:
    with RawServer(answering(200, b"ok")) as server, outbound.kept():
        assert post(outbound, by_name(server)).peer == "127.0.0.1"
        addresses[NAME] = "10.0.0.1"
        assert post(outbound, by_name(server)).peer == "127.0.0.1"
        assert server.connections == 1


def test_nor_does_it_get_anywhere_once_that_connection_is_gone(outbound: Outbound, addresses: dict[str, str]) -> None:
    with RawServer(once_a_connection) as server, outbound.kept():
        post(outbound, by_name(server))
        addresses[NAME] = "10.0.0.1"
        with pytest.raises(Blocked):
            post(outbound, by_name(server))
        assert server.connections == 1


def test_the_peer_of_a_kept_connection_is_looked_at_before_each_call(
    outbound: Outbound, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(answering(200, b"ok")) as server, outbound.kept():
        post(outbound, server.url)
        monkeypatch.setattr(guard, "_allow", AllowList())
        with pytest.raises(Blocked):
            post(outbound, server.url)
        assert server.requests.qsize() == 1
