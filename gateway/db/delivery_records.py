"""Deliveries as they are shown: with their attempts, by video or page by page."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from gateway.db.tables import attempts, deliveries, jobs
from gateway.jobs.errors import NotFound
from gateway.jobs.ports import Attempt, DeliveryFilter, DeliveryRecord

ATTEMPT = ("number", "started_at", "finished_at", "outcome", "status", "latency_ms", "answer", "error")
"""What is shown of an attempt."""


def delivery_records(connection: Connection, which: sa.ColumnElement[bool]) -> Sequence[DeliveryRecord]:
    """Return the deliveries that a condition picks, oldest first, each with its attempts."""
    rows = (
        connection.execute(sa.select(deliveries).where(which).order_by(deliveries.c.created_at, deliveries.c.id))
        .mappings()
        .all()
    )
    tries: dict[str, list[Attempt]] = {row["id"]: [] for row in rows}
    made = sa.select(attempts).where(attempts.c.delivery_id.in_(list(tries))).order_by(attempts.c.number)
    for row in connection.execute(made).mappings():
        tries[row["delivery_id"]].append(attempt_of(row))
    return [
        DeliveryRecord(
            id=row["id"],
            event_id=row["event_id"],
            type=row["type"],
            video_id=row["job_id"],
            endpoint_id=row["endpoint_id"],
            url=row["url"],
            status=row["status"],
            created_at=row["created_at"],
            due_at=row["due_at"],
            attempts=tries[row["id"]],
        )
        for row in rows
    ]


def of_a_video_still_there() -> sa.ColumnElement[bool]:
    """A delivery's video was not deleted."""
    return ~sa.exists().where(jobs.c.id == deliveries.c.job_id, jobs.c.deleted_at.is_not(None))


def delivery_page(connection: Connection, client: str, wanted: DeliveryFilter) -> tuple[Sequence[DeliveryRecord], bool]:
    """Return a page of a client's deliveries and whether there is more. Raises NotFound."""
    place = sa.tuple_(deliveries.c.created_at, deliveries.c.id)
    statement = sa.select(deliveries.c.id).where(deliveries.c.client == client, of_a_video_still_there())
    if wanted.status is not None:
        statement = statement.where(deliveries.c.status == wanted.status)
    if wanted.since is not None:
        statement = statement.where(deliveries.c.created_at >= wanted.since)
    if wanted.after is not None:
        there = _place_of(connection, wanted.after, client)
        statement = statement.where(place < there if wanted.newest_first else place > there)
    ends = (deliveries.c.created_at, deliveries.c.id)
    order = [column.desc() for column in ends] if wanted.newest_first else list(ends)
    ids = connection.scalars(statement.order_by(*order).limit(wanted.limit + 1)).all()
    found = {record.id: record for record in delivery_records(connection, deliveries.c.id.in_(ids[: wanted.limit]))}
    return [found[delivery_id] for delivery_id in ids[: wanted.limit]], len(ids) > wanted.limit


def _place_of(connection: Connection, delivery_id: str, client: str) -> sa.Tuple:
    mine = (deliveries.c.id == delivery_id, deliveries.c.client == client)
    created_at = connection.scalar(sa.select(deliveries.c.created_at).where(*mine))
    if created_at is None:
        raise NotFound(f"There is no delivery '{delivery_id[:80]}'.", code="not_found", param="after")
    return sa.tuple_(sa.literal(created_at), sa.literal(delivery_id))


def attempt_of(row: RowMapping) -> Attempt:
    """Return the attempt that a row tells of."""
    return Attempt(**{name: row[name] for name in ATTEMPT})
