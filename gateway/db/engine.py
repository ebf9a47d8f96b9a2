"""The engine: how this program opens SQLite and PostgreSQL, begins transactions and reads the database's clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gateway.jobs.errors import Unavailable

BUSY_TIMEOUT_S = 5.0
"""The longest wait for SQLite's one writer; after it the caller is told to come again."""


class Database:
    """One database, safe from many threads. Nothing is opened before the first use."""

    def __init__(self, url: str, *, synchronous: str = "full", pool_size: int = 16) -> None:
        self.url = make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self._writer = threading.Lock()
        self.engine = _sqlite_engine(self.url, synchronous, pool_size) if self.sqlite else _engine(self.url, pool_size)

    @property
    def path(self) -> Path | None:
        """The file, where there is one."""
        return Path(self.url.database) if self.sqlite and self.url.database else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write. Raises Unavailable where the database can't be reached or stays busy.

        SQLite lets one writer in at a time and is unfair to those who wait, so the threads of this process queue for
        a lock of their own, and BEGIN IMMEDIATE is only asked for by one of them.
        """
        if not self.sqlite:
            with _translated(), self.engine.begin() as connection:
                yield connection
            return
        if not self._writer.acquire(timeout=BUSY_TIMEOUT_S):
            raise _busy("The database is busy.")
        try:
            with _translated(), self.engine.execution_options(gateway_write=True).begin() as connection:
                yield connection
        finally:
            self._writer.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot to read from; waits for no writer."""
        with _translated(), self.engine.connect() as connection:
            yield connection

    def now(self, connection: Connection | None = None) -> float:
        """Return the database's clock in Unix seconds: one clock for every machine that shares it."""
        if connection is not None:
            return float(connection.scalar(_SQLITE_NOW if self.sqlite else _POSTGRES_NOW))
        with self.read() as opened:
            return self.now(opened)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


_SQLITE_NOW = sa.text("SELECT (julianday('now') - 2440587.5) * 86400.0")
_POSTGRES_NOW = sa.text("SELECT extract(epoch FROM clock_timestamp())::double precision")


def _busy(message: str) -> Unavailable:
    return Unavailable(message, code="unavailable")


@contextmanager
def _translated() -> Iterator[None]:
    """Trouble reaching or waiting for the database is `Unavailable`; a wrong statement stays what it is: a bug."""
    try:
        yield
    except PoolTimeoutError as error:
        raise _busy("The database is busy.") from error
    except OperationalError as error:
        raise _busy(_reason(error)) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise _busy("The database connection was lost.") from error
        raise


def _reason(error: SQLAlchemyError) -> str:
    words = str(getattr(error, "orig", error)).lower()
    if "locked" in words or "busy" in words or "timeout" in words:
        return "The database is busy."
    if "full" in words or "no space" in words:
        return "The database cannot write: its disk is full."
    return "The database cannot be reached."


def _engine(url: sa.URL, pool_size: int) -> Engine:
    # `pool_pre_ping` is left out: it costs a round trip a transaction, and a lost connection is a 503 or the next tick.
    return sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=BUSY_TIMEOUT_S,
        pool_recycle=1800,
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": 5,
            "options": "-c lock_timeout=5000 -c idle_in_transaction_session_timeout=60000",
        },
    )


def _sqlite_engine(url: sa.URL, synchronous: str, pool_size: int) -> Engine:
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=BUSY_TIMEOUT_S,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: object, _record: object) -> None:
        # The driver's own implicit BEGIN is deferred, and a deferred transaction that turns to writing gets
        # SQLITE_BUSY at once, without any waiting. So BEGIN is ours.
        connection.isolation_level = None  # type: ignore[attr-defined]
        cursor = connection.cursor()  # type: ignore[attr-defined]
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("gateway_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
