"""The seam in urllib3: connections that dial through a finder, obey a call's deadline and ask before the first byte."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from functools import partial
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_match_hostname import CertificateError

from gateway.outbound.call import Call, Calls
from gateway.outbound.dial import Finder, dial
from gateway.outbound.errors import NotSent

_SHORT = 32 * 1024


class _Watched(HTTPConnection):
    """A connection that works for one `Call` at a time. `handle` is a duplicate of its socket, for the watchdog only.

    The duplicate outlives both the wrapping in TLS, which empties the socket object that was there before, and a close
    by http.client; so the watchdog can never reach a descriptor that was closed and given to somebody else.
    """

    finder: Finder
    resolve_timeout_s: float
    call: Call | None = None
    handle: socket.socket | None = None
    peer: str | None = None
    answer: http.client.HTTPResponse | None = None
    pieces: list[bytes] | None = None

    def response_class(self, sock: socket.socket, **kw: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        """Make http.client's answer, and remember it until urllib3 has taken it over."""
        self.answer = http.client.HTTPResponse(sock, **kw)
        return self.answer

    def _the_call(self) -> Call:
        if self.call is None:
            raise NotSent("invalid")
        return self.call

    def _new_conn(self) -> socket.socket:
        call = self._the_call()
        call.reused = False
        sock = dial(
            self._dns_host,
            self.port,
            finder=self.finder,
            by=call.connect_by,
            resolve_timeout_s=self.resolve_timeout_s,
            opened=self._opened,
        )
        # A TLS handshake takes this as its total limit, however many reads it needs.
        sock.settimeout(max(0.001, call.connect_by - time.monotonic()))
        return sock

    def _opened(self, sock: socket.socket) -> None:
        self.handle = sock.dup()
        self.peer = str(sock.getpeername()[0])

    def connect(self) -> None:
        """Connect, with TLS where the scheme says so. Raises NotSent."""
        call = self._the_call()
        try:
            super().connect()
        except (ssl.SSLError, CertificateError) as error:
            raise NotSent("tls") from error
        except TimeoutError as error:
            raise NotSent("timeout") from error
        except OSError as error:
            raise NotSent("tls" if self.handle is not None else "unreachable") from error
        if self.sock is not None:
            self.sock.settimeout(max(0.001, call.at - time.monotonic()))

    def request(self, method: str, url: str, body: Any = None, *args: Any, **kw: Any) -> None:
        """Send a request; a short one leaves in one piece, which both sides handle in less time than head and body."""
        if not isinstance(body, bytes) or len(body) > _SHORT:
            super().request(method, url, body, *args, **kw)
            return
        self.pieces = []
        try:
            super().request(method, url, body, *args, **kw)
        finally:
            pieces, self.pieces = self.pieces, None
        self.send(b"".join(pieces))

    def send(self, data: Any) -> None:
        """Send bytes, once the call agrees. Raises NotSent or AnswerLost."""
        if self.pieces is not None:
            self.pieces.append(data)
            return
        call = self._the_call()
        if self.sock is None:
            self.connect()
        if not call.sent:
            self._begin(call)
        try:
            super().send(data)
        except (BrokenPipeError, ConnectionResetError):
            # urllib3 looks whether an answer came all the same: a 413 is often sent before the body was read.
            raise
        except OSError as error:
            raise call.lost("timeout" if isinstance(error, TimeoutError) else "reset", stale=call.reused) from error

    def _begin(self, call: Call) -> None:
        if self.handle is not None:
            call.watch(self.handle, at=call.at)
        call.sock, call.peer = self.sock, self.peer
        if call.reused:
            # A new connection's peer was looked at when it was made.
            self.finder.recheck(self._dns_host, self.port, self.peer or "")
        call.ask()
        call.sent = True

    def getresponse(self) -> Any:
        """Return the answer's head. Raises AnswerLost."""
        call = self._the_call()
        try:
            return super().getresponse()
        except TimeoutError as error:
            raise call.lost("timeout") from error
        except OSError as error:
            raise call.lost("reset", stale=call.reused) from error
        except (http.client.HTTPException, HTTPError, ValueError) as error:
            if self.answer is not None:
                # urllib3 refuses some headers (two lengths) without closing what it was given.
                self.answer.close()
            raise call.lost("malformed") from error
        finally:
            self.answer = None

    def close(self) -> None:
        """Close it; a call that still reads the answer keeps the handle, and with it the deadline."""
        handle, self.handle = self.handle, None
        super().close()
        if handle is None:
            return
        if self.call is not None and self.call.handle is handle:
            self.call.orphan = handle
        else:
            handle.close()


