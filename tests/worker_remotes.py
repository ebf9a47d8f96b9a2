"""Whom a worker talks to, as the test wants them: an upstream, a bucket, receivers and places that hold pictures."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.bucket.port import BucketError, Link, ObjectMissing, Written
from gateway.jobs.errors import Refusal
from gateway.jobs.intake import ReferenceImage
from gateway.jobs.ports import AttemptResult
from gateway.outbound.session import Reply
from gateway.upstreams.port import (
    Accepted,
    Answer,
    Content,
    ContentBroken,
    ContentOutcome,
    DialectFacts,
    Finished,
    Key,
    Listed,
    ListOutcome,
    Missing,
    NotSent,
    Page,
    PollOutcome,
    SubmitOutcome,
    Unfinished,
    VideoRequest,
)
from gateway.webhooks.outcomes import Delivered, Outcome

if TYPE_CHECKING:
    from tests.worker_world import Time

SAID = Answer(status=200, body="{}", elapsed_s=0.01)
FILM = b"\x00\x00\x00\x18ftypisom" + b"film" * 100
STILLS = {"thumbnail": b"RIFF....WEBP" + b"small" * 40, "spritesheet": b"\xff\xd8\xff" + b"many" * 60}
HOOK = "https://hooks.example.com/done"
EVENTS = ("video.completed", "video.failed", "video.cancelled", "video.in_progress")


@dataclass(kw_only=True)
class Made:
    """One video that the upstream accepted and, in a true one, would charge for."""

    id: str
    request: VideoRequest
    created_at: float
    polls: int = 0
    cancelled: bool = False


class ScriptedUpstream:
    """Keeps books as an upstream does; scripted outcomes come first, one a call."""

    def __init__(self, time: Time) -> None:
        self.facts = DialectFacts(name="scripted", models={}, prompt_max=32000, can_list=True, can_cancel=False)
        self.time = time
        self.made: dict[str, Made] = {}
        self.posts: list[VideoRequest] = []
        self.keys: list[str] = []
        self.submits: deque[SubmitOutcome] = deque()
        self.polls: deque[PollOutcome] = deque()
        self.polled: list[str] = []
        self.contents: deque[ContentOutcome] = deque()
        self.offered: list[Sequence[str]] = []
        """The links that came with each call for content."""
        self.variants: deque[ContentOutcome] = deque()
        self.variants_asked: list[tuple[str, str, str, float]] = []
        self.pages: deque[ListOutcome] = deque()
        self.asked_after: list[str | None] = []
        self.cancels: list[str] = []
        self.can_stop = True
        self.unfinished_polls = 0
        self.before_the_byte: Callable[[], None] = lambda: None
        self.in_flight: Callable[[], None] = lambda: None
        self.loses_the_answer = False

    def submit(self, request: VideoRequest, key: Key, *, before_send: Callable[[], bool]) -> SubmitOutcome:
        self.before_the_byte()
        if not before_send():
            return NotSent()
        self.posts.append(request)
        self.keys.append(key.name)
        scripted = self.submits.popleft() if self.submits else None
        if scripted is None or self.loses_the_answer:
            made = self.make(request)
            answer: SubmitOutcome = Accepted(upstream_job_id=made.id, answer=SAID)
        else:
            answer = scripted
        self.in_flight()
        return scripted if scripted is not None else answer

    def make(self, request: VideoRequest, *, created_at: float | None = None) -> Made:
        """Accept a request."""
        at = created_at if created_at is not None else self.time()
        made = Made(id=f"up_{len(self.made) + 1}", request=request, created_at=at)
        self.made[made.id] = made
        return made

    def poll(self, upstream_job_id: str, key: Key) -> PollOutcome:
        self.polled.append(upstream_job_id)
        if self.polls:
            return self.polls.popleft()
        made = self.made.get(upstream_job_id)
        if made is None:
            return Missing(answer=SAID)
        made.polls += 1
        if made.polls <= self.unfinished_polls:
            return Unfinished(progress=min(made.polls * 25, 100), answer=SAID)
        return Finished(answer=SAID)

    @contextmanager
    def content(self, upstream_job_id: str, key: Key, *, urls: Sequence[str]) -> Iterator[ContentOutcome]:
        self.offered.append(tuple(urls))
        yield self.contents.popleft() if self.contents else film()

    @contextmanager
    def variant(self, upstream_job_id: str, key: Key, name: str, *, within_s: float) -> Iterator[ContentOutcome]:
        self.variants_asked.append((upstream_job_id, key.name, name, within_s))
        yield self.variants.popleft() if self.variants else still(name)

    def page(self, key: Key, *, after: str | None) -> ListOutcome:
        self.asked_after.append(after)
        if self.pages:
            return self.pages.popleft()
        newest_first = sorted(self.made.values(), key=lambda made: -made.created_at)
        return Page(videos=[listed(made) for made in newest_first], next=None)

    def cancel(self, upstream_job_id: str, key: Key) -> bool:
        self.cancels.append(upstream_job_id)
        return self.can_stop

    def ping(self, key: Key) -> None:
        return None


def listed(made: Made, **shown: Any) -> Listed:
    """A video as the upstream's list shows it."""
    usual: dict[str, Any] = {
        "upstream_job_id": made.id, "created_at": made.created_at, "prompt": made.request.prompt,
        "model": made.request.model, "size": made.request.size, "seconds": made.request.seconds,
        "poll": Unfinished(progress=None, answer=SAID), "remixed_from": made.request.remix_of,
    }  # fmt: skip
    return Listed(**(usual | shown))


