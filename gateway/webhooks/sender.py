"""One attempt at a callback: sign, POST, and tell what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import PackageNotFoundError, version

from gateway.clock import Clock, wall
from gateway.jobs.ports import AttemptResult
from gateway.observability.redaction import redact
from gateway.outbound.errors import AnswerLost, NotSent
from gateway.outbound.retry_after import retry_after_s
from gateway.outbound.session import Outbound, Stream
from gateway.webhooks.outcomes import Delivered, Gone, Outcome, Retry
from gateway.webhooks.signing import sign

READ_BYTES = 16 * 1024
"""How much of an answer is read, so that a receiver can finish writing a usual one."""

KEPT_BYTES = 1024
"""How much of it is kept for the client to look at."""


class Sender:
    """Signs callbacks and POSTs them. Safe from many threads.

    The status line decides, if it came within the time limit: a receiver that answered 200 and then drips its body has
    taken the callback. The body is read within the same limit, and what is missing of it is no failure.
    """

    def __init__(self, *, outbound: Outbound, timeout_s: float, clock: Clock = wall) -> None:
        """`outbound` has the guard and reuses no connection outside `kept`; `timeout_s` is for the whole attempt."""
        self._outbound = outbound
        self._timeout_s = timeout_s
        self._clock = clock
        self._user_agent = f"Sora-Gateway/{_version()}"

    def send(self, url: str, body: bytes, *, webhook_id: str, attempt: int, secrets: Sequence[str]) -> Outcome:
        """Make one attempt; `secrets` sign, `attempt` counts from 1. Raises nothing for what the network does.

        The result's `error` is empty for a 2xx, `redirect` or `status` for other answers, and else one of `timeout`,
        `reset`, `malformed`, `dns`, `refused`, `unreachable`, `tls`, `blocked` and `invalid`.
        """
        started = time.monotonic()
        headers = self._headers(body, webhook_id=webhook_id, attempt=attempt, secrets=secrets)
        try:
            with self._outbound.stream(
                "POST",
                url,
                first_byte_s=self._timeout_s,
                stall_s=self._timeout_s,
                deadline_s=self._timeout_s,
                headers=headers,
                data=body,
            ) as stream:
                answer = _start_of(stream)
        except (NotSent, AnswerLost) as error:
            return Retry(result=_result(started, error=error.reason))
        return self._judge(stream, _result(started, status=stream.status, answer=_text(answer)))

    def kept(self) -> AbstractContextManager[None]:
        """Within it, this thread sends to one receiver over one connection: the same callback twice does no harm."""
        return self._outbound.kept()

    def _headers(self, body: bytes, *, webhook_id: str, attempt: int, secrets: Sequence[str]) -> dict[str, str]:
        return {
            "content-type": "application/json",
            "user-agent": self._user_agent,
            "gateway-attempt": str(attempt),
            **sign(secrets, webhook_id=webhook_id, timestamp=int(self._clock()), body=body),
        }

    def _judge(self, stream: Stream, result: AttemptResult) -> Outcome:
        if not result.error:
            return Delivered(result=result, peer=stream.peer)
        if result.status == 410:
            return Gone(result=result, peer=stream.peer)
        wait = retry_after_s(_only_standard(stream.headers), now=self._clock())
        return Retry(result=result, retry_after_s=wait, peer=stream.peer)


def _result(started: float, *, status: int | None = None, answer: str = "", error: str = "") -> AttemptResult:
    if status is not None and not 200 <= status < 300:
        error = "redirect" if 300 <= status < 400 else "status"
    latency_ms = round((time.monotonic() - started) * 1000)
    return AttemptResult(status=status, latency_ms=latency_ms, answer=answer, error=error)


def _only_standard(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {"retry-after": headers.get("retry-after", "")}


def _start_of(stream: Stream) -> bytes:
    body = bytearray()
    block = memoryview(bytearray(READ_BYTES))
    try:
        while len(body) < READ_BYTES and (count := stream.readinto(block[: READ_BYTES - len(body)])):
            body += block[:count]
    except AnswerLost:
        return bytes(body)
    return bytes(body)


def _text(answer: bytes) -> str:
    """Return the start of an answer without control characters and secrets, for showing; at most 1 kB in UTF-8."""
    shown = "".join(
        character if character.isprintable() or character in "\n\t" else "�"
        for character in answer[: 2 * KEPT_BYTES].decode(errors="replace")
    )
    # A receiver may echo our body with its presigned link. Cut afterwards, or half a secret would not look like one.
    return redact(shown).encode()[:KEPT_BYTES].decode(errors="ignore")


def _version() -> str:
    try:
        return version("sora-gateway")
    except PackageNotFoundError:
        return "0"
