"""Clients, their API keys and their request rates."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from gateway.db.engine import Database, insert
from gateway.db.tables import api_keys, clients
from gateway.jobs.errors import NotFound
from gateway.jobs.job import new_id
from gateway.jobs.ports import ApiKey, Caller

_ROTATION_S = 24 * 3600.0
"""How long the secret before a rotation goes on signing beside the new one."""


_CLOCK_STEP_S = 5.0
"""A rate spent this much further ahead than it can be was spent by a clock that has been set back."""


_CALLER = sa.select(api_keys.c.client, api_keys.c.admin).where(
    api_keys.c.hash == sa.bindparam("hash"), api_keys.c.revoked_at.is_(None)
)
_NAMED = sa.select(clients.c.name).where(clients.c.name == sa.bindparam("client"))


class SqlClients:
    """Clients made by `gateway keys`, and the rows of those in the settings, whose keys never enter the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def caller(self, secret: str) -> Caller | None:
        """Return whose key this is, unless it is unknown or revoked."""
        # Looked up by the hash of 256 random bits: the time of the look-up tells nothing about any key.
        with self._database.look() as connection:
            row = connection.execute(_CALLER, {"hash": _digest(secret)}).one_or_none()
        return Caller(client=row.client, admin=row.admin) if row else None

    def any_key(self) -> bool:
        """Whether there is any key that is not revoked."""
        with self._database.look() as connection:
            return (
                connection.scalar(sa.select(api_keys.c.id).where(api_keys.c.revoked_at.is_(None)).limit(1)) is not None
            )

    def create_key(self, client: str, *, admin: bool, now: float) -> tuple[ApiKey, str]:
        """Make a key, and the client where it is new; the second value is the key itself, shown this once."""
        secret = f"sgw_{secrets.token_urlsafe(32)}"
        key = ApiKey(
            id=new_id("key", now), client=client, admin=admin, hint=secret[-4:], created_at=now, revoked_at=None
        )
        with self._database.write() as connection:
            ensure_client(connection, client, now)
            connection.execute(
                sa.insert(api_keys).values(
                    id=key.id, client=client, hash=_digest(secret), hint=key.hint, admin=admin, created_at=now
                )
            )
        return key, secret

    def keys(self) -> Sequence[ApiKey]:
        """Return every key, revoked ones too, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)).mappings()
            return [_key_of(row) for row in rows]

    def revoke_key(self, key_id: str, *, now: float) -> bool:
        """Revoke a key from now on; whether there was one to revoke."""
        with self._database.write() as connection:
            done = connection.execute(
                sa.update(api_keys)
                .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=now)
            )
            return done.rowcount == 1

    def owns_secret(self, client: str) -> bool:
        """Whether the client was made by `gateway keys`, and so has a webhook secret of its own."""
        with self._database.look() as connection:
            return connection.scalar(sa.select(api_keys.c.id).where(api_keys.c.client == client).limit(1)) is not None

    def secret_versions(self, client: str, *, now: float) -> Sequence[int]:
        """Return the versions of the webhook secret that sign now, newest first; two for a day after a rotation."""
        with self._database.look() as connection:
            row = connection.execute(
                sa.select(clients.c.secret_version, clients.c.secret_rotated_at).where(clients.c.name == client)
            ).one_or_none()
        if row is None:
            raise _no_client(client)
        rotating = row.secret_rotated_at is not None and now < row.secret_rotated_at + _ROTATION_S
        return (row.secret_version, row.secret_version - 1) if rotating else (row.secret_version,)

    def rotate_secret(self, client: str, *, now: float) -> int:
        """Move the client's webhook secret on; returns the new version. Raises NotFound."""
        with self._database.write() as connection:
            version = connection.scalar(
                sa.update(clients)
                .where(clients.c.name == client)
                .values(secret_version=clients.c.secret_version + 1, secret_rotated_at=now)
                .returning(clients.c.secret_version)
            )
        if version is None:
            raise _no_client(client)
        return int(version)

    def take(self, client: str, *, per_minute: int, now: float) -> float | None:
        """Take one request from the client's rate; None when it may be made, else the seconds to wait.

        A whole minute's requests may come at once, after which they follow each other evenly.
        """
        apart = 60.0 / per_minute
        with self._database.write() as connection:
            ensure_client(connection, client, now)
            spent = float(
                connection.scalar(
                    sa.select(clients.c.spent_until).where(clients.c.name == client).with_for_update(key_share=True)
                )
                or 0
            )
            if spent > now + 60.0 + _CLOCK_STEP_S:
                spent = now
            upto = max(spent, now) + apart
            if upto - now > 60.0 + 1e-6:
                return upto - now - 60.0
            connection.execute(sa.update(clients).where(clients.c.name == client).values(spent_until=upto))
            return None


def ensure_client(connection: Connection, client: str, now: float) -> None:
    """Make the client's row where there is none; of two at once, one makes it."""
    if connection.scalar(_NAMED, {"client": client}) is not None:
        return
    # A newcomer starts at the oldest turn there is, not at 0: it is next, but does not hold all the turns it missed.
    turn = sa.select(sa.func.coalesce(sa.func.min(clients.c.turn), 0)).scalar_subquery()
    row = sa.select(sa.literal(client), turn, sa.literal(now))
    newcomer = insert(connection, clients).from_select(["name", "turn", "created_at"], row)
    connection.execute(newcomer.on_conflict_do_nothing())


def _digest(secret: str) -> str:
    # Plain SHA-256 is enough for keys of 256 random bits; a slow hash protects guessable passwords.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _key_of(row: RowMapping) -> ApiKey:
    return ApiKey(**{name: row[name] for name in ("id", "client", "admin", "hint", "created_at", "revoked_at")})


def _no_client(client: str) -> NotFound:
    return NotFound(f"There is no client '{client[:80]}'.", code="not_found", param="client")
