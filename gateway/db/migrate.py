"""Bringing a database to this program's schema, by Alembic's migrations."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.engine import Database

if TYPE_CHECKING:
    from alembic.config import Config

_FOLDER = Path(__file__).with_name("migrations")
_VERSION = sa.text("SELECT version_num FROM alembic_version")


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring the schema to the newest revision; returns the revisions before and after. Two at once take turns."""
    with database.read() as connection:
        if current_revision(connection) == newest_revision():
            return newest_revision(), newest_revision()
    with database.write() as connection:
        if not database.sqlite:
            # The limits of a request are not those of a migration, nor of waiting for one.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7405871430)")
        before = current_revision(connection)
        _upgrade(connection)
        return before, newest_revision()


def current_revision(connection: Connection) -> str | None:
    """Return the revision that the database is at, or None where it is empty."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    version = connection.scalar(_VERSION)
    return None if version is None else str(version)


@cache
def newest_revision() -> str:
    """Return the newest revision that this program knows: each stands in a file that begins with its number."""
    return max(path.name.partition("_")[0] for path in (_FOLDER / "versions").glob("[0-9]*.py"))


def _upgrade(connection: Connection) -> None:
    # Imported only where there is something to do: Alembic is a tenth of a process's memory, and of its start.
    from alembic import command  # noqa: PLC0415

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - as above

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return config
