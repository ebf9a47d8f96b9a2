"""The worker, wired."""

from __future__ import annotations

import os
import random
import secrets
import socket
import threading
from functools import partial

from gateway import clock
from gateway.db.claims import SqlClaims
from gateway.db.inbox import SqlInbox
from gateway.db.lanes import SqlLanes
from gateway.db.ledger import SqlLedger
from gateway.db.outbox import SqlOutbox
from gateway.db.queries import SqlQueries
from gateway.db.record import SqlRecorder
from gateway.db.submissions import SqlSubmissions
from gateway.db.workers import SqlWorkers
from gateway.observability.metrics import Metrics
from gateway.outbound.session import Reply
from gateway.pictures.reader import ImageReader
from gateway.webhooks.sender import Sender
from gateway.wiring.installation import Installation
from gateway.wiring.sizes import (
    CLEANERS,
    DELIVERERS,
    POLLERS,
    QUICK_DELIVERERS,
    RECONCILERS,
    ROUNDERS,
    SUBMITTERS,
    TRANSFERS,
)
from gateway.wiring.upstreams import ConfiguredUpstream
from gateway.worker.abandoned import AbandonedStep
from gateway.worker.concurrency import Concurrency
from gateway.worker.deliver import DeliverStep
from gateway.worker.failover import Failover
from gateway.worker.housekeeping import Housekeeping
from gateway.worker.limits import Limits
from gateway.worker.paces import Paces
from gateway.worker.persistence import Persistence
from gateway.worker.poll import PollStep
from gateway.worker.pools import Pool
from gateway.worker.process import WorkerProcess
from gateway.worker.reconcile import ReconcileStep
from gateway.worker.references import References
from gateway.worker.rerouting import reroute
from gateway.worker.rests import Rests
from gateway.worker.rounds import RoundStep
from gateway.worker.routes import Route, Routes
from gateway.worker.submit import SubmitStep
from gateway.worker.ticks import Step, Ticker
from gateway.worker.transfer import TransferStep
from gateway.worker.unbegun import Unbegun
from gateway.worker.variants import Variants
from gateway.worker.wakes import DELIVER, SUBMIT, TRANSFER, Wakes


def worker_process(installation: Installation, *, stopping: threading.Event) -> WorkerProcess:
    """Make a worker that has not begun; raises SettingsError where an upstream or a bucket is missing."""
    installation.settings.require("GATEWAY_UPSTREAM_URL", "GATEWAY_S3_BUCKET")
    limits = _limits(installation)
    metrics = Metrics()
    wakes = Wakes()
    persistence = Persistence(
        recorder=SqlRecorder(installation.database), stopping=stopping, metrics=metrics, wakes=wakes
    )
    routes = Routes(
        upstreams={upstream.name: _route(upstream) for upstream in installation.upstreams.values()},
        catalogue=installation.catalogue,
        lanes=SqlLanes(installation.database),
        paces=Paces(SqlLanes(installation.database)),
    )
    deliver = _deliver(installation, limits, metrics, persistence, wakes)
    steps = _steps(
        installation,
        deliver,
        routes=routes,
        limits=limits,
        persistence=persistence,
        stopping=stopping,
        metrics=metrics,
        wakes=wakes,
    )
    queries = SqlQueries(installation.database)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    return WorkerProcess(
        worker=name,
        ticker=Ticker(
            worker=name,
            steps=steps,
            database_now=installation.database.now,
            monotonic=clock.monotonic,
            wakes=wakes,
            unbegun=Unbegun(worker=name, release=SqlClaims(installation.database).release_unbegun),
        ),
        housekeeping=Housekeeping(
            claims=SqlClaims(installation.database),
            workers=SqlWorkers(installation.database),
            ledger=SqlLedger(installation.database),
            queries=queries,
            inbox=SqlInbox(installation.database),
            bucket=installation.bucket,
            persistence=persistence,
            limits=limits,
            routes=routes,
        ),
        workers=SqlWorkers(installation.database),
        pools=[pool for _, pool in steps],
        database_now=installation.database.now,
        monotonic=clock.monotonic,
        stopping=stopping,
        reroute=lambda: reroute(SqlClaims(installation.database), installation.catalogue),
        relieve=deliver.relieve,
        copy_log=installation.database.copy_log,
    )


def _limits(installation: Installation) -> Limits:
    settings = installation.settings
    return Limits(
        poll_interval_s=settings.poll_interval_s,
        poll_timeout_s=settings.poll_timeout_s,
        max_wait_s=settings.max_wait_s,
        submit_timeout_s=settings.submit_timeout_s,
        reconcile_after_s=settings.reconcile_after_s,
        queue_timeout_s=settings.queue_timeout_s,
        content_wait_s=settings.content_wait_s,
        webhook_timeout_s=settings.webhook_timeout_s,
        retention_s=settings.retention_s,
        resubmit_unknown=settings.resubmit_unknown,
        webhook_schedule_s=settings.webhook_schedule_s,
        url_ttl_s=settings.url_ttl_s,
    )


