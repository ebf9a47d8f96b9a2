"""Breakers: a receiver that fails again and again is left alone for a while, and everything due there with it.

All functions lock the receiver's row before any delivery, and pass by the deliveries that others have locked: a
thousand rows are never waited for, and nobody waits in a circle. A row passed by is kept back by the claim, which looks
here too.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.conditions import is_pending
from gateway.db.engine import insert
from gateway.db.tables import deliveries, receivers
from gateway.jobs.ports import Delivery


def is_closed(now: sa.ColumnElement[float] | float) -> sa.ColumnElement[bool]:
    """The breaker of a delivery's receiver, outer joined, lets attempts through."""
    return sa.or_(receivers.c.open_until.is_(None), receivers.c.open_until <= now)


def same_receiver(delivery: Delivery) -> tuple[sa.ColumnElement[bool], ...]:
    """The conditions of the row of a delivery's receiver."""
    return (receivers.c.client == delivery.client, receivers.c.receiver == delivery.receiver)


# Built once: putting a statement together anew costs more than the database's answer to it.
_FORGET = (
    sa.delete(receivers)
    .where(receivers.c.client == sa.bindparam("of"), receivers.c.receiver == sa.bindparam("at"))
    .returning(receivers.c.open_until)
)


def receiver_answered(connection: Connection, delivery: Delivery, now: float) -> None:
    """Close the breaker: what was held behind it is due at once."""
    row = connection.execute(_FORGET, {"of": delivery.client, "at": delivery.receiver}).one_or_none()
    if row is not None and row.open_until is not None:
        _move(connection, delivery, deliveries.c.due_at <= row.open_until, due_at=now)


def receiver_failed(connection: Connection, delivery: Delivery, held_until: float | None) -> float | None:
    """Count a failure and open the breaker where `held_until` says so; return until when it is open now."""
    count = insert(connection, receivers).values(
        client=delivery.client, receiver=delivery.receiver, failures=1, open_until=held_until
    )
    counted = count.on_conflict_do_update(
        index_elements=["client", "receiver"],
        set_={
            "failures": receivers.c.failures + 1,
            # An attempt that began before the breaker opened, and so knows nothing of it, must not close it.
            "open_until": sa.func.coalesce(count.excluded.open_until, receivers.c.open_until),
        },
    )
    open_until = connection.scalar(counted.returning(receivers.c.open_until))
    if held_until is not None:
        # In one statement, so that a thousand deliveries behind a dead receiver are out of every batch at once.
        _move(connection, delivery, deliveries.c.due_at < held_until, due_at=held_until)
    return None if open_until is None else float(open_until)


def release_receivers(connection: Connection, client: str, of: Sequence[str], now: float) -> None:
    """Let receivers be tried at once: whoever asks for it has mended them, and the hold may be an hour.

    Before the deliveries, since whoever finishes an attempt locks the two in that order.
    """
    connection.execute(
        sa.update(receivers)
        .where(receivers.c.client == client, receivers.c.receiver.in_(of), receivers.c.open_until > now)
        .values(open_until=now)
    )


def _move(connection: Connection, delivery: Delivery, which: sa.ColumnElement[bool], *, due_at: float) -> None:
    unclaimed = (
        sa.select(deliveries.c.id)
        .where(
            is_pending(),
            deliveries.c.client == delivery.client,
            deliveries.c.receiver == delivery.receiver,
            deliveries.c.claimed_by.is_(None),
            which,
        )
        .with_for_update(skip_locked=True)
    )
    connection.execute(sa.update(deliveries).where(deliveries.c.id.in_(unclaimed)).values(due_at=due_at))
