"""How the tests of outbound connections ask, and peers that answer slowly or never."""

from __future__ import annotations

from gateway.outbound.session import Outbound, Reply
from tests.servers import Conversation, head


def get(outbound: Outbound, url: str, *, deadline_s: float = 10, max_body: int = 1 << 20) -> Reply:
    return outbound.exchange("GET", url, deadline_s=deadline_s, max_body=max_body)


def dripping_head(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.drip(b"HTTP/1.1 200 OK\r\nx-slow: " + b"y" * 10_000, every_s=0.02)


def dripping_body(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(head(200, {"content-length": "10000"}))
    conversation.drip(b"y" * 10_000, every_s=0.02)


def dripping_unsized_body(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(head(200, {"connection": "close"}))
    conversation.drip(b"y" * 10_000, every_s=0.02)


def dripping_chunks(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(head(200, {"transfer-encoding": "chunked"}))
    conversation.drip(b"1\r\ny\r\n" * 10_000, every_s=0.02)


def silent(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.wait_until_closed()


SLOW = [dripping_head, dripping_body, dripping_unsized_body, dripping_chunks, silent]