def _route(upstream: ConfiguredUpstream) -> Route:
    return Route(
        name=upstream.name,
        adapter=upstream.adapter,
        keys=upstream.keys,
        max_concurrent=upstream.settings.max_concurrent,
        requests_per_minute=upstream.settings.requests_per_minute,
        variants=upstream.dialect.facts.variants if upstream.settings.variants else (),
    )


def _references(installation: Installation) -> References:
    guarded = installation.outbound(SUBMITTERS, reuse=False, guard=installation.guard)
    reader = ImageReader(at_once=2)

    def fetch(url: str, *, deadline_s: float, max_body: int) -> Reply:
        return guarded.exchange("GET", url, deadline_s=deadline_s, max_body=max_body)

    return References(
        bucket=installation.bucket,
        fetch=fetch,
        read=reader.read,
        monotonic=clock.monotonic,
    )


def _variants(installation: Installation, routes: Routes, limits: Limits, stopping: threading.Event) -> Variants:
    return Variants(
        routes=routes,
        ledger=SqlLedger(installation.database),
        bucket=installation.bucket,
        limits=limits,
        pause=installation.pause(stopping),
    )


def _steps(
    installation: Installation,
    deliver: DeliverStep,
    *,
    routes: Routes,
    limits: Limits,
    persistence: Persistence,
    stopping: threading.Event,
    metrics: Metrics,
    wakes: Wakes,
) -> list[tuple[Step, Pool]]:
    """Make the steps in order of precedence: what comes first spends a key's request rate first."""
    claims, lanes = SqlClaims(installation.database), SqlLanes(installation.database)
    submissions, rests = SqlSubmissions(installation.database), Rests()
    submit = SubmitStep(
        routes=routes,
        submissions=submissions,
        lanes=lanes,
        claims=claims,
        references=_references(installation),
        persistence=persistence,
        limits=limits,
        metrics=metrics,
        monotonic=clock.monotonic,
        rests=rests,
        failover=Failover(
            routes=routes, submissions=submissions, queries=SqlQueries(installation.database), rests=rests
        ),
    )
    reconcile = ReconcileStep(
        routes=routes, submissions=submissions, claims=claims, persistence=persistence, limits=limits
    )
    transfer = TransferStep(
        routes=routes,
        claims=claims,
        lanes=lanes,
        ledger=SqlLedger(installation.database),
        bucket=installation.bucket,
        persistence=persistence,
        limits=limits,
        metrics=metrics,
        variants=_variants(installation, routes, limits, stopping),
        stopping=stopping.is_set,
    )
    poll = PollStep(routes=routes, claims=claims, lanes=lanes, persistence=persistence, limits=limits, metrics=metrics)
    rounds = RoundStep(routes=routes, claims=claims, polls=poll, limits=limits, rests=Rests())
    abandoned = AbandonedStep(routes=routes, submissions=submissions, persistence=persistence, limits=limits)
    named: list[tuple[str, Step, int]] = [
        (SUBMIT, submit, SUBMITTERS),
        ("reconcile", reconcile, RECONCILERS),
        (TRANSFER, transfer, TRANSFERS),
        (DELIVER, deliver, DELIVERERS),
        ("round", rounds, ROUNDERS),
        ("poll", poll, POLLERS),
        ("abandoned", abandoned, CLEANERS),
    ]
    return [(step, Pool(name, threads, freed=partial(wakes.freed, name))) for name, step, threads in named]


def _deliver(
    installation: Installation, limits: Limits, metrics: Metrics, persistence: Persistence, wakes: Wakes
) -> DeliverStep:
    sender = Sender(
        outbound=installation.outbound(DELIVERERS, reuse=False, guard=installation.guard),
        timeout_s=installation.settings.webhook_timeout_s,
    )
    return DeliverStep(
        outbox=SqlOutbox(installation.database),
        bucket=installation.bucket,
        send=sender.send,
        kept=sender.kept,
        secrets_of=installation.secrets_of,
        endpoint_secrets_of=installation.endpoint_secrets_of,
        public_url=installation.settings.base_url,
        limits=limits,
        metrics=metrics,
        persistence=persistence,
        wall=clock.wall,
        jitter=random.random,
        wake=partial(wakes.wake, DELIVER),
        concurrency=Concurrency(least=QUICK_DELIVERERS, most=DELIVERERS),
    )
