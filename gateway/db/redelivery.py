"""Making deliveries again: one, or all of a client's that failed since an instant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.breakers import release_receivers
from gateway.db.delivery_records import delivery_records
from gateway.db.engine import Database
from gateway.db.tables import deliveries, jobs
from gateway.db.telling import goes_somewhere
from gateway.jobs.errors import Conflict, NotFound
from gateway.jobs.ports import DeliveryRecord

_BATCH = 500
"""How many are made due in one transaction: nobody waits long for its locks."""

_MOST = 10_000
"""How many are made due at one request."""

_FAILED = ("exhausted", "disabled")


def redeliver(database: Database, delivery_id: str, *, client: str, now: float) -> DeliveryRecord:
    """Make a delivery due at once, with its schedule from the start. Raises NotFound, or Conflict."""
    with database.write() as connection:
        mine = (deliveries.c.id == delivery_id, deliveries.c.client == client)
        found = connection.execute(sa.select(deliveries.c.receiver, deliveries.c.job_id).where(*mine)).one_or_none()
        if found is None or not _kept(connection, found.job_id):
            raise NotFound(f"There is no delivery '{delivery_id[:80]}'.", code="not_found", param="delivery_id")
        if not connection.scalar(sa.select(deliveries.c.id).where(deliveries.c.id == delivery_id, goes_somewhere())):
            raise Conflict("The endpoint it goes to is disabled or was deleted.", code="endpoint_disabled")
        release_receivers(connection, client, [found.receiver], now)
        # A claim that is held is left alone: its attempt is under way, and a second at once would help nobody.
        free = sa.or_(deliveries.c.claimed_by.is_(None), deliveries.c.status != "pending", deliveries.c.due_at <= now)
        if _make_due(connection, [delivery_id], free, now) != 1:
            raise Conflict("An attempt at this delivery is under way.", code="delivery_in_progress")
        return delivery_records(connection, deliveries.c.id == delivery_id)[0]


def _kept(connection: Connection, job_id: str | None) -> bool:
    """Whether a delivery's video is not deleted; that of an endpoint's test has none."""
    # The job's row is locked as deleting it does: a deleted video must not get a pending delivery back.
    still_there = sa.select(jobs.c.id).where(jobs.c.id == job_id, jobs.c.deleted_at.is_(None))
    return job_id is None or connection.scalar(still_there.with_for_update(key_share=True)) is not None


def redeliver_failed(database: Database, client: str, *, since: float, now: float) -> tuple[int, bool]:
    """Make all of a client's deliveries due that failed and were written since; how many, and whether more are left.

    In batches, each a transaction of its own: a crash between two leaves whole ones.
    """
    count, place = 0, (since, "")
    while count < _MOST:
        with database.write() as connection:
            batch = _failed(connection, client, place)
            if not batch:
                return count, False
            release_receivers(connection, client, sorted({row.receiver for row in batch}), now)
            count += _make_due(connection, [row.id for row in batch], deliveries.c.status.in_(_FAILED), now)
        # Onwards from the last one: what fails again at once would else be found in every batch.
        place = (batch[-1].created_at, batch[-1].id)
    with database.read() as connection:
        return count, bool(_failed(connection, client, place, locked=False))


def _failed(
    connection: Connection, client: str, place: tuple[float, str], *, locked: bool = True
) -> Sequence[sa.Row[Any, Any, Any]]:
    here = sa.tuple_(deliveries.c.created_at, deliveries.c.id)
    statement = (
        sa.select(deliveries.c.id, deliveries.c.receiver, deliveries.c.created_at)
        .join(jobs, jobs.c.id == deliveries.c.job_id)
        .where(
            deliveries.c.client == client,
            here > sa.tuple_(*map(sa.literal, place)),
            deliveries.c.status.in_(_FAILED),
            jobs.c.deleted_at.is_(None),
            goes_somewhere(),
        )
        .order_by(deliveries.c.created_at, deliveries.c.id)
        .limit(_BATCH)
    )
    if locked:
        statement = statement.with_for_update(of=jobs, key_share=True)
    return connection.execute(statement).all()


def _make_due(connection: Connection, ids: Sequence[str], which: sa.ColumnElement[bool], now: float) -> int:
    again = connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.id.in_(ids), which)
        .values(status="pending", due_at=now, tries=0, claimed_by=None, claim_token=deliveries.c.claim_token + 1)
    )
    return again.rowcount
