"""Videos: posting one, looking at it, listing, cancelling, deleting."""

from __future__ import annotations

from flask import Response, jsonify, request

from gateway.api import answers, bodies
from gateway.api.auth import caller
from gateway.api.data_urls import from_data_url
from gateway.api.idempotency import LONGEST_KEY, idempotency_key, sdk_retry
from gateway.api.loading import load
from gateway.api.operation import Operation, Parameter, Success
from gateway.api.paging import listed, query
from gateway.api.presented import POLL_AFTER_HEADER, as_accepted, poll_after_ms, presented, watched
from gateway.api.schemas import NewVideoSchema, Posted, RemixSchema, VideoListQuery
from gateway.api.services import ApiServices
from gateway.api.waiting import wished
from gateway.jobs.errors import InvalidField
from gateway.jobs.intake import NewVideo, ReferenceImage
from gateway.jobs.ports import Acceptance, VideoFilter
from gateway.jobs.view import urls

# Made once: making a schema copies every field of it, which costs more than checking a request.
_NEW_VIDEO, _LIST_QUERY = NewVideoSchema(), VideoListQuery()

VIDEO_ID = Parameter(name="video_id", place="path", description="The id of the video.")


def create(services: ApiServices) -> Response:
    """Accept a video; nothing upstream is waited for."""
    body = bodies.read()
    key, retry = idempotency_key(), sdk_retry()
    posted: Posted = load(_NEW_VIDEO, body.fields)
    accepted = services.intake.accept(
        caller(),
        posted.request,
        _image(services, body, posted),
        idempotency_key=key,
        sdk_retry=retry,
        now=services.queries.now(),
    )
    return _accepted(services, accepted, posted.request.prompt)


def remix(services: ApiServices, video_id: str) -> Response:
    """Accept a remix of a finished video."""
    body = bodies.read()
    key, retry = idempotency_key(), sdk_retry()
    request: NewVideo = load(RemixSchema(), body.fields)
    if body.picture is not None:
        raise InvalidField("input_reference", "A remix takes no picture.", code="unknown_parameter")
    client = caller().client
    accepted = services.intake.remix(
        caller(),
        request,
        video_id,
        lambda: services.queries.job(video_id, client=client),
        idempotency_key=key,
        sdk_retry=retry,
        now=services.queries.now(),
    )
    return _accepted(services, accepted, request.prompt)


def _accepted(services: ApiServices, accepted: Acceptance, prompt: str) -> Response:
    answer = jsonify(as_accepted(services, accepted.job, prompt=prompt))
    answer.status_code = 202
    answer.headers["Location"] = urls(services.public_url, accepted.job.id)["get"]
    answer.headers[POLL_AFTER_HEADER] = str(poll_after_ms(services))
    if accepted.replayed:
        answer.headers["Idempotent-Replayed"] = "true"
    return answer


def _image(services: ApiServices, body: bodies.Body, posted: Posted) -> ReferenceImage | None:
    if body.picture is not None:
        return services.images.read(body.picture)
    return services.images.read(from_data_url(posted.data_url)) if posted.data_url is not None else None


def show(services: ApiServices, video_id: str) -> Response:
    """Show a video, with a fresh link when it is completed."""
    client, wait_s = caller().client, wished(request.headers.get("Prefer", ""))
    job = services.queries.job(video_id, client=client)
    held = wait_s > 0 and (job.final or services.final_videos.hold(video_id, wait_s))
    if held and not job.final:
        job = services.queries.job(video_id, client=client)
    answer = jsonify(presented(services, job) if job.final else watched(services, job, services.queries.now()))
    if not job.final:
        answer.headers[POLL_AFTER_HEADER] = str(poll_after_ms(services))
    if held:
        answer.headers["Preference-Applied"] = f"wait={wait_s}"
    return answer


def index(services: ApiServices) -> Response:
    """List the client's videos."""
    wanted: VideoFilter = load(_LIST_QUERY, query())
    jobs, more = services.queries.jobs(caller().client, wanted)
    return jsonify(listed([presented(services, job) for job in jobs], has_more=more))


def cancel(services: ApiServices, video_id: str) -> Response:
    """Cancel a video; the worker tells the upstream."""
    job = services.recorder.cancel(video_id, client=caller().client, now=services.queries.now())
    return jsonify(presented(services, job))


def delete(services: ApiServices, video_id: str) -> Response:
    """Delete a video; the sweep removes its objects."""
    services.recorder.erase(video_id, client=caller().client, now=services.queries.now())
    return jsonify({"id": video_id, "object": "video.deleted", "deleted": True})


