"""Is this address public? A table of our own: the standard library's changes from release to release.

Sources: the IANA special-purpose registries (https://www.iana.org/assignments/iana-ipv4-special-registry,
https://www.iana.org/assignments/iana-ipv6-special-registry) and the metadata addresses of cloud providers.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_V4_DENIED = {
    IPv4Network(network): name
    for network, name in {
        "0.0.0.0/8": "this network",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "carrier-grade NAT",
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "Azure's host",
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "protocol assignments",
        "192.0.2.0/24": "documentation",
        "192.31.196.0/24": "AS112",
        "192.52.193.0/24": "multicast relays",
        "192.88.99.0/24": "6to4 relays",
        "192.168.0.0/16": "private",
        "192.175.48.0/24": "AS112",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
    }.items()
}

_V6_UNICAST = IPv6Network("2000::/3")
_V6_DENIED = {
    IPv6Network(network): name
    for network, name in {
        "2001::/23": "protocol assignments (Teredo, ORCHID, benchmarking)",
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4",
        "2620:4f:8000::/48": "AS112",
        "3ffe::/16": "the former 6bone",
        "3fff::/20": "documentation",
    }.items()
}
_ISATAP = {0x00005EFE, 0x02005EFE}
"""Bits 64 to 95 of an address that carries an IPv4 address for a tunnel (RFC 5214)."""


def why_not_public(ip: str) -> str | None:
    """Return the name of the range that makes `ip` unfit for a callback, or None for a public address.

    An IPv4-mapped IPv6 address is judged as the IPv4 address. Text that is no address, or has a zone, is unfit.
    """
    try:
        address = ip_address(ip)
    except ValueError:
        return "no address"
    if isinstance(address, IPv4Address):
        return _why_not_v4(address)
    return _why_not_v6(address)


def _why_not_v4(address: IPv4Address) -> str | None:
    return next((name for network, name in _V4_DENIED.items() if address in network), None)


def _why_not_v6(address: IPv6Address) -> str | None:
    if address.scope_id is not None:
        return "an address with a zone"
    if address.ipv4_mapped is not None:
        return _why_not_v4(address.ipv4_mapped)
    if address not in _V6_UNICAST:
        # Loopback, ULA, link-local, NAT64, SIIT, IPv4-compatible and whatever is invented next: allow, not deny.
        return "not global unicast"
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return "ISATAP"
    return next((name for network, name in _V6_DENIED.items() if address in network), None)
