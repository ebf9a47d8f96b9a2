"""Streamed answers: pieces as they come, stalls, deadlines, one request's answer as another's body."""

from __future__ import annotations

import threading
import time

import pytest

from gateway.outbound.session import AnswerLost, Outbound, Stream
from tests.servers import Conversation, RawServer, answering, head
from tests.unit.outbound_peers import dripping_unsized_body, silent

pytestmark = pytest.mark.usefixtures("only_loopback")


def read_all(stream: Stream) -> bytes:
    block = memoryview(bytearray(65536))
    return b"".join(iter(lambda: bytes(block[: stream.readinto(block)]), b""))


def test_stream_gives_the_body_in_pieces_as_they_come(outbound: Outbound) -> None:
    go_on = threading.Event()

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(200, {"content-length": "6"}) + b"abc")
        go_on.wait(10)
        conversation.send(b"def")

    with (
        RawServer(script) as server,
        outbound.stream("GET", server.url, first_byte_s=10, stall_s=10, deadline_s=None) as stream,
    ):
        block = memoryview(bytearray(100))
        assert stream.length == 6
        assert bytes(block[: stream.readinto(block)]) == b"abc"
        go_on.set()
        assert stream.read_up_to(100) == b"def"
        assert stream.readinto(block) == 0


def test_stream_keeps_the_connection_when_read_to_its_end_and_closes_it_when_not(outbound: Outbound) -> None:
    with RawServer(answering(200, b"x" * 100_000)) as server:
        for read, connections in ((True, 1), (True, 1), (False, 1), (True, 2)):
            with outbound.stream("GET", server.url, first_byte_s=10, stall_s=10, deadline_s=None) as stream:
                assert not read or len(read_all(stream)) == 100_000
            assert server.connections == connections


def test_stream_goes_on_past_the_limit_of_its_first_byte(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(200, {"content-length": "30"}))
        conversation.drip(b"y" * 30, every_s=0.02)

    with (
        RawServer(script) as server,
        outbound.stream("GET", server.url, first_byte_s=0.3, stall_s=5, deadline_s=None) as stream,
    ):
        assert len(read_all(stream)) == 30


@pytest.mark.parametrize(("stall_s", "deadline_s"), [(0.2, None), (10, 0.3)])
def test_stream_is_lost_when_it_stalls_or_its_deadline_passes(
    outbound: Outbound, stall_s: float, deadline_s: float | None
) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(200, {"content-length": "10"}) + b"abc")
        conversation.wait_until_closed()

    started = time.monotonic()
    with (
        RawServer(script) as server,
        pytest.raises(AnswerLost, match="timeout"),
        outbound.stream("GET", server.url, first_byte_s=10, stall_s=stall_s, deadline_s=deadline_s) as stream,
    ):
        read_all(stream)
    assert time.monotonic() - started < 3


def test_stream_is_lost_when_its_deadline_passes_while_it_drips(outbound: Outbound) -> None:
    with (
        RawServer(dripping_unsized_body) as server,
        pytest.raises(AnswerLost, match="timeout"),
        outbound.stream("GET", server.url, first_byte_s=10, stall_s=10, deadline_s=0.3) as stream,
    ):
        read_all(stream)


def test_stream_is_lost_when_the_head_is_late(outbound: Outbound) -> None:
    with (
        RawServer(silent) as server,
        pytest.raises(AnswerLost, match="timeout"),
        outbound.stream("GET", server.url, first_byte_s=0.2, stall_s=10, deadline_s=None),
    ):
        pytest.fail("there was no answer")


def test_a_stream_can_be_the_body_of_another_request(outbound: Outbound) -> None:
    class Source:
        def __init__(self, stream: Stream) -> None:
            self.stream = stream

        def __len__(self) -> int:
            return self.stream.length

        def read(self, size: int) -> bytes:
            return self.stream.read_up_to(size)

    with RawServer(answering(200, b"v" * 300_000)) as upstream, RawServer(answering(200, b"kept")) as store:
        with outbound.stream("GET", upstream.url, first_byte_s=10, stall_s=10, deadline_s=None) as stream:
            reply = outbound.exchange("PUT", store.url, deadline_s=10, max_body=10, data=Source(stream))
        assert reply.body == b"kept"
        assert store.request().body == b"v" * 300_000
