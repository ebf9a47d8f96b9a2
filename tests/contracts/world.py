"""What the suites over both databases share: everything behind the ports, jobs brought to a status, and races."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa

from gateway.db.claims import SqlClaims
from gateway.db.clients import SqlClients
from gateway.db.endpoints import SqlEndpoints
from gateway.db.engine import Database
from gateway.db.inbox import SqlInbox
from gateway.db.lanes import SqlLanes
from gateway.db.ledger import SqlLedger
from gateway.db.outbox import SqlOutbox
from gateway.db.queries import SqlQueries
from gateway.db.record import SqlRecorder
from gateway.db.submissions import SqlSubmissions
from gateway.db.workers import SqlWorkers
from gateway.jobs import lifecycle
from gateway.jobs.job import Failure, Job, Status, Stored, new_id
from gateway.jobs.ports import Acceptance, AttemptResult, Delivery, Lane, Submission

T = TypeVar("T")

NOW = 1_796_000_000.0
LANE = Lane(upstream="main", key="one", fingerprint="k1", routes=[("main",)], max_concurrent=5)
HOOK = "https://hooks.example.com/done"
FAILURE = Failure(code="upstream_error", message="no")
ALL_EVENTS = ("video.completed", "video.failed", "video.cancelled", "video.in_progress")
NO = AttemptResult(status=500, latency_ms=3, answer="no", error="status")
YES = AttemptResult(status=200, latency_ms=3, answer="ok", error="")


def new_job(client: str = "ann", *, at: float = NOW, **fields: Any) -> Job:
    """A job as the intake makes it."""
    usual: dict[str, Any] = {
        "id": new_id("video", at), "client": client, "status": Status.QUEUED, "version": 1, "model": "sora-2",
        "size": "720x1280", "seconds": 4, "created_at": at, "due_at": at, "prompt": "a cat",
        "routes": ("main",),
    }  # fmt: skip
    return Job(**(usual | fields))


def race(work: Callable[[int], T], *, threads: int = 16) -> list[T | Exception]:
    """Let threads run into the same thing at the same moment; what each returned or raised."""
    barrier = threading.Barrier(threads)

    def run(number: int) -> T | Exception:
        barrier.wait()
        try:
            return work(number)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test says what it had to be
            return error

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def claimed_singly(
    outbox: SqlOutbox, *, worker: str = "", limit: int = 50, per_receiver: int = 4, lease_s: float = 20, now: float
) -> list[Delivery]:
    """Claim due deliveries one a place; by a worker of its own each time where none is named."""
    batches = outbox.due(
        worker=worker or f"worker-{secrets.token_hex(4)}",
        limit=limit, per_receiver=per_receiver, in_a_row=1, in_hand={}, lease_s=lease_s, now=now,
    )  # fmt: skip
    return [delivery for batch in batches for delivery in batch]


class World:
    """Everything behind the ports, on one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.claims = SqlClaims(database)
        self.clients = SqlClients(database)
        self.inbox = SqlInbox(database)
        self.lanes = SqlLanes(database)
        self.ledger = SqlLedger(database)
        self.outbox = SqlOutbox(database)
        self.endpoints = SqlEndpoints(database)
        self.queries = SqlQueries(database)
        self.recorder = SqlRecorder(database)
        self.submissions = SqlSubmissions(database)
        self.workers = SqlWorkers(database)

    def accept(self, job: Job, **request: Any) -> Acceptance:
        """Put a job down as a request that never came before."""
        usual: dict[str, Any] = {
            "request_hash": job.id, "idempotency_key": None, "sdk_retry": 0, "max_unfinished": 1000,
            "now": job.created_at,
        }  # fmt: skip
        return self.inbox.accept(job, **(usual | request))

    def queued(self, client: str = "ann", **fields: Any) -> Job:
        return self.accept(new_job(client, **fields)).job

    def claimed(self, *, lane: Lane = LANE, worker: str = "w", now: float = NOW, **fields: Any) -> Job:
        """A new queued job, claimed for a lane."""
        job = self.queued(**fields)
        taken = self.submissions.take_turn(lane, worker=worker, limit=1, lease_s=60, now=now)
        assert [one.id for one in taken] == [job.id]
        return taken[0]

    def submitting(
        self, *, lane: Lane = LANE, fingerprint: str | None = None, now: float = NOW, **fields: Any
    ) -> tuple[Job, Submission]:
        job = self.claimed(lane=lane, now=now, **fields)
        begun = self.submissions.begin(job, lane, fingerprint=fingerprint or job.id, due_at=now + 130, now=now)
        assert begun is not None
        return begun

    def rendering(self, *, now: float = NOW, **fields: Any) -> tuple[Job, Submission]:
        job, submission = self.submitting(now=now, **fields)
        upstream_job_id = f"up_{job.id}"
        self.submissions.accepted(submission, upstream_job_id=upstream_job_id, now=now)
        moved = lifecycle.accept(job, upstream_job_id=upstream_job_id, due_at=now + 30, at=now, detail={})
        return self.recorder.record(moved), submission

    def storing(self, *, now: float = NOW, **fields: Any) -> Job:
        job, _ = self.rendering(now=now, **fields)
        return self.recorder.record(lifecycle.begin_transfer(job, expires_at=None, at=now, detail={}))

    def completed(self, *, now: float = NOW, **fields: Any) -> Job:
        job = self.storing(now=now, **fields)
        stored = self.stored(job, now=now)
        return self.recorder.record(lifecycle.complete(job, stored=stored, at=now, detail={}))

    def stored(self, job: Job, *, now: float = NOW, lease_s: float = 60) -> Stored:
        """An object being written for a job."""
        key = f"{job.client}/{job.id}/{new_id('try', now)}.mp4"
        self.ledger.begin(key, until=now + lease_s, now=now)
        return Stored(object_key=key, size=7, sha256="ab", content_type="video/mp4")

    def failed(self, *, now: float = NOW, **fields: Any) -> Job:
        return self.recorder.record(lifecycle.fail(self.queued(at=now, **fields), FAILURE, at=now, upstream_done=True))

    def told(self, *, client: str = "ann", url: str = HOOK, now: float = NOW) -> Job:
        """A failed job with one delivery to make."""
        return self.failed(client=client, now=now, callback_url=url, callback_events=ALL_EVENTS)

    def row(self, table: sa.Table, **which: Any) -> Any:
        """The one row that these values pick, read past the code under test."""
        rows = self.rows(table, **which)
        assert len(rows) == 1
        return rows[0]

    def rows(self, table: sa.Table, **which: Any) -> Sequence[Any]:
        with self.database.read() as connection:
            picked = sa.select(table).where(*(table.c[name] == value for name, value in which.items()))
            return connection.execute(picked).all()

    def now_holds(self, job: Job) -> Job:
        """The job as it is in the database now."""
        return self.queries.job(job.id, client=None)


def with_token(job: Job, claim_token: int) -> Job:
    return replace(job, claim_token=claim_token)


def post(
    world: World, client: str = "ann", *, key: str | None = "k", body: str = "b", now: float = NOW, **more: object
) -> Acceptance:
    """Accept what a request with this body asks for; equal bodies are equal requests."""
    return world.accept(new_job(client, at=now), request_hash=body, idempotency_key=key, **more)
