"""Statements spelled out once and run by the driver: SQLAlchemy's part in one costs four times what SQLite's does.

For the two paths on which that shows: accepting a video, and looking at one. Errors are the driver's own, unless said
otherwise: whoever runs these repeats what failed in the usual way, which translates errors and renews lost connections.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
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
        self._json = json.JSONEncoder().encode
        self._json_names = [name for name, bound in compiled.binds.items() if isinstance(bound.type, sa.JSON)]
        self._statement = statement
        self._driver = dialect.loaded_dbapi
        chosen = statement.selected_columns if isinstance(statement, sa.Select) else ()
        self._columns = [(column.name, _reader(column.type, dialect)) for column in chosen]

    def rows(self, connection: Connection, values: Values) -> Sequence[Any]:
        """Run a SELECT and return its rows as tuples."""
        return self._rows(connection.connection, values)

    def _rows(self, connection: PoolProxiedConnection, values: Values) -> Sequence[Any]:
        with closing(connection.cursor()) as cursor:
            cursor.execute(self.sql, self.bound(values))
            return cursor.fetchall()

    def look_up(self, engine: Engine, values: Values) -> Sequence[Values]:
        """Run a SELECT that is its own transaction; return its rows by column, and raise what SQLAlchemy does."""
        try:
            connection = engine.raw_connection()
        except self._driver.Error as error:
            raise self._told(error, engine.dialect) from error
        try:
            rows = self._rows(connection, values)
        except self._driver.Error as error:
            lost = engine.dialect.is_disconnect(error, connection.driver_connection, None)
            if not lost:
                connection.close()
                raise self._told(error, engine.dialect) from error
            connection.invalidate()
        else:
            connection.close()
            return [self._by_column(row) for row in rows]
        # In the usual way, which renews every connection of the pool.
        with engine.connect() as repeated:
            return [dict(row) for row in repeated.execute(self._statement, values).mappings()]

    def _told(self, error: Exception, dialect: Dialect) -> BaseException:
        return sa.exc.DBAPIError.instance(
            self.sql, None, error, self._driver.Error, hide_parameters=True, dialect=dialect
        )

    def run(self, connection: Connection, values: Values) -> None:
        """Run a statement that returns no rows."""
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(self.sql, self.bound(values))

    def run_each(self, connection: Connection, several: Sequence[Values]) -> None:
        """Run it once for each of several sets of values."""
        with closing(connection.connection.cursor()) as cursor:
            cursor.executemany(self.sql, [self.bound(values) for values in several])

    def _by_column(self, row: Sequence[Any]) -> Values:
        columns = zip(self._columns, row, strict=True)
        return {name: value if read is None else read(value) for (name, read), value in columns}

    def bound(self, values: Values) -> Any:
        """Return the values as the driver takes them."""
        spelled = {name: self._json(values[name]) for name in self._json_names if values[name] is not None}
        told = {**values, **spelled}
        return told if self._order is None else tuple(map(told.__getitem__, self._order))


def _reader(kind: sa.types.TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    """Return what makes of the driver's value that of the column, None where it is the same: psycopg knows them all."""
    return None if dialect.name == "postgresql" else kind.dialect_impl(dialect).result_processor(dialect, None)
