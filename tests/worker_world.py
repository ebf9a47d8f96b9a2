"""A worker as its tests see it: every step over a real database; time, upstream and bucket obey the test."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.bucket.port import BucketError, Link, ObjectMissing, Written
from gateway.db.engine import Database
from gateway.jobs.catalogue import Catalogue, Offer
from gateway.jobs.errors import Refusal
from gateway.jobs.job import Job
from gateway.jobs.ports import AttemptResult, Submission
from gateway.observability.metrics import Metrics
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
    Unknown,
    VideoRequest,
)
from gateway.webhooks.outcomes import Delivered, Outcome
from gateway.worker.abandoned import AbandonedStep
from gateway.worker.deliver import DeliverStep
from gateway.worker.housekeeping import Housekeeping
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.persistence import Persistence
from gateway.worker.poll import PollStep
from gateway.worker.reconcile import ReconcileStep
from gateway.worker.references import References
from gateway.worker.rests import Rests
from gateway.worker.routes import Route, Routes
from gateway.worker.submit import SubmitStep
from gateway.worker.ticks import Step
from gateway.worker.transfer import TransferStep
from tests.contracts.world import NOW, World

SAID = Answer(status=200, body="{}", elapsed_s=0.01)
FILM = b"\x00\x00\x00\x18ftypisom" + b"film" * 100
HOOK = "https://hooks.example.com/done"
EVENTS = ("video.completed", "video.failed", "video.cancelled", "video.in_progress")
LIMITS = Limits(
    poll_interval_s=30,
    poll_timeout_s=15,
    max_wait_s=600,
    submit_timeout_s=120,
    reconcile_after_s=60,
    queue_timeout_s=86400,
    content_wait_s=3600,
    webhook_timeout_s=15,
    retention_s=0,
    resubmit_unknown=False,
    webhook_schedule_s=(5, 30, 300),
    url_ttl_s=86400,
)


class Time:
    """A clock that only a test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def on(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class Died(BaseException):
    """The process died here: nothing of it runs on, and nothing catches this."""


class MortalDatabase(Database):
    """Dies at a write: right before one begins or right after one is committed, so that every gap is tried."""

    writes = 0
    dies_before: int | None = None
    dies_after: int | None = None

    @contextmanager
    def write(self) -> Iterator[Any]:
        if self.writes == self.dies_before:
            raise Died
        with super().write() as connection:
            yield connection
        self.writes += 1
        if self.writes == self.dies_after:
            raise Died


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
        yield self.contents.popleft() if self.contents else film()

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
        "poll": Unfinished(progress=None, answer=SAID),
    }  # fmt: skip
    return Listed(**(usual | shown))


def page(*videos: Listed, after: str | None = None) -> Page:
    return Page(videos=videos, next=after)


def film(data: bytes = FILM, *, breaks_after: int | None = None, at: Callable[[], None] = lambda: None) -> Content:
    """A download; `at` is called before every read, and it may break after some bytes."""
    left = memoryview(data if breaks_after is None else data[:breaks_after])

    def readinto(buffer: memoryview) -> int:
        nonlocal left
        at()
        if not left and breaks_after is not None:
            raise ContentBroken("the download broke off")
        count = min(len(left), len(buffer), 64)
        buffer[:count] = left[:count]
        left = left[count:]
        return count

    return Content(length=len(data), content_type="video/mp4", readinto=readinto, answer=SAID)


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


def inspect(data: bytes) -> str:
    """What really decodes pictures in the product says the same of these."""
    if not data.startswith(b"\x89PNG"):
        raise Refusal("The picture is not a PNG, JPEG or WebP.", code="invalid_image")
    return "image/png"


