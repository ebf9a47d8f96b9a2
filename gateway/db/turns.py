"""Turns: which client's job is submitted next. The client served longest ago comes first, then its oldest job."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.conditions import is_due
from gateway.db.rows import job_of, routes_text
from gateway.db.tables import clients, jobs
from gateway.jobs.job import Job, Status
from gateway.jobs.ports import Lane


def waiting(lane: Lane, now: float) -> tuple[sa.ColumnElement[bool], ...]:
    """The conditions of a job that a lane may take."""
    due = is_due(Status.QUEUED, now), jobs.c.routes.in_([routes_text(routes) for routes in lane.routes])
    if not lane.others:
        return due
    return (*due, sa.or_(jobs.c.source_key.is_(None), jobs.c.source_key.not_in(sorted(lane.others))))


def take_fairly(
    connection: Connection, lane: Lane, room: int, *, worker: str, until: float, now: float
) -> Sequence[Job]:
    """Claim up to `room` jobs for a lane in turn, and move the turns on in the same transaction."""
    if room <= 0:
        return []
    turns = _next_clients(connection, lane, room, now)
    taken: list[Job] = []
    while turns and len(taken) < room:
        # One of each client a round; who has nothing more to give drops out.
        for client in turns[: room - len(taken)]:
            job = _take_oldest(connection, lane, client, worker=worker, until=until, now=now)
            if job is None:
                turns.remove(client)
            else:
                taken.append(job)
    _move_turns(connection, [job.client for job in taken])
    return taken


def _next_clients(connection: Connection, lane: Lane, limit: int, now: float) -> list[str]:
    """Return the clients with a job waiting, the oldest turn first, their rows locked."""
    some = sa.exists().where(jobs.c.client == clients.c.name, *waiting(lane, now))
    names = connection.scalars(
        sa.select(clients.c.name).where(some).order_by(clients.c.turn, clients.c.name).limit(limit)
    ).all()
    # Locked in the order of their names, and before any job: lanes that share clients must not wait for each other in a
    # circle.
    connection.execute(
        sa.select(clients.c.name)
        .where(clients.c.name.in_(names))
        .order_by(clients.c.name)
        .with_for_update(key_share=True)
    )
    return list(names)


def _take_oldest(
    connection: Connection, lane: Lane, client: str, *, worker: str, until: float, now: float
) -> Job | None:
    oldest = (
        sa.select(jobs.c.id)
        .where(jobs.c.client == client, *waiting(lane, now))
        .order_by(jobs.c.created_at, jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    job_id = connection.scalar(oldest)
    if job_id is None:
        return None
    claimed = (
        sa.update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            due_at=until,
            claim_token=jobs.c.claim_token + 1,
            claimed_by=worker,
            claimed_at=now,
            upstream=lane.upstream,
            upstream_key=lane.key,
            key_fingerprint=lane.fingerprint,
        )
        .returning(*jobs.c)
    )
    return job_of(connection.execute(claimed).mappings().one())


def _move_turns(connection: Connection, served: Sequence[str]) -> None:
    if not served:
        return
    last = int(connection.scalar(sa.select(sa.func.max(clients.c.turn))) or 0)
    turns = {client: last + place for place, client in enumerate(served, start=1)}
    for client, turn in turns.items():
        connection.execute(sa.update(clients).where(clients.c.name == client).values(turn=turn))
