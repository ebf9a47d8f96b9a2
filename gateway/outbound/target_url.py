"""Reading the URL of a stranger: one reading only, and whatever two parsers could read differently is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import idna

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SHAPE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?://(?P<authority>[^/?#]*))?", re.ASCII)
_AUTHORITY = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[1-9][0-9]{0,4}))?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_LONGEST_NAME = 253


class BadUrl(ValueError):
    """The URL cannot be used; the message completes the sentence "the URL …" for its author."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetUrl:
    """What a URL points at. `host` is lower-case ASCII without brackets or a final dot."""

    scheme: str
    host: str
    port: int
    literal: bool
    """Whether the host is an IP address."""


def read_url(url: str) -> TargetUrl:
    """Return what an absolute http or https URL points at. Raises BadUrl."""
    if any(character <= " " or character == "\\" or not character.isprintable() for character in url):
        raise BadUrl("must not contain spaces, control characters or backslashes")
    shape = _SHAPE.match(url)
    scheme = shape["scheme"].lower() if shape else ""
    if shape is None or scheme not in _DEFAULT_PORTS:
        raise BadUrl("must begin with http:// or https://")
    authority = shape["authority"] or ""
    if "@" in authority:
        raise BadUrl("must not contain a user name or password")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or int(parts["port"] or 1) > 65535:
        raise BadUrl("must have a valid host and port")
    host, literal = (_v6(parts["v6"]), True) if parts["v6"] is not None else _name_or_v4(parts["name"])
    return TargetUrl(scheme=scheme, host=host, port=int(parts["port"] or _DEFAULT_PORTS[scheme]), literal=literal)


def _v6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise BadUrl("must have a valid host and port") from None
    if address.scope_id is not None:
        raise BadUrl("must not contain a zone in its address")
    return str(address)


def _name_or_v4(text: str) -> tuple[str, bool]:
    name = _ascii(text).removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # 127.1, 0x7f000001, 0177.0.0.1 and 127.0.0.1. are addresses to some resolvers and names to others.
        return _v4(text), True
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadUrl("must have a valid host and port")
    return name, False


def _ascii(text: str) -> str:
    if text.isascii():
        return text.lower()
    try:
        # As urllib3 does it, without mapping look-alikes to letters, so that the name checked is the name resolved.
        return idna.encode(text.lower(), strict=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise BadUrl("must have a valid host and port") from None


def _v4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except AddressValueError:
        raise BadUrl("must write an IPv4 address as four decimal numbers") from None
