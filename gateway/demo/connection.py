"""One HTTP/1.1 connection to a WSGI app, kept usable over many requests, and ended badly where the app wants that."""

from __future__ import annotations

import logging
import selectors
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from http.client import responses
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from wsgiref.handlers import format_date_time

from gateway import clock

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

    from gateway.demo.listener import Server

log = logging.getLogger(__name__)

LINGER = "listener.linger"
"""Key of the WSGI environ: a `Linger`, to wait without outliving the connection."""

Linger = Callable[[float], bool]
"""Waits that many seconds; returns early and True when the client went away or the server stops."""


class Drop(Exception):
    """Raised by the body of an answer: send nothing more. With `reset` the client sees a reset, else an early end."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("reset" if reset else "cut")
        self.reset = reset


def dropping(before: bytes = b"", *, reset: bool) -> Iterator[bytes]:
    """Yield what still goes out, then end the connection."""
    if before:
        yield before
    raise Drop(reset=reset)


class BodyRefused(Exception):
    """The request's body is too large or malformed; the connection is of no use afterwards."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Connection(BaseHTTPRequestHandler):
    """Reads whole requests, so that connections stay usable, and streams answers."""

    protocol_version = "HTTP/1.1"
    timeout = 120
    # Head and body of an answer are separate writes; with Nagle each would wait for the client's delayed ACK.
    disable_nagle_algorithm = True
    server: Server

    def respond(self) -> None:
        """Answer one request."""
        try:
            body = self._read_body()
        except BodyRefused as refused:
            self.close_connection = True
            self._send_plain(refused.status)
            return
        try:
            self._run(self._environ(body))
        except Drop as drop:
            self._drop(reset=drop.reset)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception:
            log.exception("an answer of %s failed", self.path)
            self._drop(reset=False)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = respond  # noqa: N815 - names that http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Keep requests out of stderr."""
        log.debug(format, *args)

    def linger(self, seconds: float) -> bool:
        """Wait, watching the connection: nothing may arrive on it before our answer except its end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            return bool(selector.select(max(0.0, seconds)))

    def _drop(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            # An abortive close: `Server.shutdown_request` must then send no FIN first.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _read_body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks()
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit():
            raise BodyRefused(400)
        if int(length) > self.server.max_body:
            raise BodyRefused(413)
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise BodyRefused(400)
        return body

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while True:
            try:
                length = int(self.rfile.readline(64).split(b";")[0], 16)
            except ValueError as error:
                raise BodyRefused(400) from error
            if len(body) + length > self.server.max_body:
                raise BodyRefused(413)
            body += self.rfile.read(length)
            self.rfile.readline(64)
            if length == 0:
                return bytes(body)

    def _environ(self, body: bytes) -> WSGIEnvironment:
        target = urlsplit(self.path)
        host, port = self.server.server_address[:2]
        environ: WSGIEnvironment = {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(target.path, "latin-1"),
            "QUERY_STRING": target.query,
            "REMOTE_ADDR": self.client_address[0],
            "SERVER_NAME": str(host),
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": self.request_version,
            LINGER: self.linger,
        }
        for name, value in self.headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"] = value
        return environ

    def _run(self, environ: WSGIEnvironment) -> None:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> Callable[[bytes], object]:
            started[:] = [(status, headers)]
            return self.wfile.write

        answer: Iterable[bytes] = self.server.app(environ, start_response)
        try:
            blocks = iter(answer)
            # The first block is made before the head leaves: a body that drops at once must send nothing at all.
            first = next(blocks, b"")
            chunked = self._send_head(*started[0], first)
            for block in blocks:
                self._send_block(block, chunked=chunked)
            if chunked:
                self.wfile.write(b"0\r\n\r\n")
        finally:
            close = getattr(answer, "close", None)
            if close is not None:
                close()

    def _send_head(self, status: str, headers: list[tuple[str, str]], first: bytes) -> bool:
        names = {name.lower(): value.lower() for name, value in headers}
        bodiless = self.command == "HEAD" or status.startswith(("1", "204", "304"))
        unsized = not bodiless and "content-length" not in names
        ends = self.request_version == "HTTP/1.0" or names.get("connection") == "close"
        chunked = unsized and not ends
        self.close_connection = self.close_connection or ends
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
        lines.append(f"Date: {format_date_time(clock.wall())}")
        if chunked:
            lines.append("Transfer-Encoding: chunked")
        if self.close_connection and "connection" not in names:
            lines.append("Connection: close")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        self.wfile.write(head if bodiless else head + _framed(first, chunked=chunked))
        return chunked

    def _send_block(self, block: bytes, *, chunked: bool) -> None:
        if block:
            self.wfile.write(_framed(block, chunked=chunked))

    def _send_plain(self, status: int) -> None:
        text = responses[status].encode()
        self._send_head(f"{status} {responses[status]}", [("Content-Length", str(len(text)))], text)


def _framed(block: bytes, *, chunked: bool) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block) if chunked and block else block