@dataclass(kw_only=True)
class Worker:
    """One worker's steps over one database; make another for what runs after a crash."""

    database: Database
    time: Time
    upstream: ScriptedUpstream
    bucket: StreamingBucket
    receiver: Receiver
    elsewhere: Elsewhere
    limits: Limits = LIMITS
    keys: Sequence[Key] = (Key(name="one", secret="s1", fingerprint="f1"),)
    max_concurrent: int = 5
    requests_per_minute: int = 0
    configured: bool = True
    name: str = "worker-a"
    secrets: dict[str, list[str]] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    jitter: float = 0.0

    def __post_init__(self) -> None:
        self.world = World(self.database)
        self.metrics = Metrics()
        self.persistence = Persistence(
            recorder=self.world.recorder, stopping=self.stopping, metrics=self.metrics, delays_s=(0, 0)
        )
        offer = Offer(upstream="main", upstream_model="sora-2", sizes=("720x1280",), seconds=(4,), prompt_max=32000)
        route = Route(
            name="main",
            adapter=self.upstream,
            keys=self.keys,
            max_concurrent=self.max_concurrent,
            requests_per_minute=self.requests_per_minute,
        )
        self.routes = Routes(
            upstreams={"main": route} if self.configured else {},
            catalogue=Catalogue(models={"sora-2": [offer]}),
            lanes=self.world.lanes,
        )
        shared: dict[str, Any] = {"routes": self.routes, "limits": self.limits}
        written: dict[str, Any] = {"claims": self.world.claims, "persistence": self.persistence}
        self.submit = SubmitStep(
            **shared,
            **written,
            submissions=self.world.submissions,
            lanes=self.world.lanes,
            references=References(bucket=self.bucket, fetch=self.elsewhere, inspect=inspect, monotonic=self.time),
            metrics=self.metrics,
            monotonic=self.time,
            rests=Rests(),
        )
        self.reconcile = ReconcileStep(**shared, **written, submissions=self.world.submissions)
        self.transfer = TransferStep(
            **shared,
            **written,
            lanes=self.world.lanes,
            ledger=self.world.ledger,
            bucket=self.bucket,
            metrics=self.metrics,
            stopping=self.stopping.is_set,
        )
        self.poll = PollStep(**shared, **written, lanes=self.world.lanes, metrics=self.metrics)
        self.abandoned = AbandonedStep(**shared, persistence=self.persistence, submissions=self.world.submissions)
        self.deliver = DeliverStep(
            outbox=self.world.outbox,
            bucket=self.bucket,
            send=self.receiver,
            secrets_of=lambda client: self.secrets.get(client, ["whsec_x"]),
            public_url="https://gateway.test",
            limits=self.limits,
            metrics=self.metrics,
            persistence=self.persistence,
            wall=self.time,
            jitter=lambda: self.jitter,
        )
        self.housekeeping = Housekeeping(
            claims=self.world.claims,
            workers=self.world.workers,
            ledger=self.world.ledger,
            queries=self.world.queries,
            inbox=self.world.inbox,
            bucket=self.bucket,
            persistence=self.persistence,
            limits=self.limits,
            routes=self.routes,
        )

    def again(self, **changes: Any) -> Worker:
        """A fresh worker on the same database: what comes after a crash."""
        return replace(self, **changes)

    def moment(self) -> Moment:
        return Moment(now=self.time(), monotonic=self.time)

    def run(self, step: Step, *, limit: int = 20) -> int:
        """One tick of one step; how many pieces of work it brought."""
        work = step.claim(worker=self.name, limit=limit, moment=self.moment())
        for piece in work:
            piece()
        return len(work)

    def tick(self) -> int:
        """One tick of every step."""
        steps: Sequence[Step] = (
            self.submit, self.reconcile, self.transfer, self.deliver, self.poll, self.abandoned,
        )  # fmt: skip
        return sum(self.run(step) for step in steps)

    def live(self, seconds: float, *, every_s: float = 5.0) -> None:
        """Tick for a while, the household too."""
        until = self.time() + seconds
        while self.time() < until:
            self.tick()
            self.housekeeping.tick(self.time())
            self.housekeeping.sweep(self.time())
            self.time.on(every_s)

    def posted(self, client: str = "ann", **fields: Any) -> Job:
        """A job that a client has just posted."""
        return self.world.queued(client, at=self.time(), **fields)

    def rendering(self, **fields: Any) -> Job:
        """A job that the upstream has just accepted."""
        job = self.posted(**fields)
        assert self.run(self.submit) == 1
        return self.now(job)

    def storing(self, *, expires_at: float | None = None, **fields: Any) -> Job:
        """A job that the upstream has just finished."""
        job = self.rendering(**fields)
        self.time.on(30)
        self.upstream.polls.append(Finished(answer=SAID, expires_at=expires_at))
        assert self.run(self.poll) == 1
        return self.now(job)

    def lost(self, **fields: Any) -> Job:
        """A job whose answer to the submit was lost, though the upstream accepted where `made` is set before."""
        job = self.posted(**fields)
        self.upstream.submits.append(Unknown(reason="timeout", answer=SAID))
        assert self.run(self.submit) == 1
        return self.now(job)

    def now(self, job: Job) -> Job:
        """The job as it is now, also when it was deleted."""
        from gateway.db.rows import job_of
        from gateway.db.tables import jobs

        return job_of(self.world.row(jobs, id=job.id)._mapping)

    def events(self, job: Job) -> list[str]:
        return [event.event for event in self.world.queries.events(job.id)]

    def submission(self, job: Job) -> Submission:
        found = self.world.submissions.of_job(job)
        assert found is not None
        return found

    def slots(self) -> int:
        return sum(state.slots_used for state in self.world.queries.upstream_keys())
