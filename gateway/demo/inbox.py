"""A receiver of callbacks: it verifies, records and answers them, for the demo, for tests and for `gateway listen`."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from flask import Flask, Response, request

from gateway import clock
from gateway.demo.connection import LINGER, dropping
from gateway.demo.listener import Listener
from gateway.webhooks.signing import BadSignature, verify

if TYPE_CHECKING:
    from types import TracebackType

    from gateway.clock import Clock
    from gateway.demo.connection import Linger

KEPT = 10_000
"""How many callbacks an inbox remembers, the latest."""
_MAX_BODY = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """How one callback is answered: `after_s` seconds late, or not at all but with a reset."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    after_s: float = 0.0
    reset: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Callback:
    """One callback as it came. Header names are in lower case."""

    number: int
    """Counted from 1."""
    path: str
    headers: Mapping[str, str]
    body: bytes
    received_at: float
    verified: bool | None
    """None where the inbox knows no secret."""
    problem: str
    """Why it was not verified."""
    repeat: bool
    """Whether its `webhook-id` had come before."""
    status: int
    """What was answered; 0 for a reset."""

    @property
    def webhook_id(self) -> str:
        """The id that stays the same over attempts."""
        return self.headers.get("webhook-id", "")

    @property
    def attempt(self) -> int:
        """Which try of the sender's this is; 0 where it does not say."""
        text = self.headers.get("gateway-attempt", "")
        return int(text) if text.isdigit() else 0

    @property
    def event(self) -> dict[str, Any]:
        """The body as JSON; empty where it is no object."""
        try:
            event = json.loads(self.body)
        except ValueError:
            return {}
        return event if isinstance(event, dict) else {}

    @property
    def type(self) -> str:
        """The event's type, such as `video.completed`."""
        return str(self.event.get("type", ""))

    @property
    def video(self) -> dict[str, Any]:
        """The video object inside; empty where there is none."""
        data = self.event.get("data")
        return data if isinstance(data, dict) else {}


class Inbox:
    """A webhook receiver: a context manager, or `start` and `stop`, or `serve_forever`.

    A callback whose signature is wrong is answered 400; any other takes the next of `answers`, and 200 when those are
    used up. `on_callback` is called in the receiving thread before the answer leaves.
    """

    def __init__(
        self,
        *,
        secrets: Sequence[str] = (),
        answers: Sequence[int | Reply] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        on_callback: Callable[[Callback], None] | None = None,
        now: Clock = clock.wall,
    ) -> None:
        self._secrets = tuple(secrets)
        self._answers = deque(answers)
        self._on_callback = on_callback
        self._now = now
        self._changed = threading.Condition()
        self._callbacks: deque[Callback] = deque(maxlen=KEPT)
        self._count = 0
        self._ids: set[str] = set()
        app = Flask(__name__)
        app.add_url_rule("/", "root", self._receive, defaults={"path": ""}, methods=["POST"])
        app.add_url_rule("/<path:path>", "any", self._receive, methods=["POST"])
        self._listener = Listener(app=app, host=host, port=port, max_body=_MAX_BODY)

    @property
    def url(self) -> str:
        """The root; callbacks may go to any path below it."""
        return self._listener.url

    @property
    def callbacks(self) -> Sequence[Callback]:
        """What has come so far, the oldest first."""
        with self._changed:
            return tuple(self._callbacks)

    def trust(self, *secrets: str) -> None:
        """Verify with these secrets from now on."""
        self._secrets = secrets

    def tell(self, on_callback: Callable[[Callback], None]) -> None:
        """Call this for each callback from now on."""
        self._on_callback = on_callback

    def answer_with(self, *answers: int | Reply) -> None:
        """Answer the next callbacks so, and 200 after them."""
        with self._changed:
            self._answers = deque(answers)

    def wait_for(
        self, wanted: Callable[[Sequence[Callback]], bool], *, timeout_s: float = 10.0
    ) -> Sequence[Callback] | None:
        """Wait until the callbacks are as wanted and return them; None where they did not become so in time."""
        with self._changed:
            met = self._changed.wait_for(lambda: wanted(tuple(self._callbacks)), timeout_s)
            return tuple(self._callbacks) if met else None

    def start(self) -> None:
        """Receive in a thread. Raises OSError where the port cannot be had."""
        self._listener.start()

    def stop(self) -> None:
        """Stop at once."""
        self._listener.stop()

    def serve_forever(self, *, ready: Callable[[str], None] | None = None) -> None:
        """Receive in this thread; `ready` is called with the URL once the port is open."""
        self._listener.listen()
        if ready is not None:
            ready(self.url)
        self._listener.serve_forever()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _receive(self, path: str) -> Response:
        reply = self._record(path)
        wait: Linger = request.environ[LINGER]
        if reply.after_s and wait(reply.after_s):
            return Response(dropping(reset=True))
        if reply.reset:
            return Response(dropping(reset=True))
        return Response(reply.body, status=reply.status, headers=dict(reply.headers), content_type="text/plain")

    def _record(self, path: str) -> Reply:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.get_data()
        now = self._now()
        verified, problem = self._verify(headers, body, now)
        with self._changed:
            reply = Reply(status=400, body=problem) if verified is False else self._next_reply()
            self._count += 1
            webhook_id = headers.get("webhook-id", "")
            callback = Callback(
                number=self._count,
                path=f"/{path}",
                headers=headers,
                body=body,
                received_at=now,
                verified=verified,
                problem=problem,
                repeat=webhook_id in self._ids,
                status=0 if reply.reset else reply.status,
            )
            # Told before it is recorded: whoever waits for the record may rely on its having been told.
            if self._on_callback is not None:
                self._on_callback(callback)
            if len(self._callbacks) == KEPT:
                self._ids.discard(self._callbacks[0].webhook_id)
            self._callbacks.append(callback)
            self._ids |= {webhook_id} - {""}
            self._changed.notify_all()
        return reply

    def _next_reply(self) -> Reply:
        answer = self._answers.popleft() if self._answers else 200
        return answer if isinstance(answer, Reply) else Reply(status=answer)

    def _verify(self, headers: Mapping[str, str], body: bytes, now: float) -> tuple[bool | None, str]:
        if not self._secrets:
            return None, ""
        try:
            verify(self._secrets, headers=headers, body=body, now=now)
        except BadSignature as error:
            return False, str(error)
        return True, ""
