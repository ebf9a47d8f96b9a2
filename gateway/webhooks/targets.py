"""The receiver that a callback's URL belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.outbound.target_url import BadUrl, read_url


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


def receiver_of(url: str) -> Receiver:
    """Return the receiver of a URL. Never raises: a URL that the rules no longer take belongs to `UNREADABLE`."""
    try:
        target = read_url(url)
    except BadUrl:
        return UNREADABLE
    return Receiver(scheme=target.scheme, host=target.host, port=target.port)
