"""The outbox: callbacks to make, their attempts, and the breaker of each receiver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from gateway.db.breakers import is_closed, receiver_answered, receiver_failed, same_receiver
from gateway.db.conditions import is_pending
from gateway.db.endpoints import turn_off
from gateway.db.engine import Database
from gateway.db.redelivery import redeliver, redeliver_failed
from gateway.db.tables import attempts, deliveries, jobs, receivers
from gateway.db.telling import goes_somewhere
from gateway.jobs.ports import AttemptResult, Delivery, DeliveryRecord
from gateway.webhooks.schedule import OPENS_AFTER

_CLAIMING = 7405871431
"""The advisory lock of whoever claims deliveries on PostgreSQL, beside that of the migrations."""


class SqlOutbox:
    """Deliveries. A dead worker's claim comes back with its lease; the same `webhook-id` then goes out again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, *, worker: str, limit: int, per_receiver: int, lease_s: float, now: float) -> Sequence[Delivery]:
        """Claim due deliveries, at most `per_receiver` for one receiver and none behind an open breaker.

        Receivers take turns: one whose every attempt times out gets no second one before another has had its first.
        """
        if limit <= 0 or not self._any_due(now):
            return []
        with self._database.write() as connection:
            if not self._database.sqlite:
                # Two workers that count at once would each grant a receiver its last place.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CLAIMING)))
            picked = [
                delivery_id
                for share in _shares(_with_room(connection, limit, per_receiver, now), limit)
                for delivery_id in _earliest(connection, share, now)
            ]
            return _claim(connection, picked, worker, now + lease_s) if picked else []

    def _any_due(self, now: float) -> bool:
        due = sa.select(deliveries.c.id).select_from(_with_breakers()).where(*_ready(now)).limit(1)
        with self._database.read() as connection:
            return connection.scalar(due) is not None

    def started(self, delivery: Delivery, *, now: float) -> bool:
        """Write the attempt before it is made; False where the claim is lost or the delivery was given up."""
        with self._database.write() as connection:
            held = connection.execute(
                sa.update(deliveries)
                .where(*_held(delivery), goes_somewhere())
                .values(attempts=deliveries.c.attempts + 1)
            )
            if held.rowcount != 1:
                # Still held, so its endpoint was turned off in the very moment in which this was written or claimed.
                _settle(connection, delivery, status="disabled", due_at=None)
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
            receiver_answered(connection, delivery, now)
            _settle(connection, delivery, status="delivered", due_at=None)

    def failed(
        self, delivery: Delivery, result: AttemptResult, *, due_at: float | None, held_until: float | None, now: float
    ) -> None:
        """No 2xx: again at `due_at`, or exhausted where None. `held_until` opens the receiver's breaker."""
        with self._database.write() as connection:
            _finish_attempt(connection, delivery, result, "failed", now)
            open_until = receiver_failed(connection, delivery, held_until)
            if due_at is None:
                _settle(connection, delivery, status="exhausted", due_at=None, tries=delivery.tries + 1)
            else:
                due_at = max(due_at, open_until or 0.0)
                _settle(connection, delivery, status="pending", due_at=due_at, tries=delivery.tries + 1)

    def disabled(self, delivery: Delivery, result: AttemptResult, *, now: float) -> None:
        """The receiver said 410: no more attempts, and its endpoint is turned off.

        That was an answer, so the receiver itself is well.
        """
        with self._database.write() as connection:
            _finish_attempt(connection, delivery, result, "disabled", now)
            receiver_answered(connection, delivery, now)
            if delivery.endpoint_id is not None:
                turn_off(connection, delivery.endpoint_id, now)
            _settle(connection, delivery, status="disabled", due_at=None)

    def receiver_failures(self, delivery: Delivery) -> int:
        """Return how often this receiver failed in a row."""
        with self._database.read() as connection:
            return int(connection.scalar(sa.select(receivers.c.failures).where(*same_receiver(delivery))) or 0)

    def redeliver(self, delivery_id: str, *, client: str, now: float) -> DeliveryRecord:
        """Make a delivery due at once, with its schedule from the start. Raises NotFound, or Conflict."""
        return redeliver(self._database, delivery_id, client=client, now=now)

    def redeliver_failed(self, client: str, *, since: float, now: float) -> tuple[int, bool]:
        """Make all of a client's due that failed and were written since; how many, and whether more are left."""
        return redeliver_failed(self._database, client, since=since, now=now)


