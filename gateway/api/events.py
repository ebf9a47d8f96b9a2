"""What happened to a video, in order."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response, jsonify

from gateway.api import answers
from gateway.api.auth import caller
from gateway.api.operation import Operation, Success
from gateway.api.paging import listed
from gateway.api.services import ApiServices
from gateway.api.videos import VIDEO_ID
from gateway.jobs.job import SHOWN_AS, Status
from gateway.jobs.ports import Event

ONLY_ADMIN = frozenset({"answer", "upstream", "key", "upstream_job_id", "cost"})
"""Details that name an upstream, quote it or tell its price. A callback's `answer` is the client's own receiver's."""


def index(services: ApiServices, video_id: str) -> Response:
    """List the events of a video; an admin key sees the upstream's raw answers too."""
    who = caller()
    job = services.queries.job(video_id, client=who.client)
    return jsonify(listed([_shown(event, admin=who.admin) for event in services.queries.events(job.id)]))


def _shown(event: Event, *, admin: bool) -> Mapping[str, object]:
    hidden = frozenset() if admin or event.event == "callback" else ONLY_ADMIN
    return {
        "object": "video.event",
        "at": round(event.at, 3),
        "event": event.event,
        "status_before": _word(event.status_before),
        "status": _word(event.status),
        "detail": {name: value for name, value in event.detail.items() if name not in hidden},
    }


def _word(status: str | None) -> str | None:
    return SHOWN_AS[Status(status)] if status is not None else None


OPERATIONS = (
    Operation(
        method="GET", path="/v1/videos/{video_id}/events", name="list_video_events", view=index, tag="Videos",
        summary="What happened to a video", description="Transitions, polls that brought news, callback attempts.",
        parameters=[VIDEO_ID],
        successes=[Success(status=200, description="The events.", schema=answers.EventListSchema)],
        errors={404: "not_found"},
    ),
)  # fmt: skip
