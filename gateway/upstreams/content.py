"""Opening a finished video's content: where to look, redirects followed by hand, and proof that it is a video."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urljoin

from gateway.clock import Clock
from gateway.outbound.session import AnswerLost, NotSent, Outbound, Reply, Stream
from gateway.upstreams import decide
from gateway.upstreams.cleaning import Cleaner
from gateway.upstreams.origins import Origin, origin_of
from gateway.upstreams.port import (
    Answer,
    Content,
    ContentBroken,
    ContentNotReady,
    ContentOutcome,
    KeyRefused,
)
from gateway.upstreams.replies import answer_of

REDIRECTS_MAX = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEAD = 12
_ERROR_MAX = 65536
_ERROR_WAIT_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long a download may take, in seconds, and how large it may be, in bytes."""

    first_byte_s: float = 120.0
    """Some gateways fetch the whole file before they send its first byte."""
    stall_s: float = 30.0
    deadline_s: float = 3600.0
    size: int = 8 << 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """Opens content for one upstream and key: its own origin gets the key, any other is reached through `foreign`."""

    own: Outbound
    foreign: Outbound
    """Checks addresses where the upstream is a public one, so that it cannot send us into our own network."""
    origin: Origin
    headers: Mapping[str, str] = field(repr=False)
    """Authorization, for the upstream's own origin only."""
    clean: Cleaner
    limits: Limits
    clock: Clock
    """Monotonic."""
    wanted: Literal["video", "picture"] = "video"

    @contextmanager
    def opened(self, candidates: Sequence[str]) -> Iterator[ContentOutcome]:
        """Yield the first candidate that turns out to be a video, else the most telling of what stands in the way."""
        with ExitStack() as stack:
            outcomes: list[ContentOutcome] = []
            for url in dict.fromkeys(candidates):
                outcomes.append(self._followed(url, stack))
                if isinstance(outcomes[-1], Content):
                    break
            yield _verdict(outcomes)

    def _followed(self, url: str, stack: ExitStack) -> ContentOutcome:
        """Follow redirects from `url`; a video's connection is left open on `stack`."""
        started = self.clock()
        try:
            for _ in range(REDIRECTS_MAX + 1):
                with ExitStack() as hop:
                    stream = hop.enter_context(self._get(url))
                    target = _target(stream, url)
                    if target is None:
                        outcome = self._judged(stream, started, own=self._is_own(url))
                        if isinstance(outcome, Content):
                            stack.enter_context(hop.pop_all())
                        return outcome
                url = target
        except (NotSent, AnswerLost) as error:
            return self._silent(error.reason, started)
        return self._silent("too many redirects", started)

    def _get(self, url: str) -> AbstractContextManager[Stream]:
        own = self._is_own(url)
        outbound = self.own if own else self.foreign
        return outbound.stream(
            "GET",
            url,
            first_byte_s=self.limits.first_byte_s,
            stall_s=self.limits.stall_s,
            deadline_s=self.limits.deadline_s,
            headers=self.headers if own else None,
        )

    def _is_own(self, url: str) -> bool:
        return origin_of(url) == self.origin

    def _judged(self, stream: Stream, started: float, *, own: bool) -> ContentOutcome:
        if stream.status == 200:
            return self._video(stream, started)
        body = bytearray()
        with contextlib.suppress(AnswerLost):
            self._fill(body, stream, _ERROR_MAX)
        return decide.content(self._reply(stream, bytes(body), started), own=own, clean=self.clean)

    def _video(self, stream: Stream, started: float) -> ContentOutcome:
        head = bytearray()
        self._fill(head, stream, _HEAD)
        kind = _KINDS[self.wanted](head)
        if kind is None:
            with contextlib.suppress(AnswerLost):
                self._fill(head, stream, _ERROR_MAX)
            answer = answer_of(self._reply(stream, bytes(head), started), self.clean)
            return ContentNotReady(reason=f"not a {self.wanted}", answer=answer, invalid=True)
        length = _length(stream)
        body = _Body(head=bytes(head), stream=stream, length=length, limit=self.limits.size)
        answer = Answer(status=200, body=f"[{kind}]", elapsed_s=self.clock() - started)
        return Content(length=length, content_type=kind, readinto=body.readinto, answer=answer)

    def _fill(self, into: bytearray, stream: Stream, size: int) -> None:
        """Read until there are `size` bytes or the body ends. Raises AnswerLost, also when it only drips."""
        until = self.clock() + _ERROR_WAIT_S
        block = memoryview(bytearray(min(size, 8192)))
        while len(into) < size and (count := stream.readinto(block[: size - len(into)])):
            into += block[:count]
            if self.clock() > until:
                raise AnswerLost("timeout")

    def _reply(self, stream: Stream, body: bytes, started: float) -> Reply:
        return Reply(
            status=stream.status,
            headers=stream.headers,
            body=body,
            truncated=False,
            elapsed_s=self.clock() - started,
            peer=stream.peer,
        )

    def _silent(self, reason: str, started: float) -> ContentNotReady:
        return ContentNotReady(reason=reason, answer=Answer(status=None, elapsed_s=self.clock() - started))


def container(head: bytes | bytearray) -> str | None:
    """Return the type of video that starts so: `ftyp` at offset 4 is an MP4 (ISO 14496-12), the EBML mark a WebM."""
    if head[4:8] == b"ftyp":
        return "video/mp4"
    return "video/webm" if head[:4] == b"\x1aE\xdf\xa3" else None


def picture(head: bytes | bytearray) -> str | None:
    """Return the type of picture that starts so."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    return "image/png" if head[:8] == b"\x89PNG\r\n\x1a\n" else None


_KINDS = {"video": container, "picture": picture}


class _Body:
    """The first bytes again, then the rest, counted."""

    def __init__(self, *, head: bytes, stream: Stream, length: int | None, limit: int) -> None:
        self._head = head
        self._stream = stream
        self._length = length
        self._limit = limit
        self._count = 0

    def readinto(self, buffer: memoryview) -> int:
        """See `Content.readinto`."""
        if not len(buffer):
            return 0
        count = self._from_head(buffer) or self._from_stream(buffer)
        self._count += count
        if self._count > self._limit:
            raise ContentBroken(f"the content is larger than {self._limit} bytes")
        if not count and self._length is not None and self._count != self._length:
            raise ContentBroken(f"the download ended after {self._count} of {self._length} bytes")
        return count

    def _from_head(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._head))
        buffer[:count] = self._head[:count]
        self._head = self._head[count:]
        return count

    def _from_stream(self, buffer: memoryview) -> int:
        try:
            return self._stream.readinto(buffer)
        except AnswerLost as error:
            raise ContentBroken(f"the download broke off after {self._count} bytes: {error.reason}") from error


def _verdict(outcomes: Sequence[ContentOutcome]) -> ContentOutcome:
    """Return the video; else that the key is refused; else that something may yet come; missing only if all say so."""
    for kind in (Content, KeyRefused, ContentNotReady):
        for outcome in outcomes:
            if isinstance(outcome, kind):
                return outcome
    return outcomes[0]


def _target(stream: Stream, url: str) -> str | None:
    """Return where a redirect leads, or None where the answer is none. Its body is not read."""
    location = stream.headers.get("location")
    if stream.status not in _REDIRECTS or not location:
        return None
    try:
        return urljoin(url, location)
    except ValueError:
        return None


def _length(stream: Stream) -> int | None:
    told = stream.headers.get("content-length", "").strip()
    chunked = "chunked" in stream.headers.get("transfer-encoding", "").lower()
    return int(told) if told.isascii() and told.isdigit() and len(told) < 16 and not chunked else None