class _Share(NamedTuple):
    client: str
    receiver: str
    places: int


def _with_breakers() -> sa.FromClause:
    same = (receivers.c.client == deliveries.c.client, receivers.c.receiver == deliveries.c.receiver)
    return deliveries.outerjoin(receivers, sa.and_(*same))


def _ready(now: float) -> tuple[sa.ColumnElement[bool], ...]:
    return (is_pending(), deliveries.c.due_at <= now, is_closed(now))


def _with_room(connection: Connection, limit: int, per_receiver: int, now: float) -> Sequence[_Share]:
    """Return the receivers that have something due and may be tried, and how many attempts each may get.

    The least busy and longest due come first. Attempts under way count, whichever worker makes them: a claimed row has
    its lease before it. A receiver whose breaker has opened is tried with a single one.
    """
    other = deliveries.alias("under_way")
    under_way = (
        sa.select(other.c.client, other.c.receiver, sa.func.count().label("attempts"))
        .where(other.c.claimed_by.is_not(None), other.c.status == "pending", other.c.due_at > now)
        .group_by(other.c.client, other.c.receiver)
        .subquery()
    )
    busy = sa.func.coalesce(under_way.c.attempts, 0)
    allowed = sa.case((sa.func.coalesce(receivers.c.failures, 0) >= OPENS_AFTER, 1), else_=per_receiver)
    due = sa.func.count()
    mine = (under_way.c.client == deliveries.c.client, under_way.c.receiver == deliveries.c.receiver)
    statement = (
        sa.select(deliveries.c.client, deliveries.c.receiver, (allowed - busy).label("room"), due.label("due"))
        .select_from(_with_breakers().outerjoin(under_way, sa.and_(*mine)))
        .where(*_ready(now), allowed > busy)
        .group_by(deliveries.c.client, deliveries.c.receiver, receivers.c.failures, under_way.c.attempts)
        .order_by(busy, sa.func.min(deliveries.c.due_at))
        .limit(limit)
    )
    return [_Share(row.client, row.receiver, min(row.room, row.due)) for row in connection.execute(statement)]


def _shares(candidates: Sequence[_Share], limit: int) -> Sequence[_Share]:
    """Deal `limit` places out, one each round."""
    dealt = [0] * len(candidates)
    while sum(dealt) < limit:
        open_ones = [place for place, share in enumerate(candidates) if dealt[place] < share.places]
        if not open_ones:
            break
        for place in open_ones[: limit - sum(dealt)]:
            dealt[place] += 1
    return [share._replace(places=places) for share, places in zip(candidates, dealt, strict=True) if places]


def _earliest(connection: Connection, share: _Share, now: float) -> Sequence[str]:
    statement = (
        sa.select(deliveries.c.id)
        .where(
            is_pending(),
            deliveries.c.client == share.client,
            deliveries.c.receiver == share.receiver,
            deliveries.c.due_at <= now,
        )
        .order_by(deliveries.c.due_at, deliveries.c.id)
        .limit(share.places)
        .with_for_update(skip_locked=True)
    )
    return connection.scalars(statement).all()


def _claim(connection: Connection, ids: Sequence[str], worker: str, until: float) -> Sequence[Delivery]:
    claimed = (
        sa.update(deliveries)
        .where(deliveries.c.id.in_(ids))
        .values(due_at=until, claim_token=deliveries.c.claim_token + 1, claimed_by=worker)
        .returning(*deliveries.c)
    )
    rows = {row["id"]: row for row in connection.execute(claimed).mappings()}
    stored = sa.select(jobs.c.id, jobs.c.object_key).where(
        jobs.c.id.in_({row["job_id"] for row in rows.values()}), jobs.c.removed_at.is_(None)
    )
    keys = {row.id: row.object_key for row in connection.execute(stored)}
    return [_delivery_of(rows[delivery_id], keys.get(rows[delivery_id]["job_id"])) for delivery_id in ids]


def _held(delivery: Delivery) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        deliveries.c.id == delivery.id,
        deliveries.c.claim_token == delivery.claim_token,
        deliveries.c.status == "pending",
    )


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


def _delivery_of(row: RowMapping, stored_key: str | None) -> Delivery:
    names = (
        "id", "event_id", "type", "client", "job_id", "endpoint_id", "url", "receiver", "created_at", "facts",
        "attempts", "tries", "claim_token",
    )  # fmt: skip
    return Delivery(**{name: row[name] for name in names}, stored_key=stored_key)
