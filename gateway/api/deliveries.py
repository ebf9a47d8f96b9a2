"""Deliveries: the callbacks of a video, and making one again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from flask import Response, jsonify

from gateway.api import answers
from gateway.api.auth import caller
from gateway.api.operation import Operation, Parameter, Success
from gateway.api.paging import listed
from gateway.api.services import ApiServices
from gateway.api.videos import VIDEO_ID
from gateway.jobs.ports import DeliveryRecord


def index(services: ApiServices, video_id: str) -> Response:
    """List the callbacks of a video with their attempts."""
    job = services.queries.job(video_id, client=caller().client)
    return jsonify(listed([_shown(record) for record in services.queries.deliveries(job.id)]))


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
        successes=[Success(
            status=200, description="The callbacks.", schema=answers.DeliveryListSchema,
            example=answers.page(answers.DELIVERY),
        )],
        errors={404: "not_found"},
    ),
    Operation(
        method="POST", path="/v1/deliveries/{delivery_id}/redeliver", name="redeliver", view=redeliver, tag="Callbacks",
        summary="Make a callback again", description="At once, with the same `webhook-id` and a new schedule.",
        parameters=[Parameter(name="delivery_id", place="path", description="The id of the delivery.")],
        successes=[Success(
            status=202, description="It will be made.", schema=answers.DeliverySchema,
            example={**answers.DELIVERY, "status": "pending", "next_attempt_at": 1796000200},
        )],
        errors={404: "not_found", 409: "delivery_in_progress"},
    ),
)  # fmt: skip