_POLL_AFTER = {POLL_AFTER_HEADER: "After how many milliseconds to ask again."}
_REPEATABLE = (
    Parameter(
        name="Idempotency-Key",
        place="header",
        description="Makes the POST safe to repeat for 24 hours. Printable ASCII.",
        schema={"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
    ),
    Parameter(
        name="x-stainless-retry-count",
        place="header",
        description="Sent by the official SDKs: above 0, an equal video of the last 10 minutes is the answer.",
        schema={"type": "integer", "minimum": 0},
    ),
)
_ACCEPTED = Success(
    status=202,
    description="Accepted.",
    schema=answers.VideoSchema,
    headers={
        "Location": "Where the video is.",
        "Idempotent-Replayed": "`true` where an earlier equal request is answered again.",
        **_POLL_AFTER,
    },
)

OPERATIONS = (
    Operation(
        method="POST", path="/v1/videos", name="create_video", view=create, tag="Videos",
        summary="Post a video",
        description=(
            "Accepts the video and answers at once. It is then submitted, watched, fetched and stored by a worker; "
            "`GET` it again, or give a `callback_url`. JSON, multipart and urlencoded forms are read; in a form, an "
            "object is sent as `metadata[key]`, `extra[key]`, `input_reference[image_url]`, a list as "
            "`callback_events[]`, or as JSON text in one field. The same `Idempotency-Key` and body give the first "
            "answer again for 24 hours."
        ),
        parameters=_REPEATABLE,
        body=NewVideoSchema, file_parts=["input_reference"],
        successes=[_ACCEPTED],
        errors={
            400: "invalid_value", 413: "body_too_large", 415: "unsupported_content_type", 422: "idempotency_key_reused",
        },
    ),
    Operation(
        method="GET", path="/v1/videos", name="list_videos", view=index, tag="Videos",
        summary="List videos", description="The client's own, newest first unless asked otherwise, with links.",
        query=VideoListQuery,
        successes=[Success(status=200, description="A page.", schema=answers.VideoListSchema)],
        errors={400: "invalid_value", 404: "not_found"},
    ),
    Operation(
        method="GET", path="/v1/videos/{video_id}", name="get_video", view=show, tag="Videos",
        summary="Look at a video",
        description=(
            "When completed, `url` is a link that was signed for this answer. `Prefer: wait=N` holds the answer until "
            "the video is final, at most N and 60 seconds; where too many are held already, it comes at once."
        ),
        parameters=[
            VIDEO_ID,
            Parameter(
                name="Prefer", place="header", description="`wait=N`: hold the answer for up to N seconds.",
                schema={"type": "string", "example": "wait=30"},
            ),
        ],
        successes=[Success(
            status=200, description="The video.", schema=answers.VideoSchema,
            headers={"Preference-Applied": "`wait=N` where the answer was held, or needed not be.", **_POLL_AFTER},
        )],
        errors={404: "not_found"},
    ),
    Operation(
        method="DELETE", path="/v1/videos/{video_id}", name="delete_video", view=delete, tag="Videos",
        summary="Delete a video", description="Cancels it if unfinished, ends its callbacks, removes its objects.",
        parameters=[VIDEO_ID],
        successes=[Success(status=200, description="Deleted.", schema=answers.DeletedSchema)],
        errors={404: "not_found"},
    ),
    Operation(
        method="POST", path="/v1/videos/{video_id}/remix", name="remix_video", view=remix, tag="Videos",
        summary="Remix a video",
        description=(
            "Accepts a new video that is made from a finished one and a new prompt, by the upstream that made it and "
            "with the same key; model, size and length stay. 400 `remix_not_available` where that upstream can't."
        ),
        parameters=[VIDEO_ID, *_REPEATABLE],
        body=RemixSchema,
        successes=[_ACCEPTED],
        errors={
            400: "remix_not_available", 404: "not_found", 409: "not_ready", 410: "content_removed",
            413: "body_too_large", 415: "unsupported_content_type", 422: "idempotency_key_reused",
        },
    ),
    Operation(
        method="POST", path="/v1/videos/{video_id}/cancel", name="cancel_video", view=cancel, tag="Videos",
        summary="Cancel a video", description="Stops it here and, where the upstream can, there.",
        parameters=[VIDEO_ID],
        successes=[Success(status=200, description="Cancelled.", schema=answers.VideoSchema)],
        errors={404: "not_found", 409: "already_final"},
    ),
)  # fmt: skip
