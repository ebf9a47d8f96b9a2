"""The outbox: callbacks to make, their attempts, and the breaker of each receiver."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from gateway.db.engine import Database
from gateway.db.queries import delivery_records
from gateway.db.tables import attempts, deliveries, jobs, receivers
from gateway.jobs.errors import Conflict, NotFound
from gateway.jobs.ports import AttemptResult, Delivery, DeliveryRecord

_SCAN = 50
"""Candidates looked at for each delivery wanted: with many receivers due, a few rows of each are enough."""


class SqlOutbox:
    """Deliveries. A dead worker's claim comes back with its lease; the same `webhook-id` then goes out again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, *, worker: str, limit: int, per_receiver: int, lease_s: float, now: float) -> Sequence[Delivery]:
        """Claim due deliveries, at most `per_receiver` for one receiver and none behind an open breaker."""
        if limit <= 0 or not self._any_due(now):
            return []
        with self._database.write() as connection:
            picked = _candidates(connection, limit, per_receiver, now)
            if not picked:
                return []
            locked = (
                sa.select(deliveries.c.id)
                .where(deliveries.c.id.in_(picked), deliveries.c.status == "pending", deliveries.c.due_at <= now)
                .with_for_update(skip_locked=True)
                .cte("picked")
                .prefix_with("MATERIALIZED", dialect="postgresql")
            )
            connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.id.in_(sa.select(locked.c.id)))
                .values(due_at=now + lease_s, claim_token=deliveries.c.claim_token + 1, claimed_by=worker)
            )
            mine = (
                deliveries.c.id.in_(picked),
                deliveries.c.claimed_by == worker,
                deliveries.c.due_at == now + lease_s,
            )
            rows = connection.execute(
                sa.select(deliveries, jobs.c.object_key, jobs.c.removed_at)
                .join(jobs, jobs.c.id == deliveries.c.job_id)
                .where(*mine)
            )
            return [_delivery_of(row) for row in rows.mappings()]

    def _any_due(self, now: float) -> bool:
        due = sa.select(deliveries.c.id).where(deliveries.c.status == "pending", deliveries.c.due_at <= now).limit(1)
        with self._database.read() as connection:
            return connection.scalar(due) is not None

    def started(self, delivery: Delivery, *, now: float) -> bool:
        """Write the attempt before it is made; False where the claim is lost or the delivery was given up."""
        with self._database.write() as connection:
            held = connection.execute(
                sa.update(deliveries).where(*_held(delivery)).values(attempts=deliveries.c.attempts + 1)
            )
            if held.rowcount != 1:
                return False
            # An attempt that was begun and never ended is one during which the process died.
            connection.execute(
                sa.insert(attempts).values(
                    delivery_id=delivery.id, number=delivery.attempts + 1, started_at=now, outcome="started"
                )
            )
            return True

    def delivered(self, delivery: Delivery, result: AttemptResult, *, now: float) -> None:
        """A 2xx: done, and the receiver is well."""
        with self._database.write() as connection:
            _finish_attempt(connection, delivery, result, "delivered", now)
            _settle(connection, delivery, status="delivered", due_at=None)
            _receiver_answered(connection, delivery, now)

    def failed(
        self, delivery: Delivery, result: AttemptResult, *, due_at: float | None, held_until: float | None, now: float
    ) -> None:
        """No 2xx: again at `due_at`, or exhausted where None. `held_until` opens the receiver's breaker."""
        with self._database.write() as connection:
            _finish_attempt(connection, delivery, result, "failed", now)
            status = "exhausted" if due_at is None else "pending"
            _settle(connection, delivery, status=status, due_at=due_at, tries=delivery.tries + 1)
            _receiver_failed(connection, delivery, held_until)

    def disabled(self, delivery: Delivery, result: AttemptResult, *, now: float) -> None:
        """The receiver said 410: no more attempts. That was an answer, so the receiver itself is well."""
        with self._database.write() as connection:
            _finish_attempt(connection, delivery, result, "disabled", now)
            _settle(connection, delivery, status="disabled", due_at=None)
            _receiver_answered(connection, delivery, now)

    def receiver_failures(self, delivery: Delivery) -> int:
        """Return how often this receiver failed in a row."""
        with self._database.read() as connection:
            return int(connection.scalar(sa.select(receivers.c.failures).where(*_receiver(delivery))) or 0)

    def redeliver(self, delivery_id: str, *, client: str, now: float) -> DeliveryRecord:
        """Make a delivery due at once, with its schedule from the start. Raises NotFound, or Conflict."""
        with self._database.write() as connection:
            mine = (deliveries.c.id == delivery_id, deliveries.c.client == client, jobs.c.deleted_at.is_(None))
            found = (
                sa.select(deliveries.c.id, jobs.c.deleted_at).join(jobs, jobs.c.id == deliveries.c.job_id).where(*mine)
            )
            if connection.execute(found).one_or_none() is None:
                raise NotFound(f"There is no delivery '{delivery_id[:80]}'.", code="not_found", param="delivery_id")
            # A claim that is held is left alone: its attempt is under way, and a second at once would help nobody.
            free = sa.or_(
                deliveries.c.claimed_by.is_(None), deliveries.c.status != "pending", deliveries.c.due_at <= now
            )
            again = connection.execute(
                sa.update(deliveries)
                .where(deliveries.c.id == delivery_id, free)
                .values(status="pending", due_at=now, tries=0, claimed_by=None)
            )
            if again.rowcount != 1:
                raise Conflict("An attempt at this delivery is under way.", code="delivery_in_progress")
            return delivery_records(connection, deliveries.c.id == delivery_id)[0]


