"""A bench for upstreams: guarded sessions that only reach loopback, and servers that break in every way."""

from __future__ import annotations

import email
import email.policy
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

from gateway.clock import monotonic
from gateway.outbound.allow_list import AllowList
from gateway.outbound.deadline import Deadlines
from gateway.outbound.guard import Guard
from gateway.outbound.resolve import Address, Resolver
from gateway.outbound.session import Outbound
from gateway.upstreams import port
from gateway.upstreams.content import Limits
from gateway.upstreams.dialect import Dialect
from gateway.upstreams.http import HttpUpstream
from tests.servers import Conversation, RawServer, Request, Script, head

API = "api.upstream.test"
CDN = "cdn.upstream.test"
SECRET = "sk-contract-0123456789"
KEY = port.Key(name="first", secret=SECRET)
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(range(256)) * 40
WEBM = b"\x1aE\xdf\xa3" + b"webm" * 100
PICTURE = port.Image(data=b"\x89PNG\r\n\x1a\n\0rest", content_type="image/png")
ODD_ID = "video_bGl0/Pn4="
JOB = {"id": "video_1", "object": "video", "status": "queued", "progress": 0}
WAIT_S = 0.4
"""A time-out that is to pass."""

Handler = Callable[[Conversation, Request], None]


class LoopbackNames(Resolver):
    """Leads every name to loopback, and written addresses to themselves; asks nobody."""

    def lookup(self, host: str, port: int, *, timeout_s: float) -> tuple[Address, ...]:
        address = host if host.replace(".", "").isdigit() else "127.0.0.1"
        return (Address(socket.AF_INET, (address, port)),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Builds upstreams whose names are public, so that only what a test allows can be reached."""

    dialect: Dialect
    submits: Outbound
    calls: Outbound
    foreign: Outbound

    @property
    def key_header(self) -> tuple[str, str]:
        """The header that carries the key, in lower case, and what stands in it."""
        ((name, value),) = self.dialect.auth.headers(SECRET).items()
        return name.lower(), value

    def target(self, path: str) -> str:
        """The request target of a path of this dialect."""
        query = urlencode(self.dialect.query)
        return f"{path}{'&' if '?' in path else '?'}{query}" if query else path

    def at(
        self,
        server: RawServer | None = None,
        *,
        url: str | None = None,
        dialect: Dialect | None = None,
        submit_timeout_s: float = 10.0,
        poll_timeout_s: float = 10.0,
        limits: Limits = Limits(),  # noqa: B008
    ) -> HttpUpstream:
        return HttpUpstream(
            name="bench",
            base_url=url or f"http://{API}:{server.port if server else 1}/v1",
            dialect=dialect or self.dialect,
            submits=self.submits,
            calls=self.calls,
            foreign=self.foreign,
            submit_timeout_s=submit_timeout_s,
            poll_timeout_s=poll_timeout_s,
            clock=monotonic,
            limits=limits,
        )


def a_request(
    bench: Bench, *, image: port.Image | None = None, extra: Mapping[str, object] | None = None
) -> port.VideoRequest:
    served = bench.dialect.facts.models or {"Wan-AI/Wan2.2": port.ModelFacts(sizes=(), seconds=())}
    model, facts = next(iter(served.items()))
    size, seconds = next(iter(facts.sizes), "720x1280"), next(iter(facts.seconds), 4)
    return port.VideoRequest(model=model, prompt="a cät", size=size, seconds=seconds, image=image, extra=extra or {})


def submit(upstream: HttpUpstream, request: port.VideoRequest) -> port.SubmitOutcome:
    return upstream.submit(request, KEY, before_send=lambda: True)


def each(*handlers: Handler) -> Script:
    """A script that hands the n-th request of the server to the n-th handler, and all later ones to the last."""
    count = iter(range(1000))

    def script(conversation: Conversation) -> None:
        while (request := conversation.read_request()) is not None:
            handlers[min(next(count), len(handlers) - 1)](conversation, request)

    return script


def says(status: int = 200, body: object = b"", **headers: str) -> Handler:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda conversation, _: conversation.answer(status, raw, **headers)


def leads_to(url: str, status: int = 302) -> Handler:
    return says(status, b"moved", location=url)


def resets(conversation: Conversation, _: Request) -> None:
    conversation.reset()


def cut_after(data: bytes, *, of: int) -> Handler:
    def handler(conversation: Conversation, _: Request) -> None:
        conversation.send(head(200, {"content-length": str(of), "content-type": "video/mp4"}) + data)
        conversation.sock.shutdown(socket.SHUT_RDWR)

    return handler


def then_silence(data: bytes) -> Handler:
    def handler(conversation: Conversation, _: Request) -> None:
        conversation.send(data)
        conversation.wait_until_closed()

    return handler


def endless(conversation: Conversation, _: Request) -> None:
    conversation.send(head(200, {"content-type": "application/json"}))
    while True:
        conversation.send(b'{"id": "video_1", "status": "completed"}' + b" " * 65536)


def dripping(data: bytes) -> Handler:
    return lambda conversation, _: conversation.drip(data, every_s=WAIT_S / 4)


def form_of(request: Request) -> list[tuple[str, str | None, str, bytes]]:
    """The parts of a multipart body: name, file name, content type, bytes."""
    raw = b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n" + request.body
    message = email.message_from_bytes(raw, policy=email.policy.HTTP)
    assert message.get_content_type() == "multipart/form-data"
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part.get_content_type(),
            part.get_payload(decode=True),  # type: ignore[misc]
        )
        for part in message.iter_parts()
    ]


def read_all(content: port.Content, block: int = 1000) -> bytes:
    buffer = memoryview(bytearray(block))
    found = bytearray()
    while count := content.readinto(buffer):
        found += buffer[:count]
    return bytes(found)


@contextmanager
def open_outbounds() -> Iterator[dict[str, Outbound]]:
    deadlines = Deadlines()

    def outbound(*allowed: str, reuse: bool = True) -> Outbound:
        guard = Guard(allow=AllowList(allowed), resolver=LoopbackNames())
        return Outbound(pool_size=4, deadlines=deadlines, reuse=reuse, guard=guard)

    made = {
        "submits": outbound(API, "127.0.0.0/8", reuse=False),
        "calls": outbound(API, "127.0.0.0/8"),
        "foreign": outbound(CDN),
    }
    yield made
    for each in made.values():
        each.close()
    deadlines.close()
