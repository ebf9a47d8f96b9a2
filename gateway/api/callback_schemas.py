"""What a request about callbacks may say: deliveries and endpoints."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, post_load, validate

from gateway.api.loading import errors
from gateway.api.schemas import PAGE_MAX, StrictSchema, doc, text
from gateway.jobs.ports import DeliveryFilter

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
