"""Statements spelled out once and run by the driver: SQLAlchemy's part in one costs four times what SQLite's does.

For the two paths on which that shows: accepting a video, and looking at one. Errors are the driver's own, unless said
otherwise: whoever runs these repeats what failed in the usual way, which translates errors and renews lost connections.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.pool import PoolProxiedConnection

Values = Mapping[str, Any]


class Spelled:
    """One statement in an engine's words."""

    def __init__(self, statement: sa.Executable, dialect: Dialect, *, columns: Sequence[str] | None = None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)  # type: ignore[attr-defined]
        self.sql = str(compiled)
        self._order: Sequence[str] | None = compiled.positiontup
        self._json = _json_of(dialect)
        self._json_names = [name for name, bound in compiled.binds.items() if isinstance(bound.type, sa.JSON)]
        self._statement = statement
        self._driver = dialect.loaded_dbapi
        chosen = statement.selected_columns if isinstance(statement, sa.Select) else ()
        self._columns = [(column.name, _reader(column.type, dialect)) for column in chosen]

    def ask(self, connection: Connection, values: Values) -> Callable[[], Sequence[Any]]:
        """Run a SELECT; what is returned returns its rows as tuples, once, and after `in_one_go` where it is used."""
        return self._ask(connection.connection, values)

    def _ask(self, connection: PoolProxiedConnection, values: Values) -> Callable[[], Sequence[Any]]:
        cursor = connection.cursor()
        cursor.execute(self.sql, self.bound(values))

        def rows() -> Sequence[Any]:
            with closing(cursor):
                return cursor.fetchall()

        return rows

    def look_up(self, engine: Engine, values: Values) -> Sequence[Values]:
        """Run a SELECT that is its own transaction; return its rows by column, and raise what SQLAlchemy does."""
        try:
            rows = self._looked_up(engine.raw_connection(), values)
        except self._driver.Error:
            with engine.connect() as connection:
                return [dict(row) for row in connection.execute(self._statement, values).mappings()]
        return [self._by_column(row) for row in rows]

    def _looked_up(self, connection: PoolProxiedConnection, values: Values) -> Sequence[Any]:
        try:
            rows = self._ask(connection, values)()
        except BaseException:
            connection.invalidate()  # it may be a lost one
            raise
        connection.close()
        return rows

    def run(self, connection: Connection, several: Sequence[Values]) -> None:
        """Run it once for each of several sets of values."""
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(self.sql, [self.bound(values) for values in several])
        finally:
            cursor.close()

    def _by_column(self, row: Sequence[Any]) -> Values:
        columns = zip(self._columns, row, strict=True)
        return {name: value if read is None else read(value) for (name, read), value in columns}

    def bound(self, values: Values) -> Any:
        """Return the values as the driver takes them."""
        spelled = {name: self._json(values[name]) for name in self._json_names if values[name] is not None}
        told = {**values, **spelled}
        return told if self._order is None else tuple(map(told.__getitem__, self._order))


@contextmanager
def in_one_go(connection: Connection) -> Iterator[None]:
    """Send what is run within to PostgreSQL together: one journey there and back, instead of one for each statement."""
    if connection.dialect.name != "postgresql":
        yield
        return
    with connection.connection.dbapi_connection.pipeline():  # type: ignore[union-attr]
        yield


def _json_of(dialect: Dialect) -> Callable[[Any], Any]:
    if dialect.name != "postgresql":
        return json.JSONEncoder().encode
    from psycopg.types.json import Jsonb  # noqa: PLC0415 - only where it is the driver

    return Jsonb


def _reader(kind: sa.types.TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """Return what makes of the driver's value that of the column, None where it is the same: psycopg knows them all."""
    return None if dialect.name == "postgresql" else kind.dialect_impl(dialect).result_processor(dialect, None)
