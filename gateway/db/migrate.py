"""Bringing a database to this program's schema, by Alembic's migrations."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from gateway.db.engine import Database

_FOLDER = Path(__file__).with_name("migrations")


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring the schema to the newest revision; returns the revisions before and after. Two at once take turns."""
    with database.write() as connection:
        if not database.sqlite:
            # The limits of a request are not those of a migration, nor of waiting for one.
            connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7405871430)")
        before = current_revision(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before, newest_revision()


def current_revision(connection: Connection) -> str | None:
    """Return the revision that the database is at, or None where it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


@cache
def newest_revision() -> str:
    """Return the newest revision that this program knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        message = "There are no migrations."
        raise RuntimeError(message)
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return config
