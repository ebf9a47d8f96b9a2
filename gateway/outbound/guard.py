"""The guard: a stranger's URL leads to a public address or nowhere, at the intake and on every connection."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from gateway.clock import Clock, monotonic
from gateway.outbound.addresses import why_not_public
from gateway.outbound.allow_list import AllowList
from gateway.outbound.errors import Blocked, NotSent
from gateway.outbound.resolve import Address, Resolver, Unresolved
from gateway.outbound.target_url import BadUrl, TargetUrl, read_url

_LOWEST_FREE_PORT = 1024
_USUAL_PORTS = frozenset({80, 443})
_CACHED_NAMES = 1024
_TURN_S = 0.25
"""How long a check waits for its turn: one client's slow names must not hold the threads that serve everybody."""

NOT_PUBLIC = "must have a host that exists and has a public address"
"""One text for both, so that nobody can ask which names our own network knows."""
BAD_PORT = "must have port 80, 443, or one from 1024 up"


class Guard:
    """Rules for the URLs of clients: http and https, public addresses, ports 80, 443 and from 1024 up.

    The low ports are those of mail, SSH and the like, whose servers would take an HTTP request for commands. A name
    with one address that is not allowed is refused whole. What is on the allow-list may be private and on any port.
    """

    def __init__(
        self,
        *,
        allow: AllowList,
        resolver: Resolver | None = None,
        check_timeout_s: float = 2.0,
        checks_at_once: int = 4,
        cache_s: float = 5.0,
        clock: Clock = monotonic,
    ) -> None:
        self._allow = allow
        self._resolver = resolver or Resolver(threads=8)
        self._check_timeout_s = check_timeout_s
        self._cache_s = cache_s
        self._clock = clock
        self._checks = threading.BoundedSemaphore(checks_at_once)
        self._lock = threading.Lock()
        self._verdicts: OrderedDict[tuple[str, int], tuple[float, str | None]] = OrderedDict()

    def check(self, url: str) -> str | None:
        """Return why the URL is refused, as a text for its author ("must …"), or None.

        Resolves the name, for at most 2 s and with a cache of a few seconds. A resolver that does not answer in time is
        no reason to refuse, and neither are too many names that are waited for: the connection is guarded again.
        """
        try:
            target = read_url(url)
        except BadUrl as bad:
            return str(bad)
        key = (target.host, target.port)
        with self._lock:
            expires, verdict = self._verdicts.get(key, (0.0, None))
        if expires > self._clock():
            return verdict
        if not self._checks.acquire(timeout=_TURN_S):
            return None
        try:
            verdict = self._judge(target)
        finally:
            self._checks.release()
        self._remember(key, verdict)
        return verdict

    def admit(self, url: str) -> None:
        """Look at the form of a URL, without asking for its name. Raises Blocked."""
        try:
            read_url(url)
        except BadUrl as bad:
            raise Blocked(str(bad)) from bad

    def addresses(self, host: str, port: int, *, timeout_s: float) -> Sequence[Address]:
        """Resolve afresh, and return the addresses only if every one is allowed. Raises NotSent or Blocked."""
        try:
            found = self._resolver.lookup(host, port, timeout_s=timeout_s)
        except Unresolved as error:
            raise NotSent("dns") from error
        for address in found:
            self.recheck(host, port, address.ip)
        return found

    def recheck(self, host: str, port: int, ip: str) -> None:
        """Look at one address of the host: resolved, or the peer of a connection just made. Raises Blocked."""
        refusal = self._refusal(host, port, ip)
        if refusal is not None:
            raise Blocked(refusal)

    def close(self) -> None:
        """Let the resolver's threads end."""
        self._resolver.close()

    def _remember(self, key: tuple[str, int], verdict: str | None) -> None:
        with self._lock:
            self._verdicts[key] = (self._clock() + self._cache_s, verdict)
            self._verdicts.move_to_end(key)
            if len(self._verdicts) > _CACHED_NAMES:
                self._verdicts.popitem(last=False)

    def _judge(self, target: TargetUrl) -> str | None:
        try:
            found = self._resolver.lookup(target.host, target.port, timeout_s=self._check_timeout_s)
        except Unresolved as error:
            return NOT_PUBLIC if error.unknown else None
        refusals = (self._refusal(target.host, target.port, address.ip) for address in found)
        return next((refusal for refusal in refusals if refusal is not None), None)

    def _refusal(self, host: str, port: int, ip: str) -> str | None:
        if self._allow.has_host(host, port) or self._allow.has_address(ip, port):
            return None
        if port not in _USUAL_PORTS and port < _LOWEST_FREE_PORT:
            return BAD_PORT
        return None if why_not_public(ip) is None else NOT_PUBLIC
