"""Callbacks to make."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

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


class Made(NamedTuple):
    """An attempt that was made, and when it ended."""

    delivery: Delivery
    result: AttemptResult
    at: float


class Outbox(Protocol):
    """Callbacks to make, and the breakers of their receivers."""

    def due(
        self,
        *,
        worker: str,
        limit: int,
        per_receiver: int,
        in_a_row: int,
        in_hand: Mapping[tuple[str, str], int],
        lease_s: float,
        now: float,
    ) -> Sequence[Sequence[Delivery]]:
        """Claim due deliveries in up to `limit` batches, at most `per_receiver` at one receiver at a time.

        Their attempts are written with the claim, before they are made. A batch is of one receiver, and up to
        `in_a_row` long, or a single delivery where the receiver failed last. None is behind an open breaker. `in_hand`
        are the batches under way that this worker claimed before, by client and receiver.
        """

    def held(self, batch: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return those of which the claim still holds and that were not given up since."""

    def delivered(self, made: Sequence[Made], *, unmade: Collection[Delivery] = (), now: float) -> None:
        """2xx from one receiver: done, and the receiver is well. What is `unmade` is due again `now`."""

    def onward(
        self, made: Sequence[Made], *, worker: str, limit: int, lease_s: float, now: float
    ) -> Sequence[Delivery]:
        """The same, and claim up to `limit` more of that receiver in its place, all in one transaction."""

    def put_back(self, batch: Collection[Delivery], *, due_at: float) -> None:
        """Give back what was claimed and not made: no trace is left of those attempts."""

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
