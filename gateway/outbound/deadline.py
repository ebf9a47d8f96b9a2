"""Total deadlines: one thread that shuts sockets down when their time is over."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import socket
import threading
import time

_MANY_DEAD = 256


class Ticket:
    """One armed deadline."""

    __slots__ = ("fired", "handle")

    def __init__(self, handle: socket.socket) -> None:
        self.handle: socket.socket | None = handle
        self.fired = False
        """Whether the deadline passed and the socket was shut down."""


class Deadlines:
    """A heap of deadlines and the daemon thread that waits for the earliest, which the first of them starts.

    Arming and disarming cost a lock and a heap operation. A socket's own time-out starts anew with every read, so a
    peer that drips a byte a second would hold a thread for ever; a shutdown wakes whatever blocks on the socket.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._heap: list[tuple[float, int, Ticket]] = []
        self._order = itertools.count()
        self._dead = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    def arm(self, handle: socket.socket, *, at: float) -> Ticket:
        """Shut `handle` down at the monotonic instant `at`, unless disarmed before. Never closes it."""
        ticket = Ticket(handle)
        with self._changed:
            entry = (at, next(self._order), ticket)
            heapq.heappush(self._heap, entry)
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                # Kept only once it runs: a process may have no thread left, and then the next deadline tries again.
                thread.start()
                self._thread = thread
            elif self._heap[0] is entry:
                self._changed.notify()
        return ticket

    def disarm(self, ticket: Ticket) -> None:
        """Forget the deadline. After the return the handle is not touched any more, so it may be closed."""
        with self._changed:
            if ticket.handle is None:
                return
            ticket.handle = None
            self._dead += 1
            if self._dead > _MANY_DEAD and self._dead > len(self._heap) // 2:
                self._heap = [entry for entry in self._heap if entry[2].handle is not None]
                heapq.heapify(self._heap)
                self._dead = 0

    def close(self) -> None:
        """End the thread. Deadlines still armed do not fire any more."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is None or wait > 0:
                    self._changed.wait(wait)
                else:
                    self._fire(heapq.heappop(self._heap)[2])

    def _fire(self, ticket: Ticket) -> None:
        if ticket.handle is None:
            self._dead -= 1
            return
        ticket.fired = True
        handle, ticket.handle = ticket.handle, None
        with contextlib.suppress(OSError):
            handle.shutdown(socket.SHUT_RDWR)
