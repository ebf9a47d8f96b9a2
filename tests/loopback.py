"""Keeps tests on this machine: replaces what connects, sends or resolves by what refuses any address but our own."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


class NetworkBlockedError(Exception):
    """A test tried to reach another machine."""


@contextmanager
def only_loopback() -> Iterator[list[str]]:
    """Refuse other machines; yield the list of what was refused, for code that swallows the error."""
    refused: list[str] = []

    def check(host: object) -> None:
        if not is_here(host):
            refused.append(str(host))
            message = f"tests stay on this machine: {host}"
            raise NetworkBlockedError(message)

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(sock: socket.socket, *arguments: Any) -> Any:
            if sock.family in {socket.AF_INET, socket.AF_INET6} and isinstance(arguments[-1], tuple):
                check(arguments[-1][0])
            return real(sock, *arguments)

        return call

    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        if not _address(host):  # an address is not asked for anywhere
            check(host)
        return resolve(host, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield refused


def is_here(host: object) -> bool:
    """Whether a host, by name or address, is surely this machine."""
    address = _address(host)
    if address is None:
        name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
        return name.lower().rstrip(".").rpartition(".")[2] == "localhost"
    return address.is_loopback or address.is_unspecified


def _address(host: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
