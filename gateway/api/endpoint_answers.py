"""What the answers about webhook endpoints look like, for the OpenAPI document."""

from __future__ import annotations

from marshmallow import fields, validate

from gateway.api.answers import AnswerSchema, PageSchema


class EndpointSchema(AnswerSchema):
    """An account-wide webhook endpoint."""

    id = fields.String(required=True)
    object = fields.String(required=True, validate=validate.OneOf(["webhook_endpoint"]))
    name = fields.String(required=True)
    url = fields.String(required=True)
    event_types = fields.List(fields.String(), required=True)
    enabled = fields.Boolean(
        required=True, metadata={"description": "False after a 410, or where it was turned off; nothing is sent then."}
    )
    disabled_at = fields.Integer(required=True, allow_none=True)
    signing_secret_hint = fields.String(
        required=True, metadata={"description": "The end of the secret that signs; the secret itself is shown once."}
    )
    created_at = fields.Integer(required=True)
    updated_at = fields.Integer(required=True)


class EndpointWithSecretSchema(EndpointSchema):
    """An endpoint at its creation or at the rotation of its secret."""

    signing_secret = fields.String(required=True, metadata={"description": "Shown this once."})


class EndpointListSchema(PageSchema):
    """A page of endpoints, newest first."""

    data = fields.List(fields.Nested(EndpointSchema), required=True)


class EndpointDeletedSchema(AnswerSchema):
    """An endpoint that was deleted."""

    id = fields.String(required=True)
    object = fields.String(required=True, validate=validate.OneOf(["webhook_endpoint.deleted"]))
    deleted = fields.Boolean(required=True)


class EndpointTestResultSchema(AnswerSchema):
    """A test event that was sent, or will be."""

    object = fields.String(required=True, validate=validate.OneOf(["webhook_endpoint.test"]))
    webhook_endpoint_id = fields.String(required=True)
    event_type = fields.String(required=True)
    delivery_id = fields.String(required=True, metadata={"description": "Look for it in `GET /v1/deliveries`."})
    status_code = fields.Integer(
        required=True, allow_none=True, metadata={"description": "What the receiver answered; null: nothing yet."}
    )
    success = fields.Boolean(required=True, metadata={"description": "True: it was sent, or will be."})


class EventTypeListSchema(AnswerSchema):
    """The names of events."""

    object = fields.String(required=True, validate=validate.OneOf(["list"]))
    data = fields.List(fields.String(), required=True)
