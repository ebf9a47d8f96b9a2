"""Account-wide webhook endpoints, in the official SDKs' shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, jsonify

from gateway.api import bodies
from gateway.api import endpoint_answers as shapes
from gateway.api.auth import caller
from gateway.api.callback_schemas import (
    EndpointChangeSchema,
    EndpointTestSchema,
    NewEndpointSchema,
    PageQuery,
    RotationSchema,
)
from gateway.api.errors import ReceiverSilent
from gateway.api.loading import load
from gateway.api.operation import Operation, Parameter, Success
from gateway.api.paging import listed, query
from gateway.api.services import ApiServices
from gateway.jobs.errors import InvalidField
from gateway.jobs.ports import Endpoint, EndpointChange
from gateway.jobs.refusal_codes import RefusalCode
from gateway.webhooks.events import TYPES

_ANSWERED_WITHIN_S = 20.0
"""How long a test is waited for: the whole of an attempt by default, and a little."""


def create(services: ApiServices) -> Response:
    """Make an endpoint; its secret is shown this once."""
    given: dict[str, Any] = load(NewEndpointSchema(), bodies.read().fields)
    _check_target(services, given["url"])
    return jsonify(
        _with_secret(services, services.endpoints.create(caller().client, **given, now=services.queries.now()))
    )


def index(services: ApiServices) -> Response:
    """List the client's endpoints."""
    wanted: dict[str, Any] = load(PageQuery(), query())
    found, more = services.endpoints.page(caller().client, limit=wanted["limit"], after=wanted.get("after"))
    return jsonify(listed([_shown(services, endpoint) for endpoint in found], has_more=more))


def show(services: ApiServices, webhook_endpoint_id: str) -> Response:
    """Show an endpoint."""
    return jsonify(_shown(services, services.endpoints.endpoint(webhook_endpoint_id, client=caller().client)))


def update(services: ApiServices, webhook_endpoint_id: str) -> Response:
    """Change an endpoint, or turn it on again."""
    change: EndpointChange = load(EndpointChangeSchema(), bodies.read().fields)
    client = caller().client
    services.endpoints.endpoint(webhook_endpoint_id, client=client)
    if change.url is not None:
        _check_target(services, change.url)
    now = services.queries.now()
    return jsonify(_shown(services, services.endpoints.change(webhook_endpoint_id, change, client=client, now=now)))


def delete(services: ApiServices, webhook_endpoint_id: str) -> Response:
    """Delete an endpoint; what is still to be sent there is not."""
    services.endpoints.delete(webhook_endpoint_id, client=caller().client, now=services.queries.now())
    return jsonify({"id": webhook_endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True})


def rotate_secret(services: ApiServices, webhook_endpoint_id: str) -> Response:
    """Give an endpoint a new secret."""
    keep = bool(load(RotationSchema(), bodies.read().fields)["keep_old_secret_active_for_24_hours"])
    rotated = services.endpoints.rotate_secret(
        webhook_endpoint_id, client=caller().client, keep_old=keep, now=services.queries.now()
    )
    return jsonify(_with_secret(services, rotated))


def test(services: ApiServices, webhook_endpoint_id: str) -> Response:
    """Send a made-up event the way that every other goes, and say what the receiver answered if it does so soon."""
    type_ = load(EndpointTestSchema(), bodies.read().fields).get("event_type")
    delivery_id, told = services.endpoints.test(
        webhook_endpoint_id, type_, client=caller().client, now=services.queries.now()
    )
    services.made_attempts.hold(delivery_id, _ANSWERED_WITHIN_S)
    attempt = services.queries.first_attempt(delivery_id)
    if attempt is not None and attempt.status is None:
        message = f"The receiver gave no answer ({attempt.error}). It is tried again like every callback."
        raise ReceiverSilent(message, code="receiver_silent")
    answer = jsonify(
        {
            "object": "webhook_endpoint.test",
            "webhook_endpoint_id": webhook_endpoint_id,
            "event_type": told,
            "delivery_id": delivery_id,
            "status_code": attempt.status if attempt is not None else None,
            "success": True,
        }
    )
    answer.status_code = 200 if attempt is not None else 202
    return answer


def event_types(services: ApiServices) -> Response:
    """List what an endpoint can subscribe to."""
    del services
    return jsonify({"object": "list", "data": list(TYPES)})


def _check_target(services: ApiServices, url: str) -> None:
    refusal = services.target_refusal(url)
    if refusal is not None:
        raise InvalidField("url", f"The endpoint's URL is refused: {refusal}")


def _shown(services: ApiServices, endpoint: Endpoint) -> dict[str, object]:
    secret = services.endpoint_secret(endpoint.id, endpoint.secret_version)
    return {
        "id": endpoint.id,
        "object": "webhook_endpoint",
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": list(endpoint.event_types),
        "enabled": endpoint.disabled_at is None,
        "disabled_at": int(endpoint.disabled_at) if endpoint.disabled_at is not None else None,
        "signing_secret_hint": f"whsec_…{secret[-4:]}",
        "created_at": int(endpoint.created_at),
        "updated_at": int(endpoint.updated_at),
    }


