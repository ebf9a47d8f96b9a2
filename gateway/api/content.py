"""The content of a finished video: a redirect to a fresh link, or the bytes themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import ExitStack

from flask import Response, request
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from gateway.api.auth import caller
from gateway.api.errors import VariantMissing
from gateway.api.operation import Operation, Parameter, Success
from gateway.api.services import ApiServices
from gateway.api.videos import VIDEO_ID
from gateway.jobs.errors import InvalidField, Unavailable
from gateway.jobs.finished import stored_of
from gateway.jobs.job import Job, Stored
from gateway.jobs.view import filename

VARIANTS = ("video", "thumbnail", "spritesheet")

_OTHER_TYPES = ("video/webm", "image/webp", "image/jpeg", "image/png")
_PASSED_ON = ("Content-Type", "Content-Length", "Content-Range", "ETag", "Last-Modified")


def content(services: ApiServices, video_id: str) -> Response:
    """Answer with the content of a completed video."""
    variant = request.args.get("variant", "video")
    if variant not in VARIANTS:
        raise InvalidField("variant", f"Expected one of: {', '.join(VARIANTS)}.")
    job = services.queries.job(video_id, client=caller().client)
    stored, name = stored_of(job), filename(job)
    if variant != "video":
        stored, name = _beside(job, variant), filename(job, variant)
    if services.content_mode == "redirect":
        return _redirect(services, stored, name)
    return _head(stored, name) if request.method == "HEAD" else _stream(services, stored, name)


def _beside(job: Job, variant: str) -> Stored:
    found = job.variants.get(variant)
    if found is None:
        raise VariantMissing(f"This video has no {variant}.", code="variant_not_available", param="variant")
    return found


def _redirect(services: ApiServices, stored: Stored, name: str) -> Response:
    link = services.bucket.link(stored.object_key, now=services.wall(), ttl_s=services.url_ttl_s, filename=name)
    return Response(status=302, headers={"Location": link.url})


def _stream(services: ApiServices, stored: Stored, name: str) -> Response:
    if not services.streams.acquire(blocking=False):
        raise Unavailable("Too many contents are being passed through right now.", code="unavailable")
    with ExitStack() as stack:
        stack.callback(services.streams.release)
        download = stack.enter_context(services.bucket.open(stored.object_key, range_header=_range()))
        if download.status == 416:
            raise RequestedRangeNotSatisfiable(stored.size)
        given = {name.lower(): value for name, value in download.headers.items()}
        passed = {name: given[name.lower()] for name in _PASSED_ON if name.lower() in given}
        answer = _bytes(name, download.blocks, download.status, passed)
        # From here on the server's closing of the answer gives the slot and the connection back.
        answer.call_on_close(stack.pop_all().close)
        return answer
    raise AssertionError  # an ExitStack whose callbacks return nothing swallows no exception


def _head(stored: Stored, name: str) -> Response:
    return _bytes(name, (), 200, {"Content-Type": stored.content_type, "Content-Length": str(stored.size)})


def _bytes(name: str, blocks: Iterable[bytes], status: int, headers: dict[str, str]) -> Response:
    # Not as `direct_passthrough`, which would leave out the call on close that gives the place back.
    answer = Response(blocks, status=status, headers=headers)
    answer.headers["Accept-Ranges"] = "bytes"
    answer.headers["Content-Disposition"] = f'inline; filename="{name}"'
    return answer


def _range() -> str | None:
    """Return the Range header where it asks for one plain range; any other may be ignored by HTTP's rules."""
    given = request.headers.get("Range", "")
    return given if re.fullmatch(r"bytes=([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})", given, re.ASCII) else None


OPERATIONS = (
    Operation(
        method="GET", path="/v1/videos/{video_id}/content", name="get_video_content", view=content, tag="Videos",
        summary="Download a video",
        description=(
            "Redirects to a link that was signed for this answer. With `GATEWAY_CONTENT=stream` the bytes themselves, "
            "ranges too; 503 where too many are being passed through. `variant=thumbnail` and `spritesheet` are what "
            "the upstream made beside the video, where it made any; else 404 `variant_not_available`. A page in a "
            "browser may be kept from following to the bucket: open the video's `url` there."
        ),
        parameters=[
            VIDEO_ID,
            Parameter(
                name="variant", place="query", description="What to download.",
                schema={"type": "string", "enum": list(VARIANTS), "default": "video"},
            ),
            Parameter(name="Range", place="header", description="A range, where the bytes are passed through."),
        ],
        successes=[
            Success(status=200, description="The bytes.", content_type="video/mp4", other_types=_OTHER_TYPES),
            Success(
                status=206, description="A range of the bytes.", content_type="video/mp4", other_types=_OTHER_TYPES
            ),
            Success(status=302, description="The link.", headers={"Location": "A presigned link."}),
        ],
        errors={
            400: "invalid_value", 404: "variant_not_available", 409: "not_ready", 410: "content_removed",
            416: "requested_range_not_satisfiable",
        },
    ),
)  # fmt: skip
