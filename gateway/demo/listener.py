"""A small threaded HTTP/1.1 server for the demo's own WSGI apps."""

from __future__ import annotations

import logging
import socket
import socketserver
import struct
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from gateway.demo.connection import Connection

if TYPE_CHECKING:
    from types import TracebackType
    from wsgiref.types import WSGIApplication

log = logging.getLogger(__name__)


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One thread a connection; knows its connections, so that stopping ends them all."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, *, address: tuple[str, int], app: WSGIApplication, max_body: int) -> None:
        self.app = app
        self.max_body = max_body
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Note the connection before its thread starts."""
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection: with a FIN, or where it lingers for 0 seconds with a reset."""
        if struct.unpack("ii", request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))[0]:
            self.close_request(request)
        else:
            super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the parent's
        """Say nothing: a client that goes away is no error here."""
        log.debug("connection from %s ended: %s", client_address, sys.exception())

    def hang_up(self, *, patience_s: float) -> None:
        """End every connection at once and wait for their threads to notice."""
        with self._changed:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    log.debug("a connection was gone already")
            self._changed.wait_for(lambda: not self._open, patience_s)


class Listener:
    """Serves a WSGI app on its own port: in a thread between `start` and `stop`, or in the caller's thread."""

    def __init__(
        self, *, app: WSGIApplication, host: str = "127.0.0.1", port: int = 0, max_body: int = 1 << 25
    ) -> None:
        self._app = app
        self._address = (host, port)
        self._max_body = max_body
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._serving = False

    @property
    def url(self) -> str:
        """The root, without a slash at its end. Raises RuntimeError before it listens."""
        if self._server is None:
            msg = "not listening yet"
            raise RuntimeError(msg)
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def listen(self) -> None:
        """Take the port. Raises OSError where it cannot be had."""
        if self._server is None:
            self._server = Server(address=self._address, app=self._app, max_body=self._max_body)

    def start(self) -> None:
        """Serve in a thread of its own."""
        self.listen()
        self._serving = True
        self._thread = threading.Thread(target=self.serve_forever, name=f"listener {self.url}", daemon=True)
        self._thread.start()

    def serve_forever(self) -> None:
        """Serve in this thread until `stop` is called from another."""
        self.listen()
        self._serving = True
        try:
            if self._server is not None:
                self._server.serve_forever(poll_interval=0.05)
        finally:
            self._serving = False

    def stop(self) -> None:
        """Close the port and every connection, whatever is being answered."""
        if self._server is None:
            return
        if self._serving:
            self._server.shutdown()
        if self._thread is not None:
            self._thread.join()
        self._server.server_close()
        self._server.hang_up(patience_s=2.0)
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
