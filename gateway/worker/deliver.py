"""The deliver step: one attempt at a callback. A dead receiver never changes a job, and never holds up another's."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from gateway.bucket.port import Bucket, BucketError
from gateway.clock import Clock
from gateway.jobs.ports import AttemptResult, Delivery, Outbox
from gateway.jobs.view import urls
from gateway.observability.metrics import Metrics
from gateway.webhooks import events, schedule
from gateway.webhooks.outcomes import Delivered, Gone, Outcome
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.persistence import Persistence

log = logging.getLogger(__name__)

PER_RECEIVER = 4
"""Attempts at one receiver at a time, over all workers."""


class Send(Protocol):
    """Signs and POSTs one callback."""

    def __call__(self, url: str, body: bytes, *, webhook_id: str, attempt: int, secrets: Sequence[str]) -> Outcome:
        """Return what the receiver said; raises nothing for anything it does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliverStep:
    """Makes the callbacks that are due."""

    outbox: Outbox
    bucket: Bucket
    send: Send
    secrets_of: Callable[[str], Sequence[str]]
    """Return the webhook secrets that sign for a client now, newest first; none where none is set any more."""
    endpoint_secrets_of: Callable[[str], Sequence[str]]
    """Return the secrets that sign for an endpoint now, newest first."""
    public_url: str
    limits: Limits
    metrics: Metrics
    persistence: Persistence
    wall: Clock
    jitter: Callable[[], float]
    """Return a random number from 0 to 1."""

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Claim due deliveries, a few for each receiver."""
        claimed = self.outbox.due(
            worker=worker,
            limit=limit,
            per_receiver=PER_RECEIVER,
            lease_s=self.limits.delivery_lease_s,
            now=moment(),
        )
        return [partial(self.run, delivery, moment) for delivery in claimed]

    def run(self, delivery: Delivery, moment: Moment) -> None:
        """Make one attempt, and write down what it brought."""
        secrets = self._secrets(delivery)
        try:
            body = self.body(delivery)
        except BucketError as error:
            # Our trouble, not the receiver's: the lease brings it back, and nothing of its schedule is used up.
            log.warning("No link could be signed for delivery %s: %s", delivery.id, error)
            return
        if not self.outbox.started(delivery, now=moment()):
            return
        if not secrets:
            message = "No webhook secret is set for this client any more."
            self._failed(delivery, AttemptResult(status=None, latency_ms=0, answer="", error=message), None, moment)
            return
        number = delivery.attempts + 1
        outcome = self.send(delivery.url, body, webhook_id=delivery.event_id, attempt=number, secrets=secrets)
        self.metrics.delivery_attempted(outcome=type(outcome).__name__, took_s=outcome.result.latency_ms / 1000)
        self._settle(delivery, outcome, moment)

    def _secrets(self, delivery: Delivery) -> Sequence[str]:
        if delivery.endpoint_id is not None:
            return self.endpoint_secrets_of(delivery.endpoint_id)
        return self.secrets_of(delivery.client)

    def _settle(self, delivery: Delivery, outcome: Outcome, moment: Moment) -> None:
        result = outcome.result
        match outcome:
            case Delivered():
                self.persistence.write(lambda: self.outbox.delivered(delivery, result, now=moment()))
            case Gone():
                self.persistence.write(lambda: self.outbox.disabled(delivery, result, now=moment()))
            case _:
                self._failed(delivery, result, outcome.retry_after_s, moment)

    def _failed(self, delivery: Delivery, result: AttemptResult, retry_after_s: float | None, moment: Moment) -> None:
        now = moment()
        failures = self.persistence.write(lambda: self.outbox.receiver_failures(delivery)) + 1
        held_until = schedule.held_until(failures, now=now)
        due_at = schedule.next_attempt(
            self.limits.webhook_schedule_s,
            delivery.tries + 1,
            now=now,
            retry_after_s=retry_after_s,
            jitter=self.jitter(),
        )
        if due_at is not None and held_until is not None:
            due_at = max(due_at, held_until)
        self.persistence.write(
            lambda: self.outbox.failed(delivery, result, due_at=due_at, held_until=held_until, now=now)
        )

    def _expires_at(self, delivery: Delivery) -> int | None:
        completed_at = delivery.facts.get("completed_at")
        if not self.limits.retention_s or not isinstance(completed_at, int):
            return None
        return completed_at + int(self.limits.retention_s)

    def body(self, delivery: Delivery) -> bytes:
        """Return the body of this attempt: the facts as of the change, and a link signed anew."""
        data = {
            **delivery.facts,
            "url": None,
            "url_expires_at": None,
            "expires_at": self._expires_at(delivery),
            "urls": urls(self.public_url, str(delivery.facts["id"])),
        }
        if delivery.stored_key is not None and delivery.type == "video.completed":
            name = delivery.stored_key.rsplit(".", 1)[-1]
            link = self.bucket.link(
                delivery.stored_key,
                now=self.wall(),
                ttl_s=self.limits.url_ttl_s,
                filename=f"{delivery.job_id}.{name}",
            )
            data |= {"url": link.url, "url_expires_at": int(link.expires_at)}
        told = events.body(event_id=delivery.event_id, type_=delivery.type, created_at=delivery.created_at, data=data)
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
