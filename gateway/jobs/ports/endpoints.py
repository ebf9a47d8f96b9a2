"""Account-wide webhook endpoints: where every event of a client's videos goes that they subscribe to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """One endpoint of a client. Every `_at` is an instant in Unix seconds."""

    id: str
    client: str
    name: str
    url: str
    event_types: Sequence[str]
    secret_version: int
    """Of the secret that signs; the secret itself is derived from it and stored nowhere."""
    created_at: float
    updated_at: float
    disabled_at: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointChange:
    """What to change of an endpoint; None: leave it."""

    name: str | None = None
    url: str | None = None
    event_types: Sequence[str] | None = None
    enabled: bool | None = None


class Endpoints(Protocol):
    """Endpoints. Another client's, and one that was deleted, are NotFound to everything here."""

    def create(self, client: str, *, name: str, url: str, event_types: Sequence[str], now: float) -> Endpoint:
        """Make an endpoint; raises Conflict where the client has too many."""

    def endpoint(self, endpoint_id: str, *, client: str) -> Endpoint:
        """Return an endpoint. Raises NotFound."""

    def page(self, client: str, *, limit: int, after: str | None) -> tuple[Sequence[Endpoint], bool]:
        """Return a page, newest first, and whether there is more. Raises NotFound for an unknown `after`."""

    def change(self, endpoint_id: str, change: EndpointChange, *, client: str, now: float) -> Endpoint:
        """Change an endpoint: what is pending follows its URL, and ends where it is disabled. Raises NotFound."""

    def delete(self, endpoint_id: str, *, client: str, now: float) -> None:
        """Delete an endpoint and end its pending deliveries. Raises NotFound."""

    def rotate_secret(self, endpoint_id: str, *, client: str, keep_old: bool, now: float) -> Endpoint:
        """Move the secret on; the one before signs beside it for a day, or no more. Raises NotFound."""

    def secret_versions(self, endpoint_id: str, *, now: float) -> Sequence[int]:
        """Return the versions of the secret that sign now, newest first; none where there is no such endpoint."""

    def test(self, endpoint_id: str, type_: str | None, *, client: str, now: float) -> tuple[str, str]:
        """Write a delivery of a made-up event, of the endpoint's first type where None; its id and the type.

        Raises NotFound, or Conflict where the endpoint is disabled.
        """
