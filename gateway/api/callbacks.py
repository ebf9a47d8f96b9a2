"""What the document says of callbacks: the requests that this gateway sends, as OpenAPI's webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apispec import APISpec
from marshmallow import fields, validate

from gateway.api.answers import AnswerSchema, VideoSchema
from gateway.api.examples import CALLBACKS, example
from gateway.webhooks.events import TYPES

_WHEN: Mapping[str, str] = {
    "video.completed": "The video lies whole in the bucket.",
    "video.failed": "There will be no video; its error says why.",
    "video.cancelled": "The video was cancelled. Sent where it was subscribed to.",
    "video.in_progress": "The progress changed, told at most once a poll. Sent where it was subscribed to.",
}

HEADERS: Mapping[str, str] = {
    "webhook-id": "The event's id, the same on every attempt: drop what you have seen.",
    "webhook-timestamp": "When this attempt was signed, in Unix seconds. Refuse what is over five minutes off.",
    "webhook-signature": "`v1,` and the base64 of an HMAC-SHA256; several, with spaces between, at a rotation.",
    "gateway-attempt": "Counts the tries of this callback, from 1.",
}

_DESCRIPTION = """\
Signed after [Standard Webhooks](https://www.standardwebhooks.com/). Answer 2xx within `GATEWAY_WEBHOOK_TIMEOUT_S`;
anything else, a redirect too, is tried again by `GATEWAY_WEBHOOK_SCHEDULE_S`. It may come more than once.
"""

_ANSWERS: Mapping[str, str] = {
    "2XX": "Received. The body is not looked at.",
    "410": "Never send this again; an account-wide endpoint is turned off.",
    "429": "Try later: `Retry-After` is heeded, up to a day. So it is on any other status that is no 2xx.",
}


class CallbackVideoSchema(VideoSchema):
    """The video as of the event, without its prompt: a small body gets through everywhere."""

    class Meta(VideoSchema.Meta):
        """Options."""

        exclude = ("prompt", "queue_position", "estimated_completion_at")


class CallbackSchema(AnswerSchema):
    """The body of a callback."""

    id = fields.String(required=True, metadata={"description": "The event's id: the `webhook-id`."})
    object = fields.String(required=True, validate=validate.OneOf(["event"]))
    type = fields.String(required=True, validate=validate.OneOf(TYPES))
    created_at = fields.Integer(required=True, metadata={"description": "When it happened. Unix seconds."})
    data = fields.Nested(CallbackVideoSchema, required=True)


def described(spec: APISpec) -> dict[str, Any]:
    """Return OpenAPI's `webhooks`, whose schema is added to the document."""
    spec.components.schema("Callback", schema=CallbackSchema)
    return {type_: {"post": _described(type_)} for type_ in TYPES}


def _described(type_: str) -> dict[str, Any]:
    recorded = example(CALLBACKS, type_)
    content = {"schema": {"$ref": "#/components/schemas/Callback"}, "example": recorded["body"]}
    return {
        "operationId": f"on_{type_.replace('.', '_')}",
        "summary": _WHEN[type_],
        "description": _DESCRIPTION,
        "security": [],
        "parameters": [_header(name, text, recorded["headers"][name]) for name, text in HEADERS.items()],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {status: {"description": text} for status, text in _ANSWERS.items()},
    }


def _header(name: str, text: str, value: str) -> dict[str, Any]:
    return {
        "name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"},
        "example": value,
    }  # fmt: skip
