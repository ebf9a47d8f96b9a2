"""A relay before a gateway that loses answers: the request is served, and whoever sent it never learns."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.e2e.harness import World
from tests.e2e.processes import LONG_S
from tests.servers import Conversation, RawServer, Request, head

LOSE = "x-lose"
"""A request's header that says how many answers to one call are lost: those of the SDK's first tries."""


@contextmanager
def forgetful(world: World) -> Iterator[RawServer]:
    """A relay before this world's gateway; its `url` is what a client is given."""

    def script(conversation: Conversation) -> None:
        while (request := conversation.read_request()) is not None:
            answer = _passed_on(world.port, request)
            if int(request.headers.get("x-stainless-retry-count", 0)) < int(request.headers.get(LOSE, 0)):
                conversation.reset()
                return
            conversation.send(answer)

    with RawServer(script) as server:
        yield server


def _passed_on(port: int, request: Request) -> bytes:
    """Have the gateway serve it, and return the whole answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LONG_S)) as gateway:
        gateway.request(request.method, request.target, body=request.body, headers=_plain(request.headers))
        answer = gateway.getresponse()
        body = answer.read()
    return head(answer.status, _plain(dict(answer.getheaders())) | {"Content-Length": str(len(body))}) + body


def _plain(headers: dict[str, str]) -> dict[str, str]:
    of_the_connection = {"connection", "keep-alive", "transfer-encoding", "content-length"}
    return {name: value for name, value in headers.items() if name.lower() not in of_the_connection}
