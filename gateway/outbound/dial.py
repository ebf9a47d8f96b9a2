"""Opening a TCP connection: names, several addresses, and whoever has a say in which of them may be used."""

from __future__ import annotations

import errno
import itertools
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.outbound.errors import NotSent
from gateway.outbound.resolve import Address, Resolver, Unresolved

MOST_ADDRESSES = 4
_LONGEST_SHARE_S = 5.0
"""What one address may take while others are left to try."""

_WORDS = {errno.ECONNREFUSED: "refused", errno.ETIMEDOUT: "timeout"}


class Finder(Protocol):
    """Tells which URLs may be called, and at which addresses a host may be connected."""

    def admit(self, url: str) -> None:
        """Look at a URL before anything is done with it. Raises Blocked."""

    def addresses(self, host: str, port: int, *, timeout_s: float) -> Sequence[Address]:
        """Return at least one address. Raises NotSent, or Blocked where a rule forbids it."""

    def recheck(self, host: str, port: int, ip: str) -> None:
        """Look at the peer of a connection just made. Raises Blocked."""

    def close(self) -> None:
        """Let go of the resolver's threads."""


class AnyAddress:
    """The finder without rules, for hosts that the operator configured."""

    def __init__(self, *, threads: int = 4) -> None:
        self._resolver = Resolver(threads=threads)

    def admit(self, url: str) -> None:
        """Every URL is right."""

    def addresses(self, host: str, port: int, *, timeout_s: float) -> Sequence[Address]:
        """Return whatever the name resolves to. Raises NotSent."""
        try:
            return self._resolver.lookup(host, port, timeout_s=timeout_s)
        except Unresolved as error:
            raise NotSent("dns") from error

    def recheck(self, host: str, port: int, ip: str) -> None:
        """Every peer is right."""

    def close(self) -> None:
        """Let the resolver's threads end."""
        self._resolver.close()


def dial(
    host: str,
    port: int,
    *,
    finder: Finder,
    by: float,
    resolve_timeout_s: float,
    opened: Callable[[socket.socket], None],
) -> socket.socket:
    """Connect to the first address that answers, at most four of them, before the monotonic instant `by`.

    `opened` is called with the socket before anything is sent over it. Raises NotSent.
    """
    timeout_s = min(resolve_timeout_s, by - time.monotonic())
    addresses = _both_families(finder.addresses(host, port, timeout_s=max(0.0, timeout_s)))
    failure = NotSent("unreachable")
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        remaining = by - time.monotonic()
        if remaining <= 0:
            raise NotSent("timeout")
        share = remaining if left == 1 else min(remaining / left, _LONGEST_SHARE_S)
        try:
            sock = _connect(address, timeout_s=share)
        except OSError as error:
            failure = NotSent(
                "timeout" if isinstance(error, TimeoutError) else _WORDS.get(error.errno or 0, "unreachable")
            )
            failure.__cause__ = error
            continue
        try:
            finder.recheck(host, port, str(sock.getpeername()[0]))
            opened(sock)
        except BaseException:
            sock.close()
            raise
        return sock
    raise failure


def _connect(address: Address, *, timeout_s: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout_s)
        sock.connect(address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def _both_families(addresses: Sequence[Address]) -> list[Address]:
    """Take the families in turn, the preferred one first: four dead IPv6 addresses must not hide a live IPv4 one."""
    first = [address for address in addresses if address.family == addresses[0].family]
    other = [address for address in addresses if address.family != addresses[0].family]
    mixed = itertools.chain.from_iterable(itertools.zip_longest(first, other))
    return [address for address in mixed if address is not None][:MOST_ADDRESSES]
