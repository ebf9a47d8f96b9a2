"""Clients, their keys and their webhook secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who sent a request: a client, by one of its keys."""

    client: str
    admin: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """One API key as it may be listed: without itself."""

    id: str
    client: str
    admin: bool
    hint: str
    """Its last four characters."""
    created_at: float
    revoked_at: float | None


class Clients(Protocol):
    """Clients and their API keys, which are stored hashed."""

    def caller(self, secret: str) -> Caller | None:
        """Return whose key this is, unless it is unknown or revoked."""

    def any_key(self) -> bool:
        """Whether there is any key that is not revoked."""

    def create_key(self, client: str, *, admin: bool, now: float) -> tuple[ApiKey, str]:
        """Make a key, and the client where it is new; the second value is the key itself, shown this once."""

    def keys(self) -> Sequence[ApiKey]:
        """Return every key, revoked ones too, oldest first."""

    def revoke_key(self, key_id: str, *, now: float) -> bool:
        """Revoke a key from now on; whether there was one to revoke."""

    def secret_versions(self, client: str, *, now: float) -> Sequence[int]:
        """Return the versions of the webhook secret that sign now, newest first; two for a day after a rotation."""

    def rotate_secret(self, client: str, *, now: float) -> int:
        """Move the client's webhook secret on; returns the new version. Raises NotFound."""
