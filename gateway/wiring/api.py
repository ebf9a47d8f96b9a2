"""The API, wired."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from gateway.api.app import create_app
from gateway.api.services import ApiServices, ConfiguredKey
from gateway.db.inbox import SqlInbox
from gateway.db.ledger import SqlLedger
from gateway.db.outbox import SqlOutbox
from gateway.db.queries import SqlQueries
from gateway.db.record import SqlRecorder
from gateway.jobs.intake import Intake
from gateway.observability.metrics import KeyGauge, Metrics, Snapshot
from gateway.settings import is_loopback
from gateway.wiring.installation import Installation


def api_app(installation: Installation, *, stopping: Callable[[], bool] = lambda: False) -> Flask:
    """Make the API. Nothing is opened before the first request, so it may be made before a fork."""
    settings = installation.settings
    settings.require("GATEWAY_S3_BUCKET")
    configured = [ConfiguredKey(client=key.name, key=key.secret.reveal()) for key in settings.api_keys]
    queries = SqlQueries(installation.database)
    metrics = Metrics()
    intake = Intake(
        catalogue=installation.catalogue,
        inbox=SqlInbox(installation.database, at_once=settings.threads),
        ledger=SqlLedger(installation.database),
        pictures=installation.bucket,
        max_unfinished=settings.client_max_unfinished,
        has_secret=lambda client: bool(installation.secrets_of(client)),
        target_refusal=installation.guard.check,
    )
    services = ApiServices(
        clients=installation.clients,
        intake=intake,
        catalogue=installation.catalogue,
        queries=queries,
        recorder=SqlRecorder(installation.database),
        outbox=SqlOutbox(installation.database),
        endpoints=installation.endpoints,
        endpoint_secret=installation.endpoint_secret,
        target_refusal=installation.guard.check,
        rate_limits=installation.clients,
        bucket=installation.bucket,
        metrics_text=lambda: metrics.exposition(snapshot(queries)),
        observe=lambda method, route, status, took_s: metrics.request_answered(
            method=method, route=route, status=status, took_s=took_s
        ),
        public_url=settings.base_url,
        max_body_bytes=settings.max_body_bytes,
        url_ttl_s=settings.url_ttl_s,
        retention_s=settings.retention_s,
        poll_interval_s=settings.poll_interval_s,
        content_mode=settings.content,
        content_streams=max(1, settings.threads // 2),
        # Where contents are passed through as well, both together must leave threads to the others.
        waits=max(1, settings.threads // (4 if settings.content == "stream" else 2)),
        client_requests_per_minute=settings.client_requests_per_minute,
        configured_keys=configured,
        open_access=not configured and is_loopback(settings.bind),
        stopping=stopping,
    )
    return create_app(services)


def snapshot(queries: SqlQueries) -> Snapshot:
    """Return what the database says for a scrape of the metrics."""
    now = queries.now()
    pending, late_s = queries.deliveries_due(now)
    beats = queries.workers()
    keys = [
        KeyGauge(
            upstream=state.upstream,
            key=state.key,
            slots_used=state.slots_used,
            paused=state.paused_at is not None,
        )
        for state in queries.upstream_keys()
    ]
    return Snapshot(
        videos=queries.counts(),
        videos_late_s=queries.lateness(now),
        deliveries_pending=pending,
        deliveries_late_s=late_s or 0.0,
        keys=keys,
        worker_heartbeat_age_s=max(0.0, now - beats[0].beat_at) if beats else None,
    )
