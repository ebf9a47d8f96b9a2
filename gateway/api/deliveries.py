"""Deliveries: the callbacks of a video, and making one again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from flask import Response, jsonify

from gateway.api import answers, bodies
from gateway.api.auth import caller
from gateway.api.callback_schemas import DeliveryListQuery, RedeliverySchema
from gateway.api.loading import load
from gateway.api.operation import Operation, Parameter, Success
from gateway.api.paging import listed, query
from gateway.api.services import ApiServices
from gateway.api.videos import VIDEO_ID
from gateway.jobs.ports import DeliveryFilter, DeliveryRecord


def index(services: ApiServices, video_id: str) -> Response:
    """List the callbacks of a video with their attempts."""
    job = services.queries.job(video_id, client=caller().client)
    return jsonify(listed([_shown(record) for record in services.queries.deliveries(job.id)]))


def all_of_client(services: ApiServices) -> Response:
    """List the client's callbacks with their attempts."""
    wanted: DeliveryFilter = load(DeliveryListQuery(), query())
    records, more = services.queries.client_deliveries(caller().client, wanted)
    return jsonify(listed([_shown(record) for record in records], has_more=more))


def redeliver_failed(services: ApiServices) -> Response:
    """Make every callback of the client again that failed since a time."""
    since: float = load(RedeliverySchema(), bodies.read().fields)["since"]
    count, more = services.outbox.redeliver_failed(caller().client, since=since, now=services.queries.now())
    answer = jsonify({"object": "delivery.redelivered", "count": count, "has_more": more})
    answer.status_code = 202
    return answer


def redeliver(services: ApiServices, delivery_id: str) -> Response:
    """Make a callback again, with the same `webhook-id`."""
    record = services.outbox.redeliver(delivery_id, client=caller().client, now=services.queries.now())
    answer = jsonify(_shown(record))
    answer.status_code = 202
    return answer


def _shown(record: DeliveryRecord) -> Mapping[str, object]:
    return {
        "id": record.id,
        "object": "delivery",
        "event_id": record.event_id,
        "type": record.type,
        "video_id": record.video_id,
        "webhook_endpoint_id": record.endpoint_id,
        "url": record.url,
        "status": record.status,
        "created_at": int(record.created_at),
        "next_attempt_at": int(record.due_at) if record.due_at is not None else None,
        "attempts": [asdict(attempt) for attempt in record.attempts],
    }


OPERATIONS = (
    Operation(
        method="GET", path="/v1/videos/{video_id}/deliveries", name="list_video_deliveries", view=index,
        tag="Callbacks", summary="The callbacks of a video", description="Each with its attempts, oldest first.",
        parameters=[VIDEO_ID],
        successes=[Success(status=200, description="The callbacks.", schema=answers.DeliveryListSchema)],
        errors={404: "not_found"},
    ),
    Operation(
        method="GET", path="/v1/deliveries", name="list_deliveries", view=all_of_client, tag="Callbacks",
        summary="List callbacks", description="The client's own, newest first unless asked otherwise.",
        query=DeliveryListQuery,
        successes=[Success(status=200, description="A page.", schema=answers.DeliveryListSchema)],
        errors={400: "invalid_value", 404: "not_found"},
    ),
    Operation(
        method="POST", path="/v1/deliveries/redeliver", name="redeliver_failed", view=redeliver_failed, tag="Callbacks",
        summary="Make again what failed",
        description=(
            "Every callback that is `exhausted` or `disabled` and was written since, with the same `webhook-id` and a "
            "new schedule."
        ),
        body=RedeliverySchema,
        successes=[Success(status=202, description="They will be made.", schema=answers.RedeliveredSchema)],
        errors={400: "invalid_value", 413: "body_too_large", 415: "unsupported_content_type"},
    ),
    Operation(
        method="POST", path="/v1/deliveries/{delivery_id}/redeliver", name="redeliver", view=redeliver, tag="Callbacks",
        summary="Make a callback again", description="At once, with the same `webhook-id` and a new schedule.",
        parameters=[Parameter(name="delivery_id", place="path", description="The id of the delivery.")],
        successes=[Success(status=202, description="It will be made.", schema=answers.DeliverySchema)],
        errors={404: "not_found", 409: "endpoint_disabled"},
    ),
)  # fmt: skip
