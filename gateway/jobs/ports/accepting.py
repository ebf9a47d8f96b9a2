"""Taking requests in: once, however often they arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.jobs.job import Job


@dataclass(frozen=True, kw_only=True, slots=True)
class Acceptance:
    """What became of a request: the job, and whether it is the one of an earlier equal request."""

    job: Job
    replayed: bool


class Inbox(Protocol):
    """Where accepted jobs are put: one transaction with their history and their idempotency record."""

    def accept(
        self,
        job: Job,
        *,
        request_hash: str,
        idempotency_key: str | None,
        sdk_retry: int,
        max_unfinished: int,
        now: float,
    ) -> Acceptance:
        """Insert the job, or return the one that an equal request made before.

        Raises KeyReused, QueueFull, Unavailable. `sdk_retry`: which retry of one call this is, 0 for its first
        try; an equal job of the same client, accepted within 10 minutes and matched to no retry of that number or a
        later one, is the answer.
        """

    def replay(self, client: str, *, request_hash: str, idempotency_key: str, now: float) -> Job | None:
        """Return the job that this key made before, if it did; raises KeyReused."""


class RateLimits(Protocol):
    """How many requests a client sends, counted over every process."""

    def take(self, client: str, *, per_minute: int, now: float) -> float | None:
        """Take one request from the client's rate; None where it may go on, else the seconds until the next one may."""
