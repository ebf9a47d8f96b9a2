"""A worker as its tests see it: every step over a real database; time, upstream and bucket obey the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from gateway.db.engine import Database
from gateway.jobs.catalogue import Catalogue, Offer
from gateway.jobs.job import Job
from gateway.jobs.ports import Submission
from gateway.observability.metrics import Metrics
from gateway.upstreams.port import (
    Finished,
    Key,
    Unknown,
)
from gateway.worker.abandoned import AbandonedStep
from gateway.worker.concurrency import Concurrency
from gateway.worker.deliver import DeliverStep
from gateway.worker.failover import Failover
from gateway.worker.housekeeping import Housekeeping
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.paces import Paces
from gateway.worker.persistence import Persistence
from gateway.worker.poll import PollStep
from gateway.worker.reconcile import ReconcileStep
from gateway.worker.references import References
from gateway.worker.rests import Rests
from gateway.worker.routes import Route, Routes
from gateway.worker.submit import SubmitStep
from gateway.worker.ticks import Step
from gateway.worker.transfer import TransferStep
from gateway.worker.variants import Variants
from gateway.worker.wakes import DELIVER, Wakes
from tests.contracts.world import NOW, World
from tests.worker_remotes import SAID, Elsewhere, Receiver, ScriptedUpstream, StreamingBucket, read_picture

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
    def write(self, **options: Any) -> Iterator[Any]:
        if self.writes == self.dies_before:
            raise Died
        with super().write(**options) as connection:
            yield connection
        self.writes += 1
        if self.writes == self.dies_after:
            raise Died


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
    variants: Sequence[str] = ()
    configured: bool = True
    name: str = "worker-a"
    secrets: dict[str, list[str]] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    jitter: float = 0.0

    rerouted: int = 0

    def reroute(self) -> None:
        """What a worker does once, before its first tick."""
        self.rerouted += 1

    def __post_init__(self) -> None:
        self.world = World(self.database)
        self.metrics = Metrics()
        self.wakes = Wakes()
        self.persistence = Persistence(
            recorder=self.world.recorder,
            stopping=self.stopping,
            metrics=self.metrics,
            wakes=self.wakes,
            delays_s=(0, 0),
        )
        offer = Offer(upstream="main", upstream_model="sora-2", sizes=("720x1280",), seconds=(4,), prompt_max=32000)
        route = Route(
            name="main",
            adapter=self.upstream,
            keys=self.keys,
            max_concurrent=self.max_concurrent,
            requests_per_minute=self.requests_per_minute,
            variants=self.variants,
        )
        self.routes = Routes(
            upstreams={"main": route} if self.configured else {},
            catalogue=Catalogue(models={"sora-2": [offer]}),
            lanes=self.world.lanes,
            paces=Paces(self.world.lanes),
        )
        shared: dict[str, Any] = {"routes": self.routes, "limits": self.limits}
        written: dict[str, Any] = {"claims": self.world.claims, "persistence": self.persistence}
        rests = Rests()
        self.submit = SubmitStep(
            **shared,
            **written,
            submissions=self.world.submissions,
            lanes=self.world.lanes,
            references=References(bucket=self.bucket, fetch=self.elsewhere, read=read_picture, monotonic=self.time),
            metrics=self.metrics,
            monotonic=self.time,
            rests=rests,
            failover=Failover(
                routes=self.routes, submissions=self.world.submissions, queries=self.world.queries, rests=rests
            ),
        )
        self.reconcile = ReconcileStep(**shared, **written, submissions=self.world.submissions)
        self.transfer = TransferStep(
            **shared,
            **written,
            lanes=self.world.lanes,
            ledger=self.world.ledger,
            bucket=self.bucket,
            metrics=self.metrics,
            variants=Variants(
                routes=self.routes,
                ledger=self.world.ledger,
                bucket=self.bucket,
                limits=self.limits,
                pause=self.time.on,
            ),
            stopping=self.stopping.is_set,
        )
        self.poll = PollStep(**shared, **written, lanes=self.world.lanes, metrics=self.metrics)
        self.abandoned = AbandonedStep(**shared, persistence=self.persistence, submissions=self.world.submissions)
        self.deliver = DeliverStep(
            outbox=self.world.outbox,
            bucket=self.bucket,
            send=self.receiver,
            kept=nullcontext,
            secrets_of=lambda client: self.secrets.get(client, ["whsec_x"]),
            endpoint_secrets_of=lambda endpoint: [
                f"{endpoint}:{version}" for version in self.world.endpoints.secret_versions(endpoint, now=self.time())
            ],
            public_url="https://gateway.test",
            limits=self.limits,
            metrics=self.metrics,
            persistence=self.persistence,
            wall=self.time,
            jitter=lambda: self.jitter,
            wake=partial(self.wakes.wake, DELIVER),
            concurrency=Concurrency(least=32, most=32, cpu_time=lambda: 0.0, clock=self.time),
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
