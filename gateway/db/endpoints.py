"""Account-wide webhook endpoints."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from gateway.db.breakers import release_receivers
from gateway.db.clients import ensure_client
from gateway.db.conditions import is_pending
from gateway.db.engine import Database
from gateway.db.tables import deliveries, endpoints
from gateway.db.telling import write_delivery
from gateway.jobs.errors import Conflict, NotFound
from gateway.jobs.job import new_id
from gateway.jobs.ports import Endpoint, EndpointChange
from gateway.webhooks import events
from gateway.webhooks.targets import receiver_of

MOST = 50
"""How many endpoints a client may have: every event is written once for each."""

_ROTATION_S = 24 * 3600.0
"""How long the secret before a rotation goes on signing beside the new one."""


class SqlEndpoints:
    """Endpoints. Another client's, and one that was deleted, are NotFound to everything here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, client: str, *, name: str, url: str, event_types: Sequence[str], now: float) -> Endpoint:
        """Make an endpoint; raises Conflict where the client has too many."""
        row = {"id": new_id("we", now), "client": client, "name": name, "url": url, "event_types": list(event_types)}
        with self._database.write() as connection:
            ensure_client(connection, client, now)
            count = connection.scalar(sa.select(sa.func.count()).where(*_of(client))) or 0
            if count >= MOST:
                raise Conflict(f"A client may have {MOST} endpoints; delete one.", code="too_many_endpoints")
            made = sa.insert(endpoints).values(**row, created_at=now, updated_at=now).returning(*endpoints.c)
            return _endpoint_of(connection.execute(made).mappings().one())

    def endpoint(self, endpoint_id: str, *, client: str) -> Endpoint:
        """Return an endpoint. Raises NotFound."""
        with self._database.read() as connection:
            return _one(connection, endpoint_id, client)

    def page(self, client: str, *, limit: int, after: str | None) -> tuple[Sequence[Endpoint], bool]:
        """Return a page, newest first, and whether there is more. Raises NotFound for an unknown `after`."""
        statement = sa.select(endpoints).where(*_of(client))
        with self._database.read() as connection:
            if after is not None:
                there = sa.tuple_(*map(sa.literal, _place_of(connection, after, client)))
                statement = statement.where(sa.tuple_(endpoints.c.created_at, endpoints.c.id) < there)
            newest = statement.order_by(endpoints.c.created_at.desc(), endpoints.c.id.desc()).limit(limit + 1)
            found = [_endpoint_of(row) for row in connection.execute(newest).mappings()]
        return found[:limit], len(found) > limit

    def change(self, endpoint_id: str, change: EndpointChange, *, client: str, now: float) -> Endpoint:
        """Change an endpoint: what is pending follows its URL, and ends where it is disabled. Raises NotFound."""
        with self._database.write() as connection:
            before = _one(connection, endpoint_id, client, locked=True)
            values = _changed(before, change, now)
            if values:
                _write(connection, endpoint_id, updated_at=now, **values)
            if "url" in values:
                _lead(connection, endpoint_id, str(values["url"]))
            if change.enabled is False:
                _end(connection, endpoint_id)
            return _one(connection, endpoint_id, client)

    def delete(self, endpoint_id: str, *, client: str, now: float) -> None:
        """Delete an endpoint and end its pending deliveries. Raises NotFound."""
        with self._database.write() as connection:
            _one(connection, endpoint_id, client, locked=True)
            _write(connection, endpoint_id, deleted_at=now)
            _end(connection, endpoint_id)

    def rotate_secret(self, endpoint_id: str, *, client: str, keep_old: bool, now: float) -> Endpoint:
        """Move the secret on; the one before signs beside it for a day, or no more. Raises NotFound."""
        with self._database.write() as connection:
            before = _one(connection, endpoint_id, client, locked=True)
            until = now + _ROTATION_S if keep_old else None
            version = before.secret_version + 1
            _write(connection, endpoint_id, secret_version=version, previous_until=until, updated_at=now)
            return _one(connection, endpoint_id, client)

    def secret_versions(self, endpoint_id: str, *, now: float) -> Sequence[int]:
        """Return the versions of the secret that sign now, newest first; none where there is no such endpoint."""
        wanted = sa.select(endpoints.c.secret_version, endpoints.c.previous_until).where(endpoints.c.id == endpoint_id)
        with self._database.read() as connection:
            row = connection.execute(wanted).one_or_none()
        if row is None:
            return ()
        rotating = row.previous_until is not None and now < row.previous_until
        return (row.secret_version, row.secret_version - 1) if rotating else (row.secret_version,)

    def test(self, endpoint_id: str, type_: str | None, *, client: str, now: float) -> tuple[str, str]:
        """Write a delivery of a made-up event, of the endpoint's first type where None; its id and the type.

        It is made at once, past the receiver's breaker: it is a person who wants to see.

        Raises NotFound, or Conflict where the endpoint is disabled.
        """
        with self._database.write() as connection:
            endpoint = _one(connection, endpoint_id, client, locked=True)
            if endpoint.disabled_at is not None:
                raise Conflict("The endpoint is disabled: enable it first.", code="endpoint_disabled")
            told = type_ or endpoint.event_types[0]
            release_receivers(connection, client, [str(receiver_of(endpoint.url))], now)
            delivery_id = write_delivery(
                connection, client=client, url=endpoint.url, at=now, event_id=new_id("evt", now), type=told,
                facts=events.sample(told, at=now), endpoint_id=endpoint_id,
            )  # fmt: skip
            return delivery_id, told


