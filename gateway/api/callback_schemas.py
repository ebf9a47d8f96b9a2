"""What a request about callbacks may say: deliveries and endpoints."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, post_load, validate

from gateway.api.loading import errors
from gateway.api.schemas import PAGE_MAX, URL_MAX, StrictSchema, check_distinct, check_url, doc, text
from gateway.jobs.ports import DeliveryFilter, EndpointChange
from gateway.webhooks.events import TYPES

DELIVERY_STATUSES = ("pending", "delivered", "exhausted", "disabled")

_LATEST = 4_102_444_800  # the year 2100
_INSTANT = f"Unix seconds, a number from 0 to {_LATEST}"


def _since(description: str, **options: Any) -> fields.Integer:
    return fields.Integer(
        validate=validate.Range(0, _LATEST, error=f"expected {_INSTANT}."),
        error_messages={**errors(_INSTANT), "too_large": f"expected {_INSTANT}."},
        metadata=doc(f"{description} Unix seconds."),
        **options,
    )


class PageQuery(StrictSchema):
    """What the query of every list may hold."""

    limit = fields.Integer(
        load_default=20,
        validate=validate.Range(0, PAGE_MAX, error=f"expected a number from 0 to {PAGE_MAX}."),
        error_messages={**errors(f"a number from 0 to {PAGE_MAX}"), "too_large": f"expected 0 to {PAGE_MAX}."},
        metadata=doc("How many a page has at most."),
    )
    after = text(100, "the id of the last one seen", metadata=doc("The `last_id` of the page before."))


class DeliveryListQuery(PageQuery):
    """The query of `GET /v1/deliveries`."""

    order = fields.String(
        load_default="desc",
        validate=validate.OneOf(["asc", "desc"], error="expected one of: {choices}."),
        metadata=doc("By the time at which they were written: `desc` is newest first."),
    )
    status = fields.String(
        validate=validate.OneOf(DELIVERY_STATUSES, error="expected one of: {choices}."),
        metadata=doc("Only deliveries in this status."),
    )
    since = _since("Only those written at this time or later.")

    @post_load
    def _make(self, given: dict[str, Any], **options: object) -> DeliveryFilter:
        del options
        return DeliveryFilter(newest_first=given.pop("order") == "desc", **given)


class RedeliverySchema(StrictSchema):
    """The fields of `POST /v1/deliveries/redeliver`."""

    since = _since("Those written at this time or later.", required=True)


def _name(**options: Any) -> fields.String:
    return text(200, "a name of 1 to 200 characters", metadata=doc("A name for people to read."), **options)


def _url(**options: Any) -> fields.String:
    return fields.String(
        validate=check_url,
        error_messages=errors("an absolute http:// or https:// URL"),
        metadata=doc(
            "Where its callbacks go: a public address.", examples=["https://example.com/hook"], format="uri",
            maxLength=URL_MAX,
        ),
        **options,
    )  # fmt: skip


def _type(**options: Any) -> fields.String:
    return fields.String(
        validate=validate.OneOf(TYPES, error="expected events among: {choices}."),
        error_messages=errors(f"events among: {', '.join(TYPES)}"),
        **options,
    )


def _types(**options: Any) -> fields.List[Any]:
    return fields.List(
        _type(),
        validate=[validate.Length(min=1, error="expected at least one event."), check_distinct],
        error_messages=errors(f"a list of events among: {', '.join(TYPES)}"),
        metadata=doc("Which events of all videos are told."),
        **options,
    )


def _flag(description: str, **options: Any) -> fields.Boolean:
    return fields.Boolean(
        truthy={True, "true"}, falsy={False, "false"}, error_messages=errors("true or false"),
        metadata=doc(description), **options,
    )  # fmt: skip


class NewEndpointSchema(StrictSchema):
    """The fields of `POST /v1/webhook_endpoints`."""

    name = _name(required=True)
    url = _url(required=True)
    event_types = _types(required=True)


class EndpointChangeSchema(StrictSchema):
    """The fields of `POST /v1/webhook_endpoints/{id}`; what is left out stays."""

    name = _name()
    url = _url()
    event_types = _types()
    enabled = _flag("`true` turns on again what a 410 turned off.")

    @post_load
    def _make(self, given: dict[str, Any], **options: object) -> EndpointChange:
        del options
        return EndpointChange(**given)


class RotationSchema(StrictSchema):
    """The fields of `POST /v1/webhook_endpoints/{id}/rotate_secret`."""

    keep_old_secret_active_for_24_hours = _flag(
        "`false`: only the new secret signs from now on. Left out: both sign for 24 hours.", load_default=True
    )


class EndpointTestSchema(StrictSchema):
    """The fields of `POST /v1/webhook_endpoints/{id}/test`."""

    event_type = _type(metadata=doc("The event to make up. Left out: the first that the endpoint subscribes to."))
