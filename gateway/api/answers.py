"""What the answers look like, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from gateway.api.schemas import STATUSES
from gateway.jobs.codes import CODES
from gateway.webhooks.events import TYPES


def _of(field: type[fields.Field[Any]], description: str, *, null: bool = False, **more: Any) -> Any:
    return field(required=True, allow_none=null, metadata={"description": description}, **more)


def _word(description: str, *words: str) -> Any:
    return _of(fields.String, description, validate=validate.OneOf(words))


def _instant(description: str, *, null: bool = False) -> Any:
    return _of(fields.Integer, f"{description} Unix seconds.", null=null)


class AnswerSchema(Schema):
    """An answer; it may get more fields in a later version."""

    class Meta:
        """Options."""

        unknown = EXCLUDE


class ErrorDetailSchema(AnswerSchema):
    """What went wrong with a request."""

    message = _of(fields.String, "What is wrong, and what is allowed.")
    type = _of(fields.String, "The kind of error.")
    param = _of(fields.String, "The field that is wrong.", null=True)
    code = _of(fields.String, "A stable name.", null=True)


class ErrorSchema(AnswerSchema):
    """The body of every error answer."""

    error = fields.Nested(ErrorDetailSchema, required=True)


class FailureSchema(AnswerSchema):
    """Why a video failed."""

    code = _word("A stable name.", *CODES)
    message = _of(fields.String, "The reason in words.")


class ContentSchema(AnswerSchema):
    """The finished object in the bucket."""

    bytes = _of(fields.Integer, "Its length.")
    sha256 = _of(fields.String, "Its hash in hex.")
    content_type = _of(fields.String, "Its type.")


class UrlsSchema(AnswerSchema):
    """Where the video and what belongs to it can be asked for."""

    get = _of(fields.String, "The video object.")
    content = _of(fields.String, "Its content.")
    events = _of(fields.String, "What happened to it.")
    cancel = _of(fields.String, "Where a POST cancels it.")


class VideoSchema(AnswerSchema):
    """A video."""

    id = _of(fields.String, "Its id.")
    object = _word("Always `video`.", "video")
    model = _of(fields.String, "The model by the name it was asked for.")
    status = _word("`completed` is shown once the object lies whole in the bucket.", *STATUSES)
    progress = _of(fields.Integer, "Percent, as the upstream estimates it.", validate=validate.Range(0, 100))
    prompt = _of(fields.String, "The prompt; null once the video's time here is over.", null=True)
    size = _of(fields.String, "Width x height.")
    seconds = _of(fields.String, "Length.")
    created_at = _instant("When it was accepted.")
    completed_at = _instant("When it was completed.", null=True)
    expires_at = _instant("When its content will be removed from the bucket.", null=True)
    error = fields.Nested(FailureSchema, required=True, allow_none=True)
    remixed_from_video_id = _of(fields.String, "The video that it is a remix of.", null=True)
    url = _of(fields.String, "A link to the content that needs no key, signed for this answer.", null=True)
    url_expires_at = _instant("When that link stops working.", null=True)
    content = fields.Nested(ContentSchema, required=True, allow_none=True)
    callback_url = _of(fields.String, "Where its callbacks go.", null=True)
    metadata = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    urls = fields.Nested(UrlsSchema, required=True)
    queue_position = _of(
        fields.Integer,
        "1: the next of its model, in the turns that clients take; 0: being handed to the upstream. Only in answers "
        "about one video.",
        null=True,
    )
    estimated_completion_at = _instant(
        "From the usual duration of this model, size and length, the queue left out. Only in answers about one video.",
        null=True,
    )


class PageSchema(AnswerSchema):
    """What every list has."""

    object = _word("Always `list`.", "list")
    first_id = _of(fields.String, "The id of the first.", null=True)
    last_id = _of(fields.String, "The id of the last: `after` of the next page.", null=True)
    has_more = _of(fields.Boolean, "Whether there is another page.")


class VideoListSchema(PageSchema):
    """A page of videos."""

    data = fields.List(fields.Nested(VideoSchema), required=True)


class DeletedSchema(AnswerSchema):
    """A video that was deleted."""

    id = _of(fields.String, "Its id.")
    object = _word("Always `video.deleted`.", "video.deleted")
    deleted = _of(fields.Boolean, "Always true.")


class EventSchema(AnswerSchema):
    """One thing that happened to a video."""

    object = _word("Always `video.event`.", "video.event")
    at = _of(fields.Float, "When, in Unix seconds.")
    event = _of(fields.String, "What happened.")
    status_before = _of(fields.String, "The status before.", null=True)
    status = _of(fields.String, "The status after.", null=True)
    detail = fields.Dict(
        required=True, metadata={"description": "More. An admin key also sees the upstream's raw answer."}
    )


class EventListSchema(PageSchema):
    """What happened to a video, in order."""

    data = fields.List(fields.Nested(EventSchema), required=True)


class AttemptSchema(AnswerSchema):
    """One try at a callback."""

    number = _of(fields.Integer, "The `gateway-attempt` header.")
    started_at = _of(fields.Float, "When it began, in Unix seconds.")
    finished_at = _of(fields.Float, "When it ended.", null=True)
    outcome = _of(fields.String, "What came of it.")
    status = _of(fields.Integer, "The HTTP status that came back.", null=True)
    latency_ms = _of(fields.Integer, "How long it took.", null=True)
    answer = _of(fields.String, "The start of the answer.")
    error = _of(fields.String, "What went wrong.")


class DeliverySchema(AnswerSchema):
    """One callback to make."""

    id = _of(fields.String, "Its id.")
    object = _word("Always `delivery`.", "delivery")
    event_id = _of(fields.String, "The `webhook-id` of every attempt.")
    type = _word("The event that it tells of.", *TYPES)
    video_id = _of(fields.String, "The video that it tells of; null: the test of an endpoint.", null=True)
    webhook_endpoint_id = _of(
        fields.String, "The endpoint it goes to; null: the video's own `callback_url`.", null=True
    )
    url = _of(fields.String, "Where it goes.")
    status = _of(fields.String, "`pending`, `delivered`, `exhausted` or `disabled`.")
    created_at = _instant("When it was written.")
    next_attempt_at = _instant("When it is tried next.", null=True)
    attempts = fields.List(fields.Nested(AttemptSchema), required=True)


class DeliveryListSchema(PageSchema):
    """The callbacks of a video."""

    data = fields.List(fields.Nested(DeliverySchema), required=True)


class RedeliveredSchema(AnswerSchema):
    """What is sent again."""

    object = _word("Always `delivery.redelivered`.", "delivery.redelivered")
    count = _of(fields.Integer, "How many deliveries are made again.")
    has_more = _of(fields.Boolean, "Whether more failed than are made again at one request: post it once more.")


class ModelSchema(AnswerSchema):
    """A model that this gateway routes."""

    id = _of(fields.String, "The name to ask for.")
    object = _word("Always `model`.", "model")
    created = _instant("Not known here: 0.")
    owned_by = _of(fields.String, "Always `sora-gateway`.")
    sizes = fields.List(fields.String(), required=True, metadata={"description": "First the default; empty: any."})
    seconds = fields.List(fields.String(), required=True, metadata={"description": "Lengths; empty: any."})
    default_size = _of(fields.String, "The size where none is asked for.")
    default_seconds = _of(fields.String, "The length where none is asked for.")
    prompt_max_characters = _of(fields.Integer, "The longest prompt.")
    extra = fields.List(fields.String(), required=True, metadata={"description": "What `extra` may hold."})


class ModelListSchema(PageSchema):
    """The models that this gateway routes."""

    data = fields.List(fields.Nested(ModelSchema), required=True)


class HealthSchema(AnswerSchema):
    """The process is alive."""

    status = _word("Always `ok`.", "ok")


class PausedKeySchema(AnswerSchema):
    """An upstream key on which nothing is submitted right now."""

    upstream = _of(fields.String, "The upstream.")
    key = _of(fields.String, "The key's name.")
    since = _instant("Since when.")
    reason = _of(fields.String, "Why.", null=True)


class ReadinessSchema(AnswerSchema):
    """Whether requests are answered well here."""

    status = _word("`ready`, or why not.", "ready", "stopping", "database_unavailable", "schema_outdated")
    worker_heartbeat_age_s = _of(
        fields.Float, "Seconds since a worker's last sign of life; null: never seen.", null=True
    )
    paused_keys = fields.List(fields.Nested(PausedKeySchema), required=True)
