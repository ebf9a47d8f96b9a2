"""Bounded pools of threads: a slow upstream, bucket or receiver holds up nobody but its own pool."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from gateway.jobs.errors import Unavailable

log = logging.getLogger(__name__)


class Pool:
    """A fixed number of threads that takes no more work than it can begin at once."""

    def __init__(self, name: str, threads: int, *, freed: Callable[[], None] = lambda: None) -> None:
        """`freed` is called whenever a piece of work has ended and its place is free again."""
        self.name = name
        self.threads = threads
        self._freed = freed
        self._executor = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._free = threads
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._closed = False
        # There is always one thread to take what others could not be begun for; those begin as they are needed.
        self._executor.submit(lambda: None)

    @property
    def free(self) -> int:
        """How many pieces of work could begin now: what may be claimed."""
        with self._lock:
            return self._free

    def start(self, work: Callable[[], None]) -> None:
        """Begin a piece of work; what it raises is logged, since its claim brings the row back."""
        with self._lock:
            # Within the lock, and counted only once it is certain: a pool that has ended takes no place for it.
            if self._closed:
                raise RuntimeError("The pool has ended.")
            try:
                self._executor.submit(self._run, work)
            except RuntimeError as error:
                # The work stands in line all the same: a thread of this pool that gets free takes it.
                log.warning("%s goes on with the threads that it has: %s", self.name, error)
            self._free -= 1

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Unavailable as error:
            # An outage meets every step at once: a line for each says enough.
            log.warning("A step was given up: %s Its row comes due again.", error.message)
        except Exception:
            log.exception("A step failed unexpectedly; its row comes due again.")
        finally:
            with self._idle:
                self._free += 1
                self._idle.notify_all()
            self._freed()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing is under way; whether that came true in time."""
        with self._idle:
            return self._idle.wait_for(lambda: self._free == self.threads, timeout_s)

    def close(self) -> None:
        """Take no more work; does not wait for what is under way."""
        with self._lock:
            self._closed = True
        self._executor.shutdown(wait=False, cancel_futures=True)
