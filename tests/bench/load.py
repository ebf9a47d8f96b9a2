"""The load generator: one process, many kept-alive connections on one selector, each sending as soon as it is answered.

Written for little CPU, since it shares the cores with what it measures: requests are prepared bytes, answers are only
counted. Run as a child: see `tests.bench.children`.
"""

from __future__ import annotations

import re
import selectors
import socket
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.children import obey

_DRAIN_S = 15.0
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)


def prepared(
    method: str, path: str, *, key: str, body: str = "", type_: str = "application/json", length: int = 0
) -> str:
    """Return a request as it goes over the wire; without its body where only the length is given."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}"]
    if body or length:
        lines += [f"Content-Type: {type_}", f"Content-Length: {length or len(body.encode())}"]
    return "\r\n".join([*lines, "", body])


@dataclass(slots=True)
class Connection:
    """One kept-alive connection with at most one request under way."""

    address: tuple[str, int]
    requests: Sequence[bytes]
    number: int
    sock: socket.socket = field(init=False)
    sent_at: float = 0.0
    buffer: bytes = b""

    def __post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        self.sock = socket.create_connection(self.address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self) -> None:
        self.buffer = b""
        self.sent_at = time.perf_counter()
        self.sock.sendall(self.requests[self.number % len(self.requests)])
        self.number += 1

    def status(self) -> int | None:
        """Take what has come; return the status once the answer is whole, 0 where the connection ended."""
        block = self.sock.recv(65536)
        if not block:
            return 0
        self.buffer += block
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = _LENGTH.search(self.buffer, 0, end + 2)
        whole = end + 4 + (int(length[1]) if length else 0)
        return int(self.buffer[9:12]) if len(self.buffer) >= whole else None


def run(command: dict[str, Any]) -> dict[str, Any]:
    """Keep `connections` busy for `seconds`, let what is under way be answered, and return the counts.

    All `requests` have the same `body`, where a file with one is named.
    """
    body = Path(command["body"]).read_bytes() if "body" in command else b""
    requests = [text.encode() + body for text in command["requests"]]
    address = ("127.0.0.1", int(command["port"]))
    statuses: Counter[int] = Counter()
    took: list[float] = []
    with selectors.DefaultSelector() as selector:
        opened = [Connection(address, requests, number) for number in range(command["connections"])]
        began = time.perf_counter()
        for connection in opened:
            selector.register(connection.sock, selectors.EVENT_READ, connection)
            connection.send()
        until, busy = began + command["seconds"], len(opened)
        ended = began
        while busy and time.perf_counter() < until + _DRAIN_S:
            for found, _ in selector.select(1.0):
                connection = found.data
                status = connection.status()
                if status is None:
                    continue
                ended = time.perf_counter()
                statuses[status] += 1
                took.append(ended - connection.sent_at)
                if status == 0:
                    selector.unregister(connection.sock)
                    connection.connect()
                    selector.register(connection.sock, selectors.EVENT_READ, connection)
                if ended < until:
                    connection.send()
                else:
                    busy -= 1
        for connection in opened:
            connection.sock.close()
    return {
        "statuses": {str(status): count for status, count in statuses.items()},
        "unanswered": busy,
        "per_s": len(took) / (ended - began),
        "p50_ms": statistics.median(took) * 1000,
        "p99_ms": statistics.quantiles(took, n=100)[98] * 1000 if len(took) > 1 else took[0] * 1000,
    }


if __name__ == "__main__":
    obey(run)
