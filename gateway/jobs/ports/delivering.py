"""Callbacks to make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.jobs.ports.reading import DeliveryRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A claimed callback: the facts as of the transition. Link, body and signature are made at each attempt."""

    id: str
    event_id: str
    type: str
    client: str
    job_id: str | None
    """None: the test of an endpoint."""
    endpoint_id: str | None
    """Whose secrets sign; None: the client's."""
    url: str
    receiver: str
    created_at: float
    facts: Mapping[str, object]
    attempts: int
    tries: int
    """How much of the schedule is used up."""
    claim_token: int
    stored_key: str | None
    """Where the video lies, if it still does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptResult:
    """What one attempt brought."""

    status: int | None
    latency_ms: int
    answer: str
    error: str


class Outbox(Protocol):
    """Callbacks to make, and the breakers of their receivers."""

    def due(self, *, worker: str, limit: int, per_receiver: int, lease_s: float, now: float) -> Sequence[Delivery]:
        """Claim due deliveries, at most `per_receiver` for one receiver and none behind an open breaker."""

    def started(self, delivery: Delivery, *, now: float) -> bool:
        """Write the attempt before it is made; False where the claim is lost or the delivery was given up."""

    def delivered(self, delivery: Delivery, result: AttemptResult, *, now: float) -> None:
        """A 2xx: done, and the receiver is well."""

    def failed(
        self, delivery: Delivery, result: AttemptResult, *, due_at: float | None, held_until: float | None, now: float
    ) -> None:
        """No 2xx: again at `due_at`, or exhausted where None. `held_until` opens the receiver's breaker."""

    def disabled(self, delivery: Delivery, result: AttemptResult, *, now: float) -> None:
        """The receiver said 410: no more attempts."""

    def receiver_failures(self, delivery: Delivery) -> int:
        """Return how often this receiver failed in a row."""

    def redeliver(self, delivery_id: str, *, client: str, now: float) -> DeliveryRecord:
        """Make a delivery due at once, with its schedule from the start. Raises NotFound, or Conflict."""

    def redeliver_failed(self, client: str, *, since: float, now: float) -> tuple[int, bool]:
        """Make all of a client's due that failed and were written since; how many, and whether more are left."""
