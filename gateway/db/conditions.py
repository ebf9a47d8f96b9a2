"""The conditions that the partial indexes stand for, written as constants.

A planner uses a partial index only where it sees the value: a bound parameter hides it, on PostgreSQL from the generic
plan of a prepared statement. And SQLite infers nothing, so a list is repeated in its order.
"""

from __future__ import annotations

import sqlalchemy as sa

from gateway.db.tables import IN_HAND, deliveries, jobs
from gateway.jobs.job import Status


def is_status(status: Status) -> sa.ColumnElement[bool]:
    """A job is in this status."""
    return jobs.c.status == sa.literal_column(f"'{status.value}'")


def is_unfinished() -> sa.ColumnElement[bool]:
    """A job is in hand."""
    return jobs.c.status.in_([sa.literal_column(f"'{status}'") for status in IN_HAND])


def is_due(status: Status, now: float | sa.BindParameter[float]) -> sa.ColumnElement[bool]:
    """A job in this unfinished status is due."""
    return sa.and_(is_status(status), is_unfinished(), jobs.c.due_at <= now)


def is_pending() -> sa.ColumnElement[bool]:
    """A delivery is still to be made."""
    return deliveries.c.status == sa.literal_column("'pending'")
