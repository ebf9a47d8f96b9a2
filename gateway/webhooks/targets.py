"""The rules for a callback's URL that need no network, and the receiver that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.outbound.target_url import BadUrl, read_url

LONGEST_URL = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Receiver:
    """Where callbacks go that fail together. As text: `https://hooks.example.com:443`."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


UNREADABLE = Receiver(scheme="", host="", port=0)


def refusal(url: str) -> str | None:
    """Return why a URL cannot be a callback's, as a text for its author ("must …"), or None."""
    if len(url) > LONGEST_URL:
        return f"must not be longer than {LONGEST_URL} characters"
    try:
        read_url(url)
    except BadUrl as bad:
        return str(bad)
    return None


def receiver_of(url: str) -> Receiver:
    """Return the receiver of a URL. Never raises: a URL that the rules no longer take belongs to `UNREADABLE`."""
    try:
        target = read_url(url)
    except BadUrl:
        return UNREADABLE
    return Receiver(scheme=target.scheme, host=target.host, port=target.port)
