"""Admission: how many requests of one client are let in at once, over all processes that share the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

from gateway.db.conditions import is_unfinished
from gateway.db.spelled import Spelled
from gateway.db.tables import clients, jobs

PROCESSES = 16
"""That many processes may let requests of one client in at the very same moment without exceeding its bound."""

_LOCKS: sa.ColumnElement[int] = sa.literal_column("7405871", sa.Integer)
"""The advisory locks of clients: a class of their own, beside those of one number."""

_Names = Iterable[str | sa.BindParameter[str]]


class Admission:
    """Lets requests in for as long as a transaction lasts.

    What looks for an equal request, or has to count a client's unfinished jobs exactly, is let in alone: it must see
    all that were before it. Everything else is let in beside others, but not beside one that is alone.

    On PostgreSQL these are advisory locks: those on rows would wait for workers, who move the turns of clients. SQLite
    lets one transaction write at a time, so there all are alone.
    """

    def __init__(self, dialect: Dialect, *, at_once: int) -> None:
        """`at_once`: how many requests a process lets in together."""
        self._dialect = dialect
        self._room = at_once * PROCESSES
        """Whoever may have so many more unfinished jobs need not be counted exactly."""
        self._spelled: dict[tuple[object, int], Spelled] = {}
        self._near: set[str] = set()
        """Clients who are nearer to their bound than that, as far as this process knows."""

    def let_in(self, connection: Connection, bounds: Mapping[str, int], *, alone: AbstractSet[str]) -> dict[str, int]:
        """Return those who are let in at once, with the number of their unfinished jobs; a new client never is.

        `bounds` are the clients, with how many unfinished jobs they may have. Nobody waits, so that a process that
        froze holds up only those who share a client with what it was about. For one thread at a time.
        """
        if self._dialect.name != "postgresql":
            return dict(self._ask(_counted_each, connection, bounds))
        alone = (alone | self._near) & bounds.keys()
        counted = self._alone(connection, alone)
        self._near -= {client for client, count in counted.items() if self._has_room(count, bounds[client])}
        for client, count in self._beside(connection, bounds.keys() - alone).items():
            if self._has_room(count, bounds[client]):
                counted[client] = count
            else:
                self._near.add(client)
        return counted

    def wait(self, connection: Connection, client: str, bound: int, *, alone: bool) -> int | None:
        """Let a request in as soon as it may be; return the number of its client's unfinished jobs.

        None where it must be let in alone, since its client is near its bound: in another transaction, for two who
        hold a lock together and both want it alone would wait for each other.
        """
        if self._dialect.name == "postgresql":
            connection.execute(_WAIT_ALONE if alone else _WAIT_BESIDE, {"client": client})
        row = connection.execute(_counted([client])).one_or_none()
        count = row[1] if row is not None else 0
        if alone or self._dialect.name != "postgresql" or self._has_room(count, bound):
            return count
        return None

    def _alone(self, connection: Connection, names: Collection[str]) -> dict[str, int]:
        taken = [name for name, ours in self._ask(_taken_alone, connection, names) if ours]
        # By a statement of its own: one sees what was there when it began. And not sent along with the first: of a
        # process that froze between the two, the server would not take the locks back.
        return dict.fromkeys(taken, 0) | dict(self._ask(_counted, connection, taken))

    def _beside(self, connection: Connection, names: Collection[str]) -> dict[str, int]:
        return {name: count for name, count, ours in self._ask(_taken_beside, connection, names) if ours}

    def _has_room(self, count: int, bound: int) -> bool:
        return bound - count >= self._room

    def _ask(self, statement: Callable[..., Any], connection: Connection, names: Collection[str]) -> Sequence[Any]:
        if not names:
            return []
        spelled = self._spelled.get((statement, len(names)))
        if spelled is None:
            places = [sa.bindparam(f"c{number}", type_=sa.Text) for number in range(len(names))]
            spelled = self._spelled[statement, len(names)] = Spelled(statement(places), self._dialect)
        return spelled.rows(connection, {f"c{number}": name for number, name in enumerate(names)})


_OF_CLIENT = sa.func.hashtext(clients.c.name)
_OF_NAMED = sa.func.hashtext(sa.bindparam("client", type_=sa.Text))
_WAIT_ALONE = sa.select(sa.func.pg_advisory_xact_lock(_LOCKS, _OF_NAMED))
_WAIT_BESIDE = sa.select(sa.func.pg_advisory_xact_lock_shared(_LOCKS, _OF_NAMED))
_COUNT = sa.select(sa.func.count()).where(jobs.c.client == clients.c.name, is_unfinished()).label("unfinished")


def _taken_alone(names: _Names) -> sa.Select[str, bool]:
    ours = sa.func.pg_try_advisory_xact_lock(_LOCKS, _OF_CLIENT).label("ours")
    return sa.select(clients.c.name, ours).where(clients.c.name.in_(list(names)))


def _taken_beside(names: _Names) -> sa.Select[str, int, bool]:
    ours = sa.func.pg_try_advisory_xact_lock_shared(_LOCKS, _OF_CLIENT).label("ours")
    return sa.select(clients.c.name, _COUNT, ours).where(clients.c.name.in_(list(names)))


def _counted_each(names: _Names) -> sa.Select[str, int]:
    return sa.select(clients.c.name, _COUNT).where(clients.c.name.in_(list(names)))


def _counted(names: _Names) -> sa.Select[str, int]:
    wanted = jobs.c.client.in_(list(names))
    return sa.select(jobs.c.client, sa.func.count()).where(wanted, is_unfinished()).group_by(jobs.c.client)
