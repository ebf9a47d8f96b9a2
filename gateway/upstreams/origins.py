"""Where a URL leads: its origin, and whether an operator's upstream stands on his own network."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".svc", ".home.arpa")


class Origin(NamedTuple):
    """What must be equal for a key to be sent along."""

    scheme: str
    host: str
    port: int


def origin_of(url: str) -> Origin | None:
    """Return the origin of an absolute http or https URL, or None for anything else."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        return None
    if scheme not in _PORTS or not host:
        return None
    return Origin(scheme, host.lower().rstrip("."), _PORTS[scheme] if port is None else port)


def is_local(url: str) -> bool:
    """Whether a configured URL names a private address, this machine, or a host that only a private network knows."""
    origin = origin_of(url)
    if origin is None:
        return False
    try:
        return not ipaddress.ip_address(origin.host).is_global
    except ValueError:
        return "." not in origin.host or origin.host.endswith(_LOCAL_ENDINGS)