def _with_secret(services: ApiServices, endpoint: Endpoint) -> dict[str, object]:
    secret = services.endpoint_secret(endpoint.id, endpoint.secret_version)
    return {**_shown(services, endpoint), "signing_secret": secret}


_ID = Parameter(name="webhook_endpoint_id", place="path", description="The id of the endpoint.")
_PATH = "/v1/webhook_endpoints"
_ONE = f"{_PATH}/{{webhook_endpoint_id}}"
_BODY_ERRORS: Mapping[int, RefusalCode] = {
    400: "invalid_value",
    413: "body_too_large",
    415: "unsupported_content_type",
}

OPERATIONS = (
    Operation(
        method="POST", path=_PATH, name="create_webhook_endpoint", view=create, tag="Webhook endpoints",
        summary="Make an endpoint",
        description=(
            "Every event of the client's videos that it subscribes to is sent there, beside a video's own "
            "`callback_url`, and signed with the endpoint's own secret, which is shown this once."
        ),
        body=NewEndpointSchema,
        successes=[Success(status=200, description="The endpoint.", schema=shapes.EndpointWithSecretSchema)],
        errors={**_BODY_ERRORS, 409: "too_many_endpoints"},
    ),
    Operation(
        method="GET", path=_PATH, name="list_webhook_endpoints", view=index, tag="Webhook endpoints",
        summary="List endpoints", description="The client's own, newest first.", query=PageQuery,
        successes=[Success(status=200, description="A page.", schema=shapes.EndpointListSchema)],
        errors={400: "invalid_value", 404: "not_found"},
    ),
    Operation(
        method="GET", path=_ONE, name="get_webhook_endpoint", view=show, tag="Webhook endpoints",
        summary="Look at an endpoint", description="Without its secret.", parameters=[_ID],
        successes=[Success(status=200, description="The endpoint.", schema=shapes.EndpointSchema)],
        errors={404: "not_found"},
    ),
    Operation(
        method="POST", path=_ONE, name="update_webhook_endpoint", view=update, tag="Webhook endpoints",
        summary="Change an endpoint",
        description="What is pending follows a new URL. `enabled: true` turns on again what a 410 turned off.",
        parameters=[_ID], body=EndpointChangeSchema,
        successes=[Success(status=200, description="The endpoint.", schema=shapes.EndpointSchema)],
        errors={**_BODY_ERRORS, 404: "not_found"},
    ),
    Operation(
        method="DELETE", path=_ONE, name="delete_webhook_endpoint", view=delete, tag="Webhook endpoints",
        summary="Delete an endpoint", description="Ends what is still to be sent there.", parameters=[_ID],
        successes=[Success(status=200, description="Deleted.", schema=shapes.EndpointDeletedSchema)],
        errors={404: "not_found"},
    ),
    Operation(
        method="POST", path=f"{_ONE}/test", name="test_webhook_endpoint", view=test, tag="Webhook endpoints",
        summary="Send a test event",
        description=(
            "A made-up event with `data.metadata.test`, signed and sent by the worker as every other. The answer waits "
            f"up to {_ANSWERED_WITHIN_S:.0f} seconds for the receiver's; where too many wait already, it comes at once."
        ),
        parameters=[_ID], body=EndpointTestSchema,
        successes=[
            Success(
                status=200, description="What the receiver answered.", schema=shapes.EndpointTestResultSchema,
            ),
            Success(
                status=202, description="It will be sent.", schema=shapes.EndpointTestResultSchema,
            ),
        ],
        errors={**_BODY_ERRORS, 404: "not_found", 409: "endpoint_disabled", 424: "receiver_silent"},
    ),
    Operation(
        method="POST", path=f"{_ONE}/rotate_secret", name="rotate_webhook_endpoint_secret", view=rotate_secret,
        tag="Webhook endpoints", summary="Rotate an endpoint's secret",
        description="For 24 hours both secrets sign, unless `keep_old_secret_active_for_24_hours` is false.",
        parameters=[_ID], body=RotationSchema,
        successes=[Success(
            status=200, description="The endpoint with its new secret.", schema=shapes.EndpointWithSecretSchema,
        )],
        errors={**_BODY_ERRORS, 400: "invalid_type", 404: "not_found"},
    ),
    Operation(
        method="GET", path="/v1/webhook_event_types", name="list_webhook_event_types", view=event_types,
        tag="Webhook endpoints", summary="List event types", description="What an endpoint can subscribe to.",
        successes=[Success(status=200, description="All of them.", schema=shapes.EventTypeListSchema)],
    ),
)  # fmt: skip
