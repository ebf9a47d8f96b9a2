"""A gunicorn worker on which slow clients hold no thread while they send, and whose own errors are JSON too.

Gunicorn's threads read requests themselves, without any deadline, so as many slow clients as there are threads stop a
worker. Here the loop waits until a request's head has arrived, and its body where that is small. Threads read only
large bodies, half of them at most, and only as long as these come at a sane rate. When there is more to do than threads
can, a request is either answered within bounded time or told at once to come back.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import secrets
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

from gateway.api.errors import error_body
from gateway.api.line import Line

HEAD_S = 20.0
"""From connecting to the end of the head and of a small body; then the connection is closed."""

BODY_GRACE_S = 10.0
BODY_BYTES_PER_S = 16 * 1024
"""A larger body has BODY_GRACE_S, and a second more for as many bytes as have come."""

UPLOAD_WAIT_S = 10.0
"""How long a large body waits for a thread before its client is told to come back."""

QUEUE_S = 5.0
"""How long a request waits for a thread at most; one that would wait longer is turned away when it comes."""

_AHEAD = 2
"""So many requests a thread are handed over at once: a thread that is done need not wait for the loop."""

_URGENT = (b"GET /healthz ", b"GET /readyz ")
"""Who is alive must be able to say so under any load."""

_LINGER_S = 5.0
"""How long a client that got its last answer may go on sending before its connection is closed."""

SEND_S = 60.0
"""The longest wait for a client to take one block of the answer."""

_PEEKED = 60 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,12})[ \t]*\r\n", re.IGNORECASE)
_OPEN_ENDED = re.compile(rb"\r\n(expect|transfer-encoding):", re.IGNORECASE)

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (errors.InvalidResponseHeader, 500),
    (errors.InvalidResponseHeaderName, 500),
    (errors.ConfigurationProblem, 500),
    (errors.LimitRequestLine, 414),
    (errors.LimitRequestHeaders, 431),
    (errors.ExpectationFailed, 417),
    (errors.UnsupportedTransferCoding, 501),
    (errors.ForbiddenProxyRequest, 403),
    (errors.ParseException, 400),
)


def missing(seen: bytes) -> int | None:
    """Return how many bytes must at least still come until the request is whole; None: a thread has to read on."""
    end = seen.find(b"\r\n\r\n")
    if end < 0:
        return 1 if len(seen) < _PEEKED else None
    head = seen[: end + 2]
    length = _LENGTH.search(head)
    whole = end + 4 + int(length[1]) if length else end + 4
    if whole > _PEEKED or _OPEN_ENDED.search(head):
        return None
    return max(0, whole - len(seen))


class _Reader(SocketUnreader):  # type: ignore[misc]  # gunicorn publishes no types
    """Reads a request under a deadline that moves on with what has come."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.begin()

    def begin(self) -> None:
        """Start the clock of the next request."""
        self._until = time.monotonic() + BODY_GRACE_S

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return what comes next; a client that is too slow looks like one that hung up."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise OSError(errno.ECONNRESET, "the client is too slow")
        self.sock.settimeout(left)
        try:
            data: bytes = super().chunk(size_hint)
        except TimeoutError as error:
            raise OSError(errno.ECONNRESET, "the client is too slow") from error
        finally:
            self.sock.settimeout(SEND_S)
        self._until += len(data) / BODY_BYTES_PER_S
        return data


class _Connection(TConn):  # type: ignore[misc]  # as above
    """A connection whose requests are read under a deadline."""

    wakes_at = 1
    """From how many bytes on the socket is called readable."""
    uploads = False
    """Whether the present request counts as one that a thread reads."""
    urgent = False
    """Whether the present request asks for the state of this process."""
    linger: Callable[[_Connection], None]
    """Closes it without cutting off what is still on its way to the client."""

    def init(self) -> None:
        """Make the parser, over our reader."""
        if not self.initialized:
            super().init()
            self.parser.unreader = _Reader(self.sock)

    def begin(self) -> None:
        """Start the clock of the next request."""
        if self.initialized:
            self.parser.unreader.begin()

    def close(self, graceful: bool = False) -> None:  # noqa: FBT001, FBT002 - gunicorn's own signature
        """Close it. Gunicorn's graceful way has the loop wait up to 2 s for the client, one client after the other."""
        if graceful:
            self.linger(self)
        else:
            super().close()


