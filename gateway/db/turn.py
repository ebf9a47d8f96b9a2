"""The turn to write: who of the processes that share a SQLite file comes next.

SQLite lets whoever finds its one writer busy sleep for ever longer, up to a tenth of a second, while the one that has
just written comes again at once: of two busy processes one starves, and meanwhile the database is idle for a third of
the time.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.0002
_PATIENCE_S = 0.5
_HURRY_S = 2.0
"""For so long nobody waits for a turn again that was waited for in vain."""


class Turn:
    """A lock on a file beside the database, which ends with the process. It only orders those who write.

    What protects the database is its own lock. So whoever can't have the turn goes on without it: a process may have
    been frozen with it, or the file may not be to be had. For one thread of a process at a time.
    """

    def __init__(self, database: Path) -> None:
        # Never the database itself: closing any descriptor of that takes this process' locks on it away.
        self._path = database.with_name(database.name + "-turn.lock")
        self._descriptor: int | None = None
        self._hurried_until = 0.0
        self._complained = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Within it the turn is ours, unless another process keeps it for long."""
        descriptor = self._opened()
        ours = descriptor is not None and self._waited_for(descriptor)
        try:
            yield
        finally:
            if descriptor is not None and ours:
                # What was written within is written, whatever comes of this.
                with suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, before a fork too: parent and child would share the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int | None:
        if self._descriptor is None:
            try:
                # To read: locking asks for no more, and the file may have been made by root.
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:  # a disk that is full, say
                if not self._complained:
                    log.warning("Processes write in no order, which is slower: %s: %s", self._path, error.strerror)
                self._complained = True
        return self._descriptor

    def _waited_for(self, descriptor: int) -> bool:
        began = monotonic()
        patient = began >= self._hurried_until
        # Looked for anew rather than waited for by the system: that has no end to it, and a turn lasts a millisecond.
        while not _locked(descriptor):
            if not patient:
                return False
            now = monotonic()
            if now - began >= _PATIENCE_S:
                self._hurried_until = now + _HURRY_S
                return False
            sleep(_LOOK_AGAIN_S)
        return True


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without such locks
        return False
    return True
