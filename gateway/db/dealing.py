"""Which deliveries are claimed next: receivers take turns, and none has more attempts under way than its bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from gateway.db.breakers import is_closed
from gateway.db.conditions import is_pending
from gateway.db.tables import deliveries, jobs, receivers
from gateway.jobs.ports import Delivery
from gateway.webhooks.schedule import OPENS_AFTER


class Share(NamedTuple):
    """Places at one receiver: each is for one attempt at a time, and for a batch made one after the other."""

    client: str
    receiver: str
    places: int
    healthy: bool
    """Whether its last attempt brought an answer that counts; else it gets single ones."""


def _candidates() -> sa.Select[tuple[str, str, int, int, int, int]]:
    now: sa.BindParameter[float] = sa.bindparam("now", type_=sa.Float)
    # Counted in the covering index alone, and only then looked up receiver by receiver: there may be many rows of few.
    due = (
        sa.select(
            deliveries.c.client,
            deliveries.c.receiver,
            sa.func.count().label("count"),
            sa.func.min(deliveries.c.due_at).label("first"),
        )
        .where(is_pending(), deliveries.c.due_at <= now)
        .group_by(deliveries.c.client, deliveries.c.receiver)
        .subquery("due")
    )
    # A claimed row has its lease before it. The asking worker counts its own by itself: it knows which of them wait for
    # their turn in a batch. Of the others, each counts as an attempt.
    under_way = (
        sa.select(deliveries.c.client, deliveries.c.receiver, sa.func.count().label("count"))
        .where(
            deliveries.c.claimed_by.is_not(None),
            deliveries.c.claimed_by != sa.bindparam("worker"),
            is_pending(),
            deliveries.c.due_at > now,
        )
        .group_by(deliveries.c.client, deliveries.c.receiver)
        .subquery("under_way")
    )
    busy = sa.func.coalesce(under_way.c.count, 0)
    failures = sa.func.coalesce(receivers.c.failures, 0)
    allowed = sa.case((failures >= OPENS_AFTER, 1), else_=sa.bindparam("per_receiver", type_=sa.Integer))
    return (
        sa.select(
            due.c.client,
            due.c.receiver,
            allowed.label("allowed"),
            busy.label("busy"),
            failures.label("failures"),
            due.c.count.label("due"),
        )
        .select_from(due.outerjoin(receivers, _same(due, receivers.c)).outerjoin(under_way, _same(due, under_way.c)))
        .where(is_closed(now), allowed > busy)
        .order_by(busy, due.c.first)
        .limit(sa.bindparam("most", type_=sa.Integer))
    )


def _same(due: sa.Subquery, other: Any) -> sa.ColumnElement[bool]:
    return sa.and_(other.client == due.c.client, other.receiver == due.c.receiver)


# Built once: putting a statement together anew costs more than the database's answer to it.
_CANDIDATES = _candidates()

_ANY_DUE = (
    sa.select(deliveries.c.id)
    .select_from(
        deliveries.outerjoin(
            receivers,
            sa.and_(receivers.c.client == deliveries.c.client, receivers.c.receiver == deliveries.c.receiver),
        )
    )
    .where(
        is_pending(),
        deliveries.c.due_at <= sa.bindparam("now"),
        is_closed(sa.bindparam("now", type_=sa.Float)),
    )
    .limit(1)
)

_EARLIEST = (
    sa.select(deliveries.c.id)
    .where(
        is_pending(),
        deliveries.c.client == sa.bindparam("client"),
        deliveries.c.receiver == sa.bindparam("receiver"),
        deliveries.c.due_at <= sa.bindparam("now"),
    )
    # By nothing beside: after an outage thousands are due at the same instant, and would be sorted for a few of them.
    .order_by(deliveries.c.due_at)
    .limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)

_CLAIM = (
    sa.update(deliveries)
    .where(deliveries.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(due_at=sa.bindparam("until"), claim_token=deliveries.c.claim_token + 1, claimed_by=sa.bindparam("worker"))
    .returning(*deliveries.c)
)

_STORED = sa.select(jobs.c.id, jobs.c.object_key).where(
    jobs.c.id.in_(sa.bindparam("ids", expanding=True)), jobs.c.removed_at.is_(None)
)


def any_due(connection: Connection, now: float) -> bool:
    """Whether a delivery is due that no open breaker keeps back."""
    return connection.scalar(_ANY_DUE, {"now": now}) is not None


def shares(
    connection: Connection,
    *,
    worker: str,
    limit: int,
    per_receiver: int,
    in_hand: Mapping[tuple[str, str], int],
    now: float,
) -> Sequence[Share]:
    """Deal up to `limit` places out among the receivers that have something due and may be tried, one each round.

    The least busy and longest due come first. Places in use count, whichever worker uses them: `in_hand` are the
    worker's own by client and receiver. A receiver whose breaker has opened is tried with a single attempt.
    """
    asked = {"worker": worker, "per_receiver": per_receiver, "most": limit + len(in_hand), "now": now}
    candidates = []
    for row in connection.execute(_CANDIDATES, asked):
        used = row.busy + in_hand.get((row.client, row.receiver), 0)
        places = min(row.allowed - used, row.due)
        if places > 0:
            candidates.append((used, Share(row.client, row.receiver, places, healthy=not row.failures)))
    # Stable: among those equally busy the longest due stays first.
    candidates.sort(key=lambda candidate: candidate[0])
    return _dealt([share for _, share in candidates], limit)


def _dealt(candidates: Sequence[Share], limit: int) -> Sequence[Share]:
    dealt = [0] * len(candidates)
    while sum(dealt) < limit:
        open_ones = [place for place, share in enumerate(candidates) if dealt[place] < share.places]
        if not open_ones:
            break
        for place in open_ones[: limit - sum(dealt)]:
            dealt[place] += 1
    return [share._replace(places=places) for share, places in zip(candidates, dealt, strict=True) if places]


def earliest(connection: Connection, client: str, receiver: str, *, most: int, now: float) -> Sequence[str]:
    """Return the ids of a receiver's deliveries that are due, the longest due first, and lock them."""
    asked = {"client": client, "receiver": receiver, "most": most, "now": now}
    return connection.scalars(_EARLIEST, asked).all()


def claim(connection: Connection, ids: Sequence[str], *, worker: str, until: float) -> Sequence[Delivery]:
    """Claim deliveries, and return them in the order of `ids`."""
    rows = {
        row["id"]: row for row in connection.execute(_CLAIM, {"ids": ids, "until": until, "worker": worker}).mappings()
    }
    videos = {row["job_id"] for row in rows.values() if row["job_id"] is not None}
    keys = {row.id: row.object_key for row in connection.execute(_STORED, {"ids": list(videos)})} if videos else {}
    return [_delivery_of(rows[delivery_id], keys.get(rows[delivery_id]["job_id"])) for delivery_id in ids]


def _delivery_of(row: RowMapping, stored_key: str | None) -> Delivery:
    names = (
        "id", "event_id", "type", "client", "job_id", "endpoint_id", "url", "receiver", "created_at", "facts",
        "attempts", "tries", "claim_token",
    )  # fmt: skip
    return Delivery(**{name: row[name] for name in names}, stored_key=stored_key)
