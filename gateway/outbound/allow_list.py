"""What the operator allows beside public addresses: the entries of a setting, parsed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_ENTRY = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^\s:/\[\]]+))(?::(?P<port>[0-9]{1,5}))?", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    network: IPv4Network | IPv6Network | None
    host: str
    port: int | None

    def matches_port(self, port: int) -> bool:
        return self.port is None or self.port == port


class AllowList:
    """Hosts, networks and `host:port` that callbacks may reach although they are private.

    A host name is allowed whatever it resolves to, an address or network whatever name leads there. An entry without a
    port allows every port.
    """

    def __init__(self, entries: Sequence[str] = ()) -> None:
        """Parse `receiver.internal`, `receiver.internal:9000`, `10.0.0.0/8`, `127.0.0.1:9000`, `::1`, `[::1]:9000`.

        Raises ValueError that names the bad entry.
        """
        self._entries = [_parse(entry.strip()) for entry in entries if entry.strip()]

    def has_host(self, host: str, port: int) -> bool:
        """Whether this very name is allowed at that port."""
        name = host.rstrip(".").lower()
        return any(entry.host == name and entry.matches_port(port) for entry in self._entries if entry.host)

    def has_address(self, ip: str, port: int) -> bool:
        """Whether the address is allowed at that port, under whatever name."""
        try:
            address = ip_address(ip)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(
            entry.network is not None and address in entry.network and entry.matches_port(port)
            for entry in self._entries
        )


def _parse(entry: str) -> _Entry:
    network = _network(entry)
    if network is not None:
        return _Entry(network=network, host="", port=None)
    parts = _ENTRY.fullmatch(entry)
    if parts is None or not 1 <= int(parts["port"] or 1) <= 65535:
        raise ValueError(f"not a host, CIDR or host:port: {entry!r}")
    port = int(parts["port"]) if parts["port"] else None
    if parts["v6"] is not None and _network(parts["v6"]) is None:
        raise ValueError(f"not a host, CIDR or host:port: {entry!r}")
    host = parts["v6"] or parts["host"].rstrip(".").lower()
    network = _network(host)
    return _Entry(network=network, host="" if network else host, port=port)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
