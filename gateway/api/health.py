"""What machines ask of the process itself: is it alive, is it ready, how is it doing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flask import Response, jsonify

from gateway.api import answers
from gateway.api.operation import Operation, Success
from gateway.api.services import ApiServices
from gateway.jobs.errors import Unavailable
from gateway.jobs.ports import KeyState

_log = logging.getLogger("gateway.api")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def healthz(services: ApiServices) -> Response:
    """Answer that the process is alive; asks nobody."""
    del services
    return jsonify({"status": "ok"})


def readyz(services: ApiServices) -> Response:
    """Answer whether requests are well served here.

    Only the database, its schema and an end that is near make it 503: with no worker and every key paused, accepting a
    video is still safe, so these are fields of the answer.
    """
    if services.stopping():
        return _unready("stopping")
    try:
        if not services.queries.schema_current():
            return _unready("schema_outdated")
        return jsonify(_ready(services))
    except Unavailable:
        return _unready("database_unavailable")


def _ready(services: ApiServices) -> dict[str, object]:
    now = services.queries.now()
    beats = services.queries.workers()
    return {
        "status": "ready",
        "worker_heartbeat_age_s": round(max(0.0, now - beats[0].beat_at), 3) if beats else None,
        "paused_keys": _paused(services.queries.upstream_keys()),
    }


def _paused(keys: Sequence[KeyState]) -> list[dict[str, object]]:
    return [
        {"upstream": state.upstream, "key": state.key, "since": int(state.paused_at), "reason": state.pause_reason}
        for state in keys
        if state.paused_at is not None
    ]


def _unready(why: str) -> Response:
    _log.warning("not ready: %s", why)
    answer = jsonify({"status": why, "worker_heartbeat_age_s": None, "paused_keys": []})
    answer.status_code = 503
    answer.headers["Retry-After"] = "2"
    return answer


def metrics(services: ApiServices) -> Response:
    """Answer with the metrics in Prometheus' text form."""
    return Response(services.metrics_text(), content_type=METRICS_TYPE)


OPERATIONS = (
    Operation(
        method="GET", path="/healthz", name="healthz", view=healthz, tag="Operation", public=True,
        summary="Liveness", description="The process is alive.",
        successes=[Success(status=200, description="Alive.", schema=answers.HealthSchema)],
    ),
    Operation(
        method="GET", path="/readyz", name="readyz", view=readyz, tag="Operation", public=True,
        summary="Readiness", description="503 only for the database, its schema, or a process that is about to end.",
        successes=[
            Success(status=200, description="Ready.", schema=answers.ReadinessSchema),
            Success(status=503, description="Not ready.", schema=answers.ReadinessSchema),
        ],
    ),
    Operation(
        method="GET", path="/metrics", name="metrics", view=metrics, tag="Operation", public=True,
        summary="Metrics", description="In Prometheus' text form.",
        successes=[Success(status=200, description="The metrics.", content_type="text/plain")],
    ),
)  # fmt: skip
