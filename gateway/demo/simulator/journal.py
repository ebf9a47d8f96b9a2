"""A file that outlives a killed simulator: what it accepted and how far its faults were counted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """A SQLite file of JSON documents by kind and id. Used under the ledger's lock."""

    def __init__(self, path: Path | None) -> None:
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        # The operating system keeps what was written when the process is killed; a power cut may take it.
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS entries (kind TEXT, id TEXT, entry TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID"
        )
        self._kept = path is not None

    def put(self, kind: str, entry_id: str, entry: Mapping[str, object]) -> None:
        """Write one entry over the one there was."""
        if self._kept:
            self._db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (kind, entry_id, json.dumps(entry)))

    def all(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every entry of a kind with its id."""
        for entry_id, entry in self._db.execute("SELECT id, entry FROM entries WHERE kind = ?", (kind,)).fetchall():
            yield entry_id, json.loads(entry)

    def forget(self, kind: str, *, prefix: str) -> None:
        """Drop every entry of a kind whose id begins so."""
        self._db.execute("DELETE FROM entries WHERE kind = ? AND substr(id, 1, ?) = ?", (kind, len(prefix), prefix))

    def close(self) -> None:
        """Close the file."""
        self._db.close()
