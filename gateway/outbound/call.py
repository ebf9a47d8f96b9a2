"""One request on its way: what it may take, and how far it got."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from gateway.outbound.deadline import Deadlines, Ticket
from gateway.outbound.errors import AnswerLost, NotSent


class Call:
    """The state that the connection fills in and the session reads. Belongs to one thread until the answer is open."""

    def __init__(
        self,
        *,
        deadlines: Deadlines,
        at: float,
        connect_by: float,
        before_send: Callable[[], bool] | None,
        fresh: bool = False,
    ) -> None:
        self.at = at
        """The monotonic instant at which the socket is shut down."""
        self.connect_by = min(at, connect_by)
        self.fresh = fresh
        """Whether a kept-alive connection must not be used."""
        self.sent = False
        self.reused = True
        self.peer: str | None = None
        self.sock: socket.socket | None = None
        self.handle: socket.socket | None = None
        self.orphan: socket.socket | None = None
        """The handle of a connection that was closed while this call still reads from it."""
        self._deadlines = deadlines
        self._before_send = before_send
        self._asked = False
        self._ticket: Ticket | None = None

    @property
    def expired(self) -> bool:
        """Whether the deadline shut the socket down, or is past."""
        return (self._ticket is not None and self._ticket.fired) or time.monotonic() >= self.at

    def watch(self, handle: socket.socket, *, at: float) -> None:
        """Have `handle` shut down at `at`, instead of whatever was watched before."""
        self.unwatch()
        self.at = at
        self.handle = handle
        self._ticket = self._deadlines.arm(handle, at=at)

    def unwatch(self) -> None:
        """Forget the deadline's watch, not the deadline."""
        if self._ticket is not None:
            self._deadlines.disarm(self._ticket)

    def extend(self, at: float | None) -> None:
        """Put another deadline, or none, in place of the present one. Raises AnswerLost where that has passed."""
        self.unwatch()
        if self._ticket is not None and self._ticket.fired:
            raise AnswerLost("timeout")
        self.at = float("inf") if at is None else at
        if at is not None and self.handle is not None:
            self.watch(self.handle, at=at)

    def again(self, *, connect_timeout_s: float) -> Call:
        """Return a call with the same deadline that takes a new connection."""
        return Call(
            deadlines=self._deadlines,
            at=self.at,
            connect_by=time.monotonic() + connect_timeout_s,
            before_send=self._before_send,
            fresh=True,
        )

    def ask(self) -> None:
        """Ask once whether the request may leave. Raises NotSent."""
        if not self._asked:
            self._asked = True
            if self._before_send is not None and not self._before_send():
                raise NotSent("declined", declined=True)
            if self.expired:
                raise NotSent("timeout")

    def lost(self, reason: str, *, stale: bool = False) -> AnswerLost | NotSent:
        """Return the error for a failure of the connection in use; the deadline's own doing is called `timeout`."""
        if self.expired:
            reason, stale = "timeout", False
        return AnswerLost(reason, stale=stale) if self.sent else NotSent(reason)

    def finish(self) -> None:
        """Let go of the deadline, and of a connection that is closed already."""
        self.unwatch()
        if self.orphan is not None:
            self.orphan.close()
            self.orphan = None


class Calls(threading.local):
    """The call that a thread is about to open: requests has no way to hand it through to the connection."""

    call: Call | None = None
    kept: dict[object, Any] | None = None
    """The connections that the thread keeps for its next calls, by their pools; None where it keeps none."""