def _candidates(connection: Connection, limit: int, per_receiver: int, now: float) -> Sequence[str]:
    """Return ids to try: the earliest of each receiver, a single one where it failed last time.

    Counting a receiver's attempts under way keeps the bound over all workers: a claimed row has its lease before it.
    """
    same = (receivers.c.client == deliveries.c.client, receivers.c.receiver == deliveries.c.receiver)
    rank = sa.func.row_number().over(
        partition_by=(deliveries.c.client, deliveries.c.receiver), order_by=deliveries.c.due_at
    )
    under_way = deliveries.alias("under_way")
    busy = (
        sa.select(sa.func.count())
        .where(
            under_way.c.status == "pending",
            under_way.c.claimed_by.is_not(None),
            under_way.c.due_at > now,
            under_way.c.client == deliveries.c.client,
            under_way.c.receiver == deliveries.c.receiver,
        )
        .correlate(deliveries)
        .scalar_subquery()
    )
    failures = sa.func.coalesce(receivers.c.failures, 0)
    earliest = (
        sa.select(
            deliveries.c.id, deliveries.c.due_at, failures.label("failures"), rank.label("rank"), busy.label("busy")
        )
        .select_from(deliveries.outerjoin(receivers, sa.and_(*same)))
        .where(
            deliveries.c.status == "pending",
            deliveries.c.due_at <= now,
            sa.or_(receivers.c.open_until.is_(None), receivers.c.open_until <= now),
        )
        .order_by(deliveries.c.due_at)
        .limit(limit * _SCAN)
        .subquery()
    )
    allowed = sa.case((earliest.c.failures >= BREAKER_FAILURES, 1), else_=per_receiver)
    wanted = (
        sa.select(earliest.c.id)
        .where(earliest.c.rank + earliest.c.busy <= allowed)
        .order_by(earliest.c.due_at)
        .limit(limit)
    )
    return list(connection.scalars(wanted))


BREAKER_FAILURES = 10
"""Failures in a row after which a receiver is tried with a single delivery at a time."""


def _held(delivery: Delivery) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        deliveries.c.id == delivery.id,
        deliveries.c.claim_token == delivery.claim_token,
        deliveries.c.status == "pending",
    )


def _receiver(delivery: Delivery) -> tuple[sa.ColumnElement[bool], ...]:
    return (receivers.c.client == delivery.client, receivers.c.receiver == delivery.receiver)


def _finish_attempt(
    connection: Connection, delivery: Delivery, result: AttemptResult, outcome: str, now: float
) -> None:
    connection.execute(
        sa.update(attempts)
        .where(attempts.c.delivery_id == delivery.id, attempts.c.number == delivery.attempts + 1)
        .values(
            finished_at=now, outcome=outcome, status=result.status, latency_ms=result.latency_ms,
            answer=result.answer, error=result.error,
        )
    )  # fmt: skip


def _settle(connection: Connection, delivery: Delivery, **values: object) -> None:
    connection.execute(sa.update(deliveries).where(*_held(delivery)).values(claimed_by=None, **values))


def _receiver_answered(connection: Connection, delivery: Delivery, now: float) -> None:
    """Close the breaker: what was held behind it is due again at once."""
    row = connection.execute(
        sa.delete(receivers).where(*_receiver(delivery)).returning(receivers.c.open_until)
    ).one_or_none()
    if row is not None and row.open_until is not None:
        connection.execute(
            sa.update(deliveries)
            .where(*_pending_of(delivery), deliveries.c.due_at <= row.open_until, deliveries.c.claimed_by.is_(None))
            .values(due_at=now)
        )


def _receiver_failed(connection: Connection, delivery: Delivery, held_until: float | None) -> None:
    updated = connection.execute(
        sa.update(receivers)
        .where(*_receiver(delivery))
        .values(failures=receivers.c.failures + 1, open_until=held_until)
    )
    if updated.rowcount == 0:
        connection.execute(
            sa.insert(receivers).values(
                client=delivery.client, receiver=delivery.receiver, failures=1, open_until=held_until
            )
        )
    if held_until is not None:
        # In one statement, so that a thousand deliveries behind a dead receiver are out of every batch at once.
        connection.execute(
            sa.update(deliveries)
            .where(*_pending_of(delivery), deliveries.c.due_at < held_until, deliveries.c.claimed_by.is_(None))
            .values(due_at=held_until)
        )


def _pending_of(delivery: Delivery) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        deliveries.c.status == "pending",
        deliveries.c.client == delivery.client,
        deliveries.c.receiver == delivery.receiver,
    )


def _delivery_of(row: RowMapping) -> Delivery:
    names = (
        "id",
        "event_id",
        "type",
        "client",
        "job_id",
        "url",
        "receiver",
        "created_at",
        "facts",
        "attempts",
        "tries",
        "claim_token",
    )
    return Delivery(
        **{name: row[name] for name in names}, stored_key=row["object_key"] if row["removed_at"] is None else None
    )
