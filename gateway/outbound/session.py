"""Requests with a total deadline and a bounded answer, over requests and urllib3."""

from __future__ import annotations

import contextlib
import http.client
import http.cookiejar
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import certifi
import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from gateway.outbound.connection import Adapter, Call, Calls
from gateway.outbound.deadline import Deadlines
from gateway.outbound.dial import AnyAddress, Finder
from gateway.outbound.errors import AnswerLost, Blocked, NotSent

__all__ = ["AnswerLost", "Blocked", "NotSent", "Outbound", "Reply", "Stream"]

_NETWORK = (requests.RequestException, HTTPError, http.client.HTTPException, OSError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A whole answer, or as much of it as was asked for."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Names match in any case."""
    body: bytes = field(repr=False)
    truncated: bool
    """Whether there was more body than `max_body`."""
    elapsed_s: float
    peer: str | None
    """The address that answered."""


class Stream:
    """An answer whose body is still on the wire. Use it from one thread at a time."""

    def __init__(self, *, response: requests.Response, call: Call) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.peer = call.peer
        self._raw = response.raw
        self._answer: Any = response.raw._original_response  # noqa: SLF001
        self._call = call
        self._ended = False

    @property
    def length(self) -> int | None:
        """How many bytes of body are still to come, or None where the answer does not say."""
        return None if self._answer.chunked else self._answer.length

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer as far as one read gives, and return the number of bytes; 0 at the end. Raises AnswerLost."""
        if self._ended or not len(buffer):
            return 0
        try:
            count = self._read(buffer)
        except TimeoutError as error:
            raise AnswerLost("timeout") from error
        except http.client.IncompleteRead as error:
            raise self._call.lost("short") from error
        except (http.client.HTTPException, ValueError) as error:
            raise self._call.lost("malformed") from error
        except OSError as error:
            raise self._call.lost("reset") from error
        if not count:
            self._end()
        return count

    def read_up_to(self, limit: int) -> bytes:
        """Return the next bytes until the end or `limit`, whichever is first. Raises AnswerLost."""
        body = bytearray()
        size = min(limit, 65536 if self.length is None else max(1, self.length))
        block = memoryview(bytearray(size))
        while len(body) < limit and (count := self.readinto(block[: limit - len(body)])):
            body += block[:count]
        return bytes(body)

    def limit(self, *, stall_s: float, at: float | None) -> None:
        """From now on no read waits longer than `stall_s` seconds, and none goes on past the monotonic instant `at`."""
        self._call.extend(at)
        if self._call.sock is not None:
            self._call.sock.settimeout(stall_s)

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else close it."""
        self._call.unwatch()
        if not self._ended:
            self._raw.close()
        self._raw.release_conn()
        self._call.finish()

    def _read(self, buffer: memoryview) -> int:
        answer = self._answer
        if answer.chunked:
            block = answer.read1(len(buffer))
            buffer[: len(block)] = block
            return len(block)
        if answer.fp is None or answer.length == 0:
            return 0
        if answer.length is not None:
            buffer = buffer[: answer.length]
        # Past http.client's own readinto, which goes on until the buffer is full and a short body for whole.
        count: int = answer.fp.readinto1(buffer)
        if answer.length is not None:
            if not count:
                raise http.client.IncompleteRead(b"", answer.length)
            answer.length -= count
        return count

    def _end(self) -> None:
        # A body without a length ends when the connection does; so does one that the deadline cut off.
        if self._answer.length is None and self._call.expired:
            raise AnswerLost("timeout")
        self._ended = True
        self._answer.close()


class _Session(requests.Session):
    def get_redirect_target(self, resp: Any) -> None:  # noqa: ARG002
        """None: even without following, requests would read a redirect's whole body to prepare the next request."""
        return


class Outbound:
    """Requests to one kind of remote: upstreams, receivers, a store. Safe from many threads.

    With `reuse=False` each call makes a connection of its own: a server may close a kept-alive connection at the very
    moment a POST goes out on it, and then nobody can say whether the POST arrived. On a kept-alive connection that was
    closed before the first byte of an answer a GET is sent once more, anything else raises AnswerLost.

    No redirects, retries, cookies, proxies or credentials from the environment.
    Certificates: the system's and certifi's, or those of `tls`.
    """

    def __init__(
        self,
        *,
        pool_size: int,
        deadlines: Deadlines,
        reuse: bool = True,
        guard: Finder | None = None,
        block_size: int = 65536,
        connect_timeout_s: float = 10.0,
        resolve_timeout_s: float = 5.0,
        tls: ssl.SSLContext | None = None,
        user_agent: str = "Sora-Gateway",
    ) -> None:
        self._deadlines = deadlines
        self._finder: Finder = guard or AnyAddress()
        self._connect_timeout_s = connect_timeout_s
        self._calls = Calls()
        self._session = _Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=()))
        self._session.headers = CaseInsensitiveDict(
            {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        )
        if not reuse:
            self._session.headers["Connection"] = "close"
        adapter = Adapter(
            calls=self._calls,
            finder=self._finder,
            resolve_timeout_s=resolve_timeout_s,
            reuse=reuse,
            tls=tls or _trusted(),
            block_size=block_size,
            pool_size=pool_size,
        )
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def exchange(
        self,
        method: str,
        url: str,
        *,
        deadline_s: float,
        max_body: int,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        files: Any = None,
        json: Any = None,
        params: Any = None,
        before_send: Callable[[], bool] | None = None,
    ) -> Reply:
        """Send a request and read the answer's body up to `max_body` bytes, all within `deadline_s` seconds.

        `data` may be bytes or an object with `__len__` and `read`, which is sent in blocks; what its `read` raises
        passes through. `before_send` is asked once the connection is up, right before the first byte; False sends
        nothing. Raises NotSent or AnswerLost.
        """
        started = time.monotonic()
        request = requests.Request(method, url, headers=headers, data=data, files=files, json=json, params=params)
        call = self._call(deadline_s, before_send)
        with contextlib.closing(self._open(request, call)) as stream:
            body = stream.read_up_to(max_body + 1)
        return Reply(
            status=stream.status,
            headers=stream.headers,
            body=body[:max_body],
            truncated=len(body) > max_body,
            elapsed_s=time.monotonic() - started,
            peer=stream.peer,
        )

    def stream(
        self,
        method: str,
        url: str,
        *,
        first_byte_s: float,
        stall_s: float,
        deadline_s: float | None,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        params: Any = None,
        before_send: Callable[[], bool] | None = None,
    ) -> AbstractContextManager[Stream]:
        """Send a request and leave the answer's body to be read inside the `with`. Raises NotSent or AnswerLost.

        The head must be there within `first_byte_s` seconds, no read may wait longer than `stall_s`, and all of it may
        take `deadline_s` seconds, or any time where that is None.
        """
        request = requests.Request(method, url, headers=headers, data=data, params=params)
        return self._stream(request, first_byte_s=first_byte_s, stall_s=stall_s, deadline_s=deadline_s, ask=before_send)

    def close(self) -> None:
        """Close the kept connections and let the resolver's threads end."""
        self._session.close()
        self._finder.close()

    @contextlib.contextmanager
    def _stream(
        self,
        request: requests.Request,
        *,
        first_byte_s: float,
        stall_s: float,
        deadline_s: float | None,
        ask: Callable[[], bool] | None,
    ) -> Iterator[Stream]:
        started = time.monotonic()
        call = self._call(first_byte_s if deadline_s is None else min(first_byte_s, deadline_s), ask)
        with contextlib.closing(self._open(request, call)) as stream:
            stream.limit(stall_s=stall_s, at=None if deadline_s is None else started + deadline_s)
            yield stream

    def _call(self, seconds: float, before_send: Callable[[], bool] | None) -> Call:
        now = time.monotonic()
        return Call(
            deadlines=self._deadlines,
            at=now + seconds,
            connect_by=now + min(seconds, self._connect_timeout_s),
            before_send=before_send,
        )

    def _open(self, request: requests.Request, call: Call) -> Stream:
        self._finder.admit(str(request.url))
        try:
            prepared = self._session.prepare_request(request)
        except (requests.RequestException, ValueError) as error:
            raise NotSent("invalid") from error
        try:
            return self._send(prepared, call)
        except AnswerLost as lost:
            if not lost.stale or prepared.method != "GET":
                raise
        return self._send(prepared, call.again(connect_timeout_s=self._connect_timeout_s))

    def _send(self, prepared: requests.PreparedRequest, call: Call) -> Stream:
        outer, self._calls.call = self._calls.call, call
        seconds = max(0.001, call.at - time.monotonic())
        try:
            response = self._session.send(prepared, stream=True, allow_redirects=False, timeout=(seconds, seconds))
            return Stream(response=response, call=call)
        except _NETWORK as error:
            call.finish()
            raise call.lost("malformed" if call.sent else "invalid") from error
        except BaseException:
            call.finish()
            raise
        finally:
            # A body may be read from another answer while it is sent, so calls can be nested.
            self._calls.call = outer


def _trusted() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context
