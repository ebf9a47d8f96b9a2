"""How a setting's text becomes its value. Parsers raise ValueError with what the text must be, never with the text."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9])?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WORD = re.compile(r"[a-z0-9][a-z0-9-]*")


class Secret:
    """A text that shows itself only to who asks with `reveal()`: not in repr, str, format or a traceback's locals."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other.reveal().encode())

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class NamedSecret:
    """A secret and the name by which logs and tables may call it."""

    name: str
    secret: Secret


class Address(NamedTuple):
    """Where to listen. Port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_loopback(bind: Address) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(bind.host).is_loopback
    except ValueError:
        return bind.host.lower() == "localhost"


def text(raw: str) -> str:
    """Any text, without the spaces around it."""
    return raw.strip()


def secret(least: int) -> Callable[[str], Secret]:
    """A secret of at least so many characters."""

    def parse(raw: str) -> Secret:
        if len(raw.strip()) < least:
            message = f"must have at least {least} characters"
            raise ValueError(message)
        return Secret(raw.strip())

    return parse


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def parse(raw: str) -> int:
        message = f"must be a whole number from {low} to {high}"
        if not re.fullmatch(r"\s*[0-9]{1,18}\s*", raw) or not low <= int(raw) <= high:
            raise ValueError(message)
        return int(raw)

    return parse


def seconds(low: float, high: float) -> Callable[[str], float]:
    """A length of time from `low` to `high` seconds."""

    def parse(raw: str) -> float:
        message = f"must be a number of seconds from {low:g} to {high:.15g}"
        try:
            value = float(raw)
        except ValueError:
            raise ValueError(message) from None
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(message)
        return value

    return parse


def boolean(raw: str) -> bool:
    """Whether the text is a yes or a no, in the usual spellings."""
    word = raw.strip().lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise ValueError("must be true or false")


def choice(*allowed: str) -> Callable[[str], str]:
    """One of a few words, in any case."""

    def parse(raw: str) -> str:
        word = raw.strip().lower()
        if word not in allowed:
            message = "must be one of " + ", ".join(allowed)
            raise ValueError(message)
        return word

    return parse


def word(raw: str) -> str:
    """A short lower-case name, such as a dialect's."""
    if not _WORD.fullmatch(raw.strip()):
        raise ValueError("must be a lower-case name")
    return raw.strip()


def address(raw: str) -> Address:
    """`host:port`, an IPv6 host in brackets."""
    host, colon, port = raw.strip().rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("must be host:port, with a port from 0 to 65535")
    bracketed = re.fullmatch(r"\[(.*)\]", host)
    if not (_is_ipv6(bracketed[1]) if bracketed else _HOST.fullmatch(host)):
        raise ValueError("must be host:port, an IPv6 address in brackets")
    return Address(bracketed[1] if bracketed else host, int(port))


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def http_url(raw: str) -> str:
    """An http or https URL to which paths are appended: no user, query or fragment; a slash at its end is dropped."""
    message = "must be an http:// or https:// URL, without user, query or fragment"
    try:
        parts = urlsplit(raw.strip())
        extra = "@" in parts.netloc or parts.query or parts.fragment or parts.port == 0
    except ValueError:  # brackets that do not match, a port that is no number
        raise ValueError(message) from None
    if extra or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(message)
    return raw.strip().rstrip("/")


def database_url(raw: str) -> str:
    """An SQLAlchemy URL of a SQLite file or of PostgreSQL over psycopg."""
    scheme, _, rest = raw.strip().partition("://")
    if scheme == "sqlite":
        if not re.fullmatch(r"/[^?]+(\?.*)?", rest) or rest.startswith("/:memory:"):
            # The API and the worker are two processes: a database in memory would be two databases.
            raise ValueError("must name a file: sqlite:///path, or sqlite:////absolute/path")
    elif scheme not in {"postgresql", "postgresql+psycopg"}:
        raise ValueError("must start with sqlite:/// or postgresql+psycopg://")
    return raw.strip()


def object_prefix(raw: str) -> str:
    """What every object key starts with, without slashes at either end."""
    return raw.strip().strip("/")


def listed(raw: str) -> tuple[str, ...]:
    """The parts between commas, without empty ones."""
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def delays(raw: str) -> tuple[float, ...]:
    """Delays in seconds, separated by commas, each from 0 to 30 days."""
    one = seconds(0, 30 * 86400)
    values = tuple(one(part) for part in listed(raw))
    if not values:
        raise ValueError("must be at least one number of seconds")
    return values


def numbered_secrets(raw: str) -> tuple[NamedSecret, ...]:
    """Several secrets separated by commas, named by their position from 1."""
    parts = listed(raw)
    if len(set(parts)) < len(parts):
        raise ValueError("must not hold the same key twice")
    return tuple(NamedSecret(str(position), Secret(part)) for position, part in enumerate(parts, 1))


def client_keys(raw: str) -> tuple[NamedSecret, ...]:
    """`name:key,name:key`; a name may come several times, a key may not."""
    pairs = []
    for part in listed(raw):
        name, colon, key = part.partition(":")
        if not colon or not NAME.fullmatch(name.strip()) or not key.strip():
            raise ValueError("must be name:key pairs separated by commas")
        pairs.append(NamedSecret(name.strip(), Secret(key.strip())))
    if len({pair.secret for pair in pairs}) < len(pairs):
        raise ValueError("must not hold the same key twice")
    return tuple(pairs)


def webhook_secrets(raw: str) -> tuple[Secret, ...]:
    """Standard Webhooks secrets, separated by commas: `whsec_` and base64 of 24 to 64 bytes."""
    for part in listed(raw):
        try:
            size = len(base64.b64decode(part.removeprefix("whsec_"), validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if not part.startswith("whsec_") or not 24 <= size <= 64:
            raise ValueError("must be whsec_ followed by the base64 of 24 to 64 bytes")
    return tuple(Secret(part) for part in listed(raw))


def model_names(raw: str) -> tuple[tuple[str, str], ...]:
    """`client-name=upstream-name,…` in order; a bare name means both."""
    pairs = []
    for part in listed(raw):
        client, equals, upstream = (piece.strip() for piece in part.partition("="))
        if not client or (equals and not upstream):
            raise ValueError("must be client-name=upstream-name pairs separated by commas")
        pairs.append((client, upstream or client))
    if len({client for client, _ in pairs}) < len(pairs):
        raise ValueError("must not name a model twice")
    return tuple(pairs)


def allowed_hosts(raw: str) -> tuple[str, ...]:
    """Hosts, `host:port` or CIDRs, separated by commas."""
    return tuple(_allowed_host(part) for part in listed(raw))


def _allowed_host(part: str) -> str:
    try:
        if "/" in part:
            return str(ipaddress.ip_network(part))
        if part.count(":") > 1 and not part.startswith("["):
            return str(ipaddress.IPv6Address(part))
        address(part if re.search(r"(\]|^[^:]+):", part) else f"{part}:0")
    except ValueError:
        raise ValueError("must be hosts, host:port or CIDRs separated by commas") from None
    return part.lower()
