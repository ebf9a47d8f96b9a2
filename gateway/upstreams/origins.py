"""Where a URL leads: its origin, and whether an operator's upstream stands on his own network."""

from __future__ import annotations

from typing import NamedTuple

from gateway.outbound.addresses import why_not_public
from gateway.outbound.target_url import BadUrl, read_url

_LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".svc", ".home.arpa")


class Origin(NamedTuple):
    """What must be equal for a key to be sent along."""

    scheme: str
    host: str
    port: int


def origin_of(url: str) -> Origin | None:
    """Return the origin of an absolute http or https URL, or None for anything else.

    What two parsers could read differently, or has a user name in it, is "anything else": it gets no key.
    """
    try:
        target = read_url(url)
    except BadUrl:
        return None
    return Origin(target.scheme, target.host, target.port)


def is_local(origin: Origin) -> bool:
    """Whether an origin is a private address, this machine, or a host that only a private network knows."""
    if ":" in origin.host or origin.host.replace(".", "").isdigit():
        return why_not_public(origin.host) is not None
    return "." not in origin.host or origin.host.endswith(_LOCAL_ENDINGS)