def page(*videos: Listed, after: str | None = None) -> Page:
    return Page(videos=videos, next=after)


def film(
    data: bytes = FILM,
    *,
    breaks_after: int | None = None,
    at: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    content_type: str = "video/mp4",
) -> Content:
    """A download; `at` is called before every read, `after` at its end, and it may break after some bytes."""
    left = memoryview(data if breaks_after is None else data[:breaks_after])

    def readinto(buffer: memoryview) -> int:
        nonlocal left
        at()
        if not left and breaks_after is not None:
            raise ContentBroken("the download broke off")
        count = min(len(left), len(buffer), 64)
        buffer[:count] = left[:count]
        left = left[count:]
        if not count:
            after()
        return count

    return Content(length=len(data), content_type=content_type, readinto=readinto, answer=SAID)


def still(name: str, **options: Any) -> Content:
    """A picture beside a video, of its usual kind."""
    kind = "image/webp" if name == "thumbnail" else "image/jpeg"
    return film(STILLS[name], content_type=kind, **options)


class StreamingBucket:
    """Objects in a dict, written in small blocks. `down` makes it fail as a store that is unreachable does."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False
        self.signed = 0

    def _up(self) -> None:
        if self.down:
            raise BucketError("the store is unreachable")

    def put(self, key: str, data: bytes, *, content_type: str) -> None:
        self._up()
        self.objects[key] = data

    def get(self, key: str, *, limit: int) -> bytes:
        self._up()
        if key not in self.objects:
            raise ObjectMissing("no such object")
        return self.objects[key]

    def write(
        self,
        key: str,
        readinto: Callable[[memoryview], int],
        *,
        length: int | None,
        content_type: str,
        filename: str,
        alive: Callable[[], None],
    ) -> Written:
        self._up()
        data, block = bytearray(), memoryview(bytearray(64))
        while count := readinto(block):
            data += block[:count]
            alive()
            self._up()
        self.objects[key] = bytes(data)
        return Written(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    def link(self, key: str, *, now: float, ttl_s: int, filename: str) -> Link:
        self._up()
        self.signed += 1
        return Link(url=f"https://bucket.test/{key}?signature={self.signed}", expires_at=now + ttl_s)

    def open(self, key: str, *, range_header: str | None) -> Any:
        raise ObjectMissing("nothing is passed through here")

    def delete(self, key: str) -> None:
        self._up()
        self.objects.pop(key, None)


@dataclass(kw_only=True)
class Sent:
    """One callback that went out."""

    url: str
    body: bytes
    webhook_id: str
    attempt: int
    secrets: Sequence[str]


class Receiver:
    """A receiver of callbacks at the port: 200 unless told otherwise."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.answers: deque[Outcome] = deque()
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self, url: str, body: bytes, *, webhook_id: str, attempt: int, secrets: Sequence[str]) -> Outcome:
        self.sent.append(Sent(url=url, body=body, webhook_id=webhook_id, attempt=attempt, secrets=secrets))
        self.meanwhile()
        if self.answers:
            return self.answers.popleft()
        return Delivered(result=AttemptResult(status=200, latency_ms=1, answer="ok", error=""))


class Elsewhere:
    """Pictures at other people's URLs: a reply, or what fetching one raises, for each URL."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply | Exception] = {}
        self.fetched: list[str] = []
        self.deadlines: list[float] = []

    def __call__(self, url: str, *, deadline_s: float, max_body: int) -> Reply:
        self.fetched.append(url)
        self.deadlines.append(deadline_s)
        found = self.replies[url]
        if isinstance(found, Exception):
            raise found
        return found


def read_picture(data: bytes) -> ReferenceImage:
    """What really decodes pictures in the product says the same of these."""
    if not data.startswith(b"\x89PNG"):
        raise Refusal("The picture is not a PNG, JPEG or WebP.", code="invalid_image")
    return ReferenceImage(data=data, content_type="image/png", width=640, height=480, sent_sha256="")
