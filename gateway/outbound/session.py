"""Requests with a total deadline and a bounded answer, over requests and urllib3."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import certifi
import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from gateway.outbound.call import Call, Calls
from gateway.outbound.connection import Adapter
from gateway.outbound.deadline import Deadlines
from gateway.outbound.dial import AnyAddress, Finder
from gateway.outbound.errors import AnswerLost, Blocked, NotSent
from gateway.outbound.stream import Stream

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


class Outbound:
    """Requests to one kind of remote: upstreams, receivers, a store. Safe from many threads.

    With `reuse=False` each call makes a connection of its own: a server may close a kept-alive connection at the very
    moment a POST goes out on it, and then nobody can say whether the POST arrived. On a kept-alive connection that was
    closed before the first byte of an answer a GET is sent once more, anything else raises AnswerLost.

    No redirects, retries, cookies, proxies or credentials from the environment.
    Certificates: the system's and certifi's, or those of `tls`, which may be shared.
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
        # A guard may be shared, so only a finder of our own is closed with us.
        self._owns_finder = guard is None
        self._connect_timeout_s = connect_timeout_s
        self._calls = Calls()
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._last_headers = self._headers if reuse else {**self._headers, "Connection": "close"}
        """Of a request after which the connection is closed, unless it is kept."""
        # No requests.Session: looking for cookies, hooks, proxies and redirects would cost as much as the request.
        self._adapter = Adapter(
            calls=self._calls,
            finder=self._finder,
            resolve_timeout_s=resolve_timeout_s,
            reuse=reuse,
            tls=tls or trusted(),
            block_size=block_size,
            pool_size=pool_size,
        )

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
        call = self._call(deadline_s, before_send)
        prepared = self._prepared(method, url, headers, data=data, files=files, json=json, params=params)
        with contextlib.closing(self._open(prepared, call)) as stream:
            body = stream.read_up_to(max_body + 1)
        return Reply(
            status=stream.status,
            headers=stream.headers,
            body=body[:max_body],
            truncated=len(body) > max_body,
            elapsed_s=time.monotonic() - started,
            peer=stream.peer,
        )

    @contextlib.contextmanager
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
    ) -> Iterator[Stream]:
        """Send a request and leave the answer's body to be read inside the `with`. Raises NotSent or AnswerLost.

        The head must be there within `first_byte_s` seconds, no read may wait longer than `stall_s`, and all of it may
        take `deadline_s` seconds, or any time where that is None.
        """
        started = time.monotonic()
        call = self._call(first_byte_s if deadline_s is None else min(first_byte_s, deadline_s), before_send)
        prepared = self._prepared(method, url, headers, data=data, params=params)
        with contextlib.closing(self._open(prepared, call)) as stream:
            stream.limit(stall_s=stall_s, at=None if deadline_s is None else started + deadline_s)
            yield stream

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within the `with`, this thread's calls with `reuse=False` go over one connection for each origin, too.

        They must be harmless to repeat: one that meets a connection which the server closed before the first byte of an
        answer is sent once more, over a new one. For a few seconds and a few calls: names are resolved when a
        connection is made, and all of them are closed at the end.

        What the guard promises holds: a kept connection leads to the very address that was looked at when it was made,
        and that is looked at again before each request. A name that changes its address in between leads nowhere else,
        since it is not asked again; and once it is asked, its new address is looked at.
        """
        kept: dict[object, Any] = {}
        self._calls.kept = kept
        try:
            yield
        finally:
            self._calls.kept = None
            for connection in kept.values():
                connection.close()

    def close(self) -> None:
        """Close the kept connections and let the resolver's threads end; a guard is closed by who made it."""
        self._adapter.close()
        if self._owns_finder:
            self._finder.close()

    def _call(self, seconds: float, before_send: Callable[[], bool] | None) -> Call:
        now = time.monotonic()
        return Call(
            deadlines=self._deadlines,
            at=now + seconds,
            connect_by=now + min(seconds, self._connect_timeout_s),
            before_send=before_send,
        )

    def _prepared(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        *,
        data: Any = None,
        files: Any = None,
        json: Any = None,
        params: Any = None,
    ) -> requests.PreparedRequest:
        self._finder.admit(url)
        prepared = requests.PreparedRequest()
        try:
            prepared.prepare_method(method)
            prepared.prepare_url(url, params)
            ours = self._last_headers if self._calls.kept is None else self._headers
            prepared.prepare_headers(CaseInsensitiveDict(ours, **(headers or {})))
            prepared.prepare_body(data, files, json)
        except (requests.RequestException, ValueError) as error:
            raise NotSent("invalid") from error
        return prepared

    def _open(self, prepared: requests.PreparedRequest, call: Call) -> Stream:
        try:
            return self._send(prepared, call)
        except AnswerLost as lost:
            harmless = self._calls.kept is not None or (prepared.method == "GET" and prepared.body is None)
            if not lost.stale or not harmless:
                raise
        return self._send(prepared, call.again(connect_timeout_s=self._connect_timeout_s))

    def _send(self, prepared: requests.PreparedRequest, call: Call) -> Stream:
        outer, self._calls.call = self._calls.call, call
        seconds = max(0.001, call.at - time.monotonic())
        try:
            return Stream(response=self._adapter.open(prepared, timeout_s=seconds), call=call)
        except _NETWORK as error:
            call.finish()
            raise call.lost("malformed" if call.sent else "invalid") from error
        except BaseException:
            call.finish()
            raise
        finally:
            # A body may be read from another answer while it is sent, so calls can be nested.
            self._calls.call = outer


def trusted() -> ssl.SSLContext:
    """Return a context that trusts the system's certificates and certifi's. Takes a tenth of a second: share it."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    return context