class PatientWorker(ThreadWorker):  # type: ignore[misc]  # as above
    """Gunicorn's threaded worker, with the waiting moved from its threads to its loop."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._uploads_left = max(1, self.cfg.threads // 2)
        self._uploads_waiting: deque[_Connection] = deque()
        self._lingering: deque[_Connection] = deque()
        self._handed_over = 0
        self._line: Line[_Connection] = Line(patience_s=QUEUE_S)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection and wait for its request without a thread."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        self.nr_conns += 1
        conn = _Connection(self.cfg, client, address, listener.getsockname())
        conn.linger = self._part
        self._wait_for_request(conn)

    def _wait_for_request(self, conn: Any) -> None:
        conn.timeout = time.monotonic() + HEAD_S
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def on_client_socket_readable(self, conn: Any, client: socket.socket) -> None:
        """Treat the next request of a kept-alive connection as the first of a new one."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._wait_for_request(conn)

    def on_pending_socket_readable(self, conn: Any, client: socket.socket) -> None:
        """Hand the connection to a thread once there is enough to read."""
        try:
            seen = client.recv(_PEEKED, socket.MSG_PEEK)
            # Called readable with less than was waited for: the stream has ended. It stays readable for ever then, so a
            # thread must find the end now, or the loop spins until the head's time is over.
            needed = 0 if len(seen) < conn.wakes_at else missing(seen)
            conn.urgent = seen.startswith(_URGENT)
            # The socket is not called readable again before that much has come, so a client that drips does not keep
            # the loop busy.
            wanted = len(seen) + needed if needed else 1
            if wanted != conn.wakes_at:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
                conn.wakes_at = wanted
        except BlockingIOError:
            return
        except OSError:
            needed = 0
        if needed:
            return
        conn.uploads = needed is None
        super().on_pending_socket_readable(conn, client)

    def enqueue_req(self, conn: Any) -> None:
        """Hand a connection to a thread; one with a large body only if there is room for that."""
        if not conn.uploads:
            self._hand_over(conn)
        elif self._uploads_left:
            self._uploads_left -= 1
            self._hand_over(conn)
        else:
            conn.timeout = time.monotonic() + UPLOAD_WAIT_S
            self._uploads_waiting.append(conn)

    def _hand_over(self, conn: _Connection) -> None:
        # A large body has waited for its place already.
        if self._has_room() or conn.uploads or conn.urgent:
            self._handed_over += 1
            super().enqueue_req(conn)
        elif not self._line.join(conn, time.monotonic()):
            self._turn_away(conn)

    def _has_room(self) -> bool:
        return bool(self._handed_over < self.cfg.threads * _AHEAD)

    def murder_pending(self) -> None:
        """Close what said nothing in time, and send away large bodies for which no thread got free in time."""
        super().murder_pending()
        now = time.monotonic()
        while self._uploads_waiting and self._uploads_waiting[0].timeout <= now:
            self._turn_away(self._uploads_waiting.popleft())
        for conn in self._line.late(now):
            self._turn_away(conn)
        while self._lingering and self._lingering[0].timeout <= now:
            self._let_go(self._lingering[0])

    def _turn_away(self, conn: _Connection) -> None:
        conn.sock.setblocking(False)
        with contextlib.suppress(OSError):
            conn.sock.send(_error_answer(503, f"req_{secrets.token_hex(16)}"))
        self._linger(conn)

    def _part(self, conn: _Connection) -> None:
        if conn.sock.fileno() < 0:
            return  # closed by its thread, when an answer broke off in the middle: the loop must not look for it
        self.nr_conns += 1  # who calls this has taken it for closed
        self._linger(conn)

    def _linger(self, conn: _Connection) -> None:
        """Let the client read its last answer, and close the connection when it has."""
        conn.timeout = time.monotonic() + _LINGER_S
        self._lingering.append(conn)
        conn.sock.setblocking(False)
        # What the client still sends has to be read for a while: closed over unread bytes, the answer would be lost.
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._discard, conn))
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._let_go(conn)

    def _discard(self, conn: _Connection, client: socket.socket) -> None:
        try:
            if client.recv(_PEEKED):
                return
        except BlockingIOError:
            return
        except OSError as error:
            self.log.debug("A client that had its last answer: %s", error)
        self._let_go(conn)

    def _let_go(self, conn: _Connection) -> None:
        self._lingering.remove(conn)
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Take a connection back from its thread, and give that the next."""
        self._handed_over -= 1
        conn.urgent = False  # of what the client sent behind it nothing is known
        # Where urgent ones and large bodies have gone before, the first of the line stays the first.
        following = self._line.next() if self._has_room() else None
        if following is not None:
            self._hand_over(following)
        if conn.uploads:
            conn.uploads = False
            self._uploads_left += 1
            if self._uploads_waiting:
                self.enqueue_req(self._uploads_waiting.popleft())
        super().finish_request(conn, fs)

    def handle(self, conn: Any) -> Any:
        """Serve one request, in a thread."""
        conn.begin()
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer a request; a client that does not take the answer is let go."""
        conn.sock.settimeout(SEND_S)
        return super().handle_request(req, conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Let idle connections hold up a stop no longer than kept-alive ones do."""
        super()._cap_keepalive(deadline)
        for conn in (*self.pending_conns, *self._lingering):
            conn.timeout = min(conn.timeout, deadline)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what never got to the app in the same shape as the app does."""
        del req, addr
        status = next((found for kind, found in STATUS if isinstance(exc, kind)), 500)
        request_id = f"req_{secrets.token_hex(16)}"
        if status == 500:
            self.log.error("%s: %s", request_id, type(exc).__name__, exc_info=exc)
        else:
            self.log.warning("%s: refused as malformed: %s", request_id, type(exc).__name__)
        try:
            client.settimeout(1.0)
            client.sendall(_error_answer(status, request_id))
        except OSError as error:
            self.log.debug("%s: not sent: %s", request_id, error)


def _error_answer(status: int, request_id: str) -> bytes:
    phrase = HTTPStatus(status).phrase
    if status == 500:
        body = error_body("Something went wrong here.", type_="server_error", code="internal_error")
    elif status == 503:
        body = error_body(
            "There is more to do than can be done in time. Try again soon.", type_="server_error", code="unavailable"
        )
    else:
        body = error_body(
            f"The request is malformed: {phrase}.", type_="invalid_request_error", code="malformed_request"
        )
    data = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nx-request-id: {request_id}\r\nCache-Control: no-store\r\n"
    )
    if status == 503:
        head += "Retry-After: 5\r\n"
    return head.encode() + b"\r\n" + data
