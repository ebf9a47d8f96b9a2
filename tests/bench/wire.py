"""The least HTTP server that a stub needs: whole requests in, prepared answers out, on one event loop."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.bench.measure import check

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class Request(NamedTuple):
    """A whole request."""

    method: str
    path: str
    head: bytes
    body: bytes


class Answer(NamedTuple):
    """Bytes for the wire, and how many seconds late they leave."""

    wire: bytes
    after_s: float = 0.0


Answering = Callable[[Request], Answer]


def answer(status: int, body: bytes = b"", *, type_: str = "application/json", after_s: float = 0.0) -> Answer:
    """Return an answer."""
    head = f"HTTP/1.1 {status} Told\r\nContent-Type: {type_}\r\nContent-Length: {len(body)}\r\n\r\n"
    return Answer(head.encode() + body, after_s)


class _Connection(asyncio.Protocol):
    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := self._next()) is not None:
            wire, after_s = self._answering(request)
            if after_s:
                asyncio.get_running_loop().call_later(after_s, self._write, wire)
            else:
                self._write(wire)

    def _next(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._buffer[: end + 2]
        length = _LENGTH.search(head)
        whole = end + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < whole:
            return None
        body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        return Request(method, path, head, body)

    def _write(self, wire: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire)


def listen(answering: Answering, hosts: Sequence[str] = ("127.0.0.1",)) -> int:
    """Serve in a thread, on one port of every host; return the port."""
    listening = threading.Event()
    ports: list[int] = []

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(answering), hosts[0], 0, backlog=1024)
        ports.append(server.sockets[0].getsockname()[1])
        if hosts[1:]:
            await loop.create_server(lambda: _Connection(answering), list(hosts[1:]), ports[0], backlog=1024)
        listening.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    check(listening.wait(10), "the stub does not listen")
    return ports[0]