class _WatchedTls(_Watched, HTTPSConnection):
    """The same over TLS."""


class _PoolOfCalls(HTTPConnectionPool):
    """A pool that gives each connection the call it is to work for."""

    ConnectionCls = _Watched

    def __init__(
        self, *args: Any, calls: Calls, finder: Finder, resolve_timeout_s: float, reuse: bool, **kw: Any
    ) -> None:
        super().__init__(*args, **kw)
        self._calls = calls
        self._finder = finder
        self._resolve_timeout_s = resolve_timeout_s
        self._reuse = reuse

    def _get_conn(self, timeout: float | None = None) -> Any:
        call = self._calls.call
        conn: Any = super()._get_conn(timeout) if self._reuse else self._kept() or self._new_conn()
        if call is not None and call.fresh:
            conn.close()
        conn.finder, conn.resolve_timeout_s, conn.call = self._finder, self._resolve_timeout_s, call
        return conn

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.call = None
        if self._reuse:
            super()._put_conn(conn)
        elif conn is not None:
            self._keep(conn)

    def _kept(self) -> Any:
        conn: Any = self._calls.kept.pop(self, None) if self._calls.kept else None
        if conn is not None and not conn.is_connected:
            # The server has closed it meanwhile; a request opens it anew.
            conn.close()
        return conn

    def _keep(self, conn: Any) -> None:
        kept = self._calls.kept
        if kept is None or self in kept:
            conn.close()
        else:
            kept[self] = conn


class _TlsPoolOfCalls(_PoolOfCalls, HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = _WatchedTls


class Adapter(HTTPAdapter):
    """requests' adapter over such pools: no retries, no proxies, and one TLS context for all connections."""

    def __init__(
        self,
        *,
        calls: Calls,
        finder: Finder,
        resolve_timeout_s: float,
        reuse: bool,
        tls: ssl.SSLContext,
        block_size: int,
        pool_size: int,
    ) -> None:
        self._tls = tls
        self._block_size = block_size
        super().__init__(pool_connections=32, pool_maxsize=pool_size, max_retries=0)
        ours: dict[str, Any] = {
            "calls": calls,
            "finder": finder,
            "resolve_timeout_s": resolve_timeout_s,
            "reuse": reuse,
        }
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_PoolOfCalls, **ours),
            "https": partial(_TlsPoolOfCalls, **ours),
        }

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kw: Any) -> None:  # noqa: FBT001, FBT002
        """Make the pool manager with our TLS context and block size."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._tls, blocksize=self._block_size, **kw)

    def open(self, request: PreparedRequest, *, timeout_s: float) -> BaseHTTPResponse:
        """Send a request; return the answer with its body unread. Raises what requests and the connection raise."""
        answer: Any = self.send(request, timeout=(timeout_s, timeout_s))
        return answer  # type: ignore[no-any-return]

    def build_response(self, req: Any, resp: Any) -> Any:  # noqa: ARG002
        """Return urllib3's answer as it is: requests would look through it for cookies."""
        return resp

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:  # noqa: ARG002
        """Return the path and query: there is no proxy to choose."""
        return request.path_url

    def get_connection_with_tls_context(self, request: PreparedRequest, *_args: Any, **_kw: Any) -> HTTPConnectionPool:
        """Return the pool of the URL's origin: requests would have each connection load the certificates again."""
        pool: HTTPConnectionPool = self.poolmanager.connection_from_url(request.url or "")
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the TLS context decides."""