def turn_off(connection: Connection, endpoint_id: str, now: float) -> None:
    """Disable an endpoint that said 410, and end what is pending for it."""
    here = (endpoints.c.id == endpoint_id, endpoints.c.disabled_at.is_(None))
    connection.execute(sa.update(endpoints).where(*here).values(disabled_at=now, updated_at=now))
    _end(connection, endpoint_id)


def _end(connection: Connection, endpoint_id: str) -> None:
    # Locked ones are passed by, so that nobody waits in a circle: no attempt is begun while its endpoint is off.
    pending = _pending(endpoint_id).with_for_update(skip_locked=True)
    values = {"status": "disabled", "due_at": None, "claimed_by": None}
    connection.execute(sa.update(deliveries).where(deliveries.c.id.in_(pending)).values(**values))


def _lead(connection: Connection, endpoint_id: str, url: str) -> None:
    """Let what is pending go to the new URL."""
    pending = _pending(endpoint_id).with_for_update(skip_locked=True)
    values = {"url": url, "receiver": str(receiver_of(url))}
    connection.execute(sa.update(deliveries).where(deliveries.c.id.in_(pending)).values(**values))


def _pending(endpoint_id: str) -> sa.Select[tuple[str]]:
    return sa.select(deliveries.c.id).where(deliveries.c.endpoint_id == endpoint_id, is_pending())


def _of(client: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (endpoints.c.client == client, endpoints.c.deleted_at.is_(None))


def _one(connection: Connection, endpoint_id: str, client: str, *, locked: bool = False) -> Endpoint:
    statement = sa.select(endpoints).where(endpoints.c.id == endpoint_id, *_of(client))
    if locked:
        statement = statement.with_for_update(key_share=True)
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        raise _missing(endpoint_id, "webhook_endpoint_id")
    return _endpoint_of(row)


def _place_of(connection: Connection, endpoint_id: str, client: str) -> tuple[float, str]:
    """Return where an endpoint stands in the list; a deleted one too, for whoever deletes page by page."""
    mine = (endpoints.c.id == endpoint_id, endpoints.c.client == client)
    created_at = connection.scalar(sa.select(endpoints.c.created_at).where(*mine))
    if created_at is None:
        raise _missing(endpoint_id, "after")
    return created_at, endpoint_id


def _missing(endpoint_id: str, param: str) -> NotFound:
    return NotFound(f"There is no webhook endpoint '{endpoint_id[:80]}'.", code="not_found", param=param)


def _write(connection: Connection, endpoint_id: str, **values: object) -> None:
    connection.execute(sa.update(endpoints).where(endpoints.c.id == endpoint_id).values(**values))


def _changed(before: Endpoint, change: EndpointChange, now: float) -> dict[str, object]:
    given: dict[str, object] = {"name": change.name, "url": change.url}
    if change.event_types is not None:
        given["event_types"] = list(change.event_types)
    values = {name: new for name, new in given.items() if new is not None and new != getattr(before, name)}
    if change.enabled is not None and change.enabled != (before.disabled_at is None):
        values["disabled_at"] = None if change.enabled else now
    return values


def _endpoint_of(row: RowMapping) -> Endpoint:
    names = ("id", "client", "name", "url", "event_types", "secret_version", "created_at", "updated_at", "disabled_at")
    return Endpoint(**{name: row[name] for name in names})
