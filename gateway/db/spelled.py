"""Statements spelled out once and run by the driver: SQLAlchemy's part in one costs four times what SQLite's does.

For the one path on which that shows. Errors are the driver's own: whoever runs these repeats what failed in the usual
way, which translates errors and renews lost connections.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

Values = Mapping[str, Any]


class Spelled:
    """One statement in an engine's words; dicts and lists among its values are JSON."""

    def __init__(self, statement: sa.Executable, dialect: Dialect, *, columns: Sequence[str] | None = None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)  # type: ignore[attr-defined]
        self.sql = str(compiled)
        self._order: Sequence[str] | None = compiled.positiontup
        self._json = _json_of(dialect)

    def rows(self, connection: Connection, values: Values) -> Sequence[Any]:
        """Run a SELECT and return its rows as tuples."""
        cursor = connection.connection.cursor()
        try:
            cursor.execute(self.sql, self.bound(values))
            return cursor.fetchall()
        finally:
            cursor.close()

    def run(self, connection: Connection, several: Sequence[Values]) -> None:
        """Run it once for each of several sets of values."""
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(self.sql, [self.bound(values) for values in several])
        finally:
            cursor.close()

    def bound(self, values: Values) -> Any:
        """Return the values as the driver takes them."""
        told = {name: self._json(v) if isinstance(v, dict | list) else v for name, v in values.items()}
        return told if self._order is None else tuple(told[name] for name in self._order)


def _json_of(dialect: Dialect) -> Callable[[Any], Any]:
    if dialect.name != "postgresql":
        return json.JSONEncoder().encode
    from psycopg.types.json import Jsonb  # noqa: PLC0415 - only where it is the driver

    return Jsonb
