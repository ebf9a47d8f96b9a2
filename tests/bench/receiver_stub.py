"""A stub receiver of callbacks that answers 204 at once and verifies signatures only when asked what came.

Run as a child with the webhook secret and the number of loopback addresses to listen on.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, NamedTuple

from gateway.webhooks.signing import BadSignature, verify
from tests.bench.children import obey
from tests.bench.wire import Answer, Request, answer, listen

_TAKEN = answer(204)


def hosts(count: int) -> list[str]:
    """Return so many loopback addresses."""
    return [f"127.0.0.{number}" for number in range(1, count + 1)]


class Came(NamedTuple):
    """One callback as it came."""

    at: float
    request: Request


class Receiver:
    """What came so far."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self.came: list[Came] = []

    def answer(self, request: Request) -> Answer:
        self.came.append(Came(time.monotonic(), request))
        return _TAKEN

    def command(self, command: dict[str, Any]) -> dict[str, Any]:
        """Return the count so far; `verify` looks at all of them, `reset` forgets them."""
        came = list(self.came)
        told: dict[str, Any] = {"count": len(came), "at": time.monotonic()}
        if command.get("verify"):
            headers = [_headers(one.request.head) for one in came]
            told["verified"] = sum(map(self._verified, headers, came))
            told["distinct"] = len({one.get("webhook-id") for one in headers})
        if command.get("videos"):
            told["videos"] = {json.loads(one.request.body)["data"]["id"]: one.at for one in came}
        if command.get("reset"):
            self.came = []
        return told

    def _verified(self, headers: dict[str, str], came: Came) -> bool:
        try:
            verify([self._secret], headers=headers, body=came.request.body, now=time.time())
        except BadSignature:
            return False
        return True


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:] if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


if __name__ == "__main__":
    receiver = Receiver(sys.argv[1])
    obey(receiver.command, port=listen(receiver.answer, hosts(int(sys.argv[2]))))
