"""The turn to write: who of the processes that share a SQLite file comes next.

SQLite lets whoever finds its one writer busy sleep for ever longer, up to a tenth of a second, while the one that has
just written comes again at once: of two busy processes one starves, and meanwhile the database is idle for a third of
the time.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

_LOOK_AGAIN_S = 0.0002
_PATIENCE_S = 0.5


class Turn:
    """A lock on a file beside the database, which ends with the process. It only orders those who write.

    What protects the database is its own lock. So whoever can't have the turn goes on without it: a process may have
    been frozen with it, or the file may not be to be had. For one thread of a process at a time.
    """

    def __init__(self, database: Path) -> None:
        # Never the database itself: closing any descriptor of that takes this process' locks on it away.
        self._path = database.with_name(database.name + "-turn.lock")
        self._descriptor: int | None = None
        self._stuck = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Within it the turn is ours, unless another process keeps it for long."""
        descriptor = self._opened()
        if descriptor is not None:
            self._wait(descriptor)
        try:
            yield
        finally:
            if descriptor is not None:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, before a fork too: parent and child would share the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int | None:
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError:  # a disk that is full, or another user's file
                return None
        return self._descriptor

    def _wait(self, descriptor: int) -> None:
        until = monotonic() + (0.0 if self._stuck else _PATIENCE_S)
        # Looked for anew rather than waited for by the system: that has no end to it, and a turn lasts a millisecond.
        while not _locked(descriptor):
            if monotonic() >= until:
                self._stuck = True
                return
            sleep(_LOOK_AGAIN_S)
        self._stuck = False


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without such locks
        return False
    return True
