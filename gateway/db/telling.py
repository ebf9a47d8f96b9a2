"""Writing deliveries: one for each receiver that an event is to be told to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.tables import deliveries, endpoints, receivers
from gateway.jobs.job import Job, new_id
from gateway.jobs.lifecycle import Transition
from gateway.webhooks import events
from gateway.webhooks.targets import receiver_of


def is_on() -> sa.ColumnElement[bool]:
    """An endpoint gets deliveries."""
    return sa.and_(endpoints.c.deleted_at.is_(None), endpoints.c.disabled_at.is_(None))


def goes_somewhere() -> sa.ColumnElement[bool]:
    """A delivery goes to a video's own URL, or to an endpoint that is on."""
    alive = sa.exists().where(endpoints.c.id == deliveries.c.endpoint_id, is_on())
    return sa.or_(deliveries.c.endpoint_id.is_(None), alive)


def tell(connection: Connection, transition: Transition) -> None:
    """Write a delivery of this change for the video's callback URL and each endpoint, where subscribed to it."""
    job, type_ = transition.after, events.type_of(transition)
    if type_ is None or job.deleted_at is not None:
        return
    targets = _targets(connection, job, type_)
    if not targets:
        return
    # One event, whoever it is told to: a receiver that is named twice can drop the repeat.
    event = {"event_id": new_id("evt", transition.at), "type": type_, "facts": events.facts(transition)}
    for endpoint_id, url in targets:
        write_delivery(
            connection, client=job.client, url=url, at=transition.at, job_id=job.id, endpoint_id=endpoint_id, **event
        )


def _targets(connection: Connection, job: Job, type_: str) -> Sequence[tuple[str | None, str]]:
    own = [(None, job.callback_url)] if job.callback_url is not None and type_ in job.callback_events else []
    mine = sa.select(endpoints.c.id, endpoints.c.url, endpoints.c.event_types).where(
        endpoints.c.client == job.client, is_on()
    )
    return [*own, *((row.id, row.url) for row in connection.execute(mine) if type_ in row.event_types)]


def write_delivery(connection: Connection, *, client: str, url: str, at: float, **values: Any) -> str:
    """Write one delivery, due at once or when its receiver's breaker lets it; return its id."""
    receiver, delivery_id = str(receiver_of(url)), new_id("del", at)
    held_until = connection.scalar(
        sa.select(receivers.c.open_until).where(receivers.c.client == client, receivers.c.receiver == receiver)
    )
    connection.execute(
        sa.insert(deliveries).values(
            id=delivery_id,
            client=client,
            url=url,
            receiver=receiver,
            status="pending",
            created_at=at,
            due_at=max(at, held_until or 0.0),
            **values,
        )
    )
    return delivery_id
