"""The engine: how this program opens SQLite and PostgreSQL, begins transactions and reads the database's clock."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from gateway.db.turn import Turn
from gateway.jobs.errors import Unavailable

BUSY_TIMEOUT_S = 5.0
"""The longest wait for SQLite's one writer, or for a lock on PostgreSQL; after it the caller is told to come again."""

_STATEMENT_TIMEOUT_S = 30.0
_IDLE_TIMEOUT_S = 15.0
"""For how long a process that froze within a transaction may hold its locks. No transaction waits for a network."""

_ASKED_EVERY_S = 1.0

_KEEPALIVES = {"idle": 10, "interval": 5, "count": 3}

_LOG_PAGES = 16_000
"""How long SQLite's write-ahead log gets at most: 64 MiB, which are read again in a tenth of a second after a crash."""


class Database:
    """One database, safe from many threads. Nothing is opened before the first use."""

    def __init__(
        self, url: str, *, synchronous: str = "full", pool_size: int = 16, busy_timeout_s: float = BUSY_TIMEOUT_S
    ) -> None:
        self.url = make_url(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.busy_timeout_s = busy_timeout_s
        self._writer = threading.Lock()
        self._turn = Turn(self.path) if self.path is not None else None
        self._asked = (-math.inf, 0.0)
        if self.sqlite:
            self.engine = _sqlite_engine(self.url, synchronous, pool_size, busy_timeout_s)
        else:
            self.engine = _postgres_engine(self.url, pool_size, busy_timeout_s)
        begin = "BEGIN IMMEDIATE" if self.sqlite else "BEGIN ISOLATION LEVEL READ COMMITTED"
        kept, lax = (synchronous, "normal" if synchronous == "full" else synchronous) if self.sqlite else (None, None)
        self._writing = self.engine.execution_options(gateway_begin=begin, gateway_synchronous=kept)
        self._lax = self.engine.execution_options(gateway_begin=begin, gateway_synchronous=lax)
        # Each statement on PostgreSQL sees what was committed when it began, within a transaction and without one.
        self._reading = self.engine.execution_options(gateway_begin="BEGIN") if self.sqlite else self.engine

    @property
    def path(self) -> Path | None:
        """The file, where there is one."""
        return Path(self.url.database) if self.sqlite and self.url.database else None

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction that may write. Raises Unavailable where the database can't be reached or stays busy.

        What is not `durable` waits for no disk, and a power cut may undo it: for what then does itself again.
        SQLite lets one writer in at a time and is unfair to those who wait, so the threads of this process queue for
        a lock of their own, and processes for their turn.
        """
        if not self.sqlite:
            with translated(), self._writing.begin() as connection:
                if not durable:
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield connection
            return
        if not self._writer.acquire(timeout=self.busy_timeout_s):
            raise _unavailable("The database is busy.")
        try:
            with (
                self._turn.taken() if self._turn is not None else nullcontext(),
                translated(),
                (self._writing if durable else self._lax).begin() as connection,
            ):
                yield connection
        finally:
            self._writer.release()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """For reading alone; it waits for no writer.

        On SQLite it is one snapshot; on PostgreSQL each statement sees what was committed when it began.
        """
        with translated(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """For one SELECT, which is its own transaction: on SQLite that saves half of what `read` costs."""
        with translated(), self.engine.connect() as connection:
            yield connection

    def now(self, connection: Connection | None = None) -> float:
        """Return the database's clock in Unix seconds: one clock for every machine that shares it."""
        if self.sqlite:  # serves one machine, and has no clock but this one
            return time.time()
        if connection is not None:
            return _postgres_now(connection)
        with self.read() as opened:
            return _postgres_now(opened)

    def now_about(self) -> float:
        """Return the database's clock, asked at most once a second and carried on by the local one.

        For requests, which would else go round to the server once more each. Not for the worker: a machine that slept
        is wrong here by as long, for up to a second.
        """
        if self.sqlite:
            return self.now()
        asked_at, ahead_s = self._asked
        if not 0 <= time.monotonic() - asked_at < _ASKED_EVERY_S:
            now, asked_at = self.now(), time.monotonic()
            ahead_s = now - asked_at
            self._asked = asked_at, ahead_s
        return time.monotonic() + ahead_s

    def copy_log(self) -> None:
        """Copy SQLite's log into the file, beside those who read and write; nothing to do on PostgreSQL.

        Whoever does it waits for the disk twice. So that those who write need not, it is to be called every second.
        """
        if self.sqlite:
            with translated(), self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        if self._turn is not None:
            self._turn.close()


_POSTGRES_NOW = sa.text("SELECT extract(epoch FROM clock_timestamp())::double precision")


def _postgres_now(connection: Connection) -> float:
    return float(connection.scalar(_POSTGRES_NOW))


def insert(connection: Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT that knows ON CONFLICT: both engines do, but SQLAlchemy spells it per dialect."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def _unavailable(message: str) -> Unavailable:
    return Unavailable(message, code="unavailable")


@contextmanager
def translated() -> Iterator[None]:
    """Trouble reaching or waiting for the database is `Unavailable`; a wrong statement stays what it is: a bug."""
    try:
        yield
    except PoolTimeoutError as error:
        raise _unavailable("The database is busy.") from error
    except OperationalError as error:
        # Deadlocks, lock and statement time-outs, disconnects and shutdowns of PostgreSQL are all in this class.
        if _is_wrong_statement(error):
            raise
        raise _unavailable(_reason(error)) from error
    except DBAPIError as error:
        if _is_read_only(error.orig):
            raise _unavailable("The database takes no writes at present.") from error
        if error.connection_invalidated:
            raise _unavailable("The database connection was lost.") from error
        if _is_unmigrated(error):
            raise _unavailable(_UNMIGRATED) from error
        raise


_UNMIGRATED = "The database is not at this program's schema yet."


def _is_wrong_statement(error: OperationalError) -> bool:
    """Whether SQLite, which has one class for everything, means the statement itself."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR and not _is_unmigrated(error)


def _is_read_only(error: BaseException | None) -> bool:
    """Whether PostgreSQL takes no writes: as a standby, and where a provider lets nobody write to a full disk."""
    return getattr(error, "sqlstate", None) == "25006"


def _is_unmigrated(error: DBAPIError) -> bool:
    if isinstance(error, ProgrammingError):
        return getattr(error.orig, "sqlstate", None) in {"42P01", "42703"}  # undefined table, undefined column
    return str(error.orig).startswith(("no such table", "no such column"))


def _reason(error: OperationalError) -> str:
    words = str(error.orig).lower()
    if _is_unmigrated(error):
        return _UNMIGRATED
    if "locked" in words or "busy" in words or "timeout" in words or "deadlock" in words:
        return "The database is busy."
    if "full" in words or "no space" in words:
        return "The database cannot write: its disk is full."
    return "The database cannot be reached."


def _postgres_engine(url: sa.URL, pool_size: int, busy_timeout_s: float) -> Engine:
    # No `pool_pre_ping`: it costs a round trip a transaction. The first statement on a lost connection fails, and with
    # it SQLAlchemy renews the whole pool, so after a restart there is one 503 or one late tick, not one a connection.
    timeouts = {
        "lock_timeout": busy_timeout_s,
        "statement_timeout": _STATEMENT_TIMEOUT_S,
        "idle_in_transaction_session_timeout": _IDLE_TIMEOUT_S,
    }
    options = [f"-c {name}={int(seconds * 1000)}" for name, seconds in timeouts.items()]
    # The server's own: a machine of ours that vanished within a transaction must not hold its locks for hours.
    options += [f"-c tcp_keepalives_{name}={value}" for name, value in _KEEPALIVES.items()]
    engine = sa.create_engine(
        url,
        hide_parameters=True,  # prompts and callback URLs have no business in a traceback
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=busy_timeout_s,
        pool_recycle=1800,
        # So BEGIN is ours: the driver's own goes round to the server before every first statement, reading or not.
        isolation_level="AUTOCOMMIT",
        connect_args={
            "connect_timeout": 5,
            # A server that vanished without a word is noticed by these, in well under a minute.
            **{f"keepalives_{name}": value for name, value in _KEEPALIVES.items()},
            "tcp_user_timeout": 20_000,
            "options": " ".join(options),
        },
    )
    _begin_ourselves(engine)
    _leave_what_is_read_only(engine)
    return engine


def _leave_what_is_read_only(engine: Engine) -> None:
    @event.listens_for(engine, "handle_error")
    def renew(context: ExceptionContext) -> None:
        # A session may stay so for as long as it lives, though the server, or the one that took over, writes again.
        if _is_read_only(context.original_exception):
            context.is_disconnect = True


def _sqlite_engine(url: sa.URL, synchronous: str, pool_size: int, busy_timeout_s: float) -> Engine:
    engine = sa.create_engine(
        url,
        hide_parameters=True,  # prompts and callback URLs have no business in a traceback
        pool_size=pool_size,
        max_overflow=4,
        pool_timeout=busy_timeout_s,
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own implicit BEGIN is deferred, and a deferred transaction that turns to writing gets
        # SQLITE_BUSY at once, without any waiting. So BEGIN is ours.
        connection.isolation_level = None
        _set_wal(connection, busy_timeout_s)
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("PRAGMA foreign_keys=ON")
        # Who crosses this line copies the log, or what `copy_log` has not come to, while others wait. At the default
        # of 1000 that is a few times a second under load; and most of a long log are later states of the same pages.
        connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")

    _begin_ourselves(engine)
    return engine


def _begin_ourselves(engine: Engine) -> None:
    """Let a transaction begin as its connection's option says; without one, every statement is its own."""

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if "gateway_begin" not in options:
            return
        wanted = options.get("gateway_synchronous")
        # Kept by the connection from one transaction to the next, and not to be changed within one.
        if wanted is not None and connection.info.get("synchronous") != wanted:
            connection.exec_driver_sql(f"PRAGMA synchronous={wanted}")
            connection.info["synchronous"] = wanted
        connection.exec_driver_sql(options["gateway_begin"])


def _set_wal(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    """Turn WAL on; on a new file several processes may try at once, and for this SQLite does not wait by itself."""
    until = time.monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
