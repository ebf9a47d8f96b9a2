"""The deliver step: attempts at callbacks. A dead receiver never changes a job, and never holds up another's."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple, Protocol

from gateway.bucket.port import Bucket, BucketError
from gateway.clock import Clock
from gateway.jobs.errors import Unavailable
from gateway.jobs.ports import AttemptResult, Delivery, Made, Outbox
from gateway.jobs.view import urls
from gateway.observability.metrics import Metrics
from gateway.webhooks import events, schedule
from gateway.webhooks.outcomes import Delivered, Gone, Outcome, Retry
from gateway.worker.concurrency import Concurrency
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.persistence import Persistence
from gateway.worker.turns import Turn, Turns

log = logging.getLogger(__name__)

PER_RECEIVER = 4
"""Attempts at one receiver at a time, over all workers."""


class Send(Protocol):
    """Signs and POSTs one callback."""

    def __call__(self, url: str, body: bytes, *, webhook_id: str, attempt: int, secrets: Sequence[str]) -> Outcome:
        """Return what the receiver said; raises nothing for anything it does."""


class _Ended(NamedTuple):
    """The attempt that ended a turn."""

    delivery: Delivery
    outcome: Outcome | Exception


_SecretsOf = Callable[[str, str | None], Sequence[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliverStep:
    """Makes the callbacks that are due."""

    outbox: Outbox
    bucket: Bucket
    send: Send
    kept: Callable[[], AbstractContextManager[None]]
    """Within it a thread sends to one receiver over one connection."""
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
    wake: Callable[[], None]
    """Asks for this step: a turn has ended, and more is due for its receiver or another's, as far as is known."""
    concurrency: Concurrency
    turns: Turns = field(default_factory=Turns)

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Claim due deliveries, a few batches for each receiver."""
        self.turns.more_due = True  # as far as those know who end meanwhile
        limit = min(limit, self.concurrency.room(self.turns.busy()))
        batches = self.outbox.due(
            worker=worker,
            limit=limit,
            per_receiver=PER_RECEIVER,
            in_a_row=self.turns.begun_at_once,
            in_hand=self.turns.in_hand(),
            lease_s=self.limits.delivery_lease_s,
            now=moment(),
        )
        self.turns.more_due = len(batches) >= limit
        return [partial(self.run, self.turns.enter(batch), worker, moment) for batch in batches]

    def relieve(self) -> None:
        """Let nothing wait behind an attempt that takes long, neither what was made before it nor what comes after.

        To be called also while no thread is free, and after the last claim: a process that dies repeats what was made
        and not written down.
        """
        for turn in self.turns.held_up():
            self.outbox.delivered(turn.made, unmade=turn.rest, now=turn.moment())
            turn.begun([])

    def run(self, turn: Turn, worker: str, moment: Moment) -> None:
        """Make the attempts of a batch and, while the receiver answers well and quickly, of what else is due for it."""
        done = True
        try:
            with self.kept():
                done = self._make(turn, worker, moment)
        finally:
            self.turns.end(turn)
            if not done or self.turns.more_due:
                self.wake()

    def _make(self, turn: Turn, worker: str, moment: Moment) -> bool:
        """Return whether the receiver can be left to the metronome: nothing more was due for it, as far as is known."""
        secrets = cache(self._secrets)
        turn.begin(moment)
        try:
            held = self.outbox.held(turn.claimed)
        except Unavailable as error:
            # Else all of them would stand in the record as attempts, and wait for the end of the lease.
            log.warning("%d callbacks are given back: %s", len(turn.claimed), error.message)
            self._put_back(turn.claimed, moment())
            self.turns.more_due = False  # left to the metronome: nobody spins
            return True
        if len(held) < len(turn.claimed):
            self._put_back([delivery for delivery in turn.claimed if delivery not in held], moment())
        turn.begun(held)
        while turn.rest:
            ended = self._attempts(turn, secrets, moment)
            with turn.lock:
                if ended is not None or not turn.made or turn.over:
                    self._end(turn, ended, moment)
                    return False
                turn.begun(self._onward(turn.made, worker, moment))
        return True

    def _attempts(self, turn: Turn, secrets: _SecretsOf, moment: Moment) -> _Ended | None:
        """Make attempts until the time is over or one is not delivered; return that one, and what came of it."""
        while (delivery := turn.next()) is not None:
            try:
                outcome = self._attempt(delivery, secrets(delivery.client, delivery.endpoint_id))
            except Exception as error:  # noqa: BLE001 - it is raised again at the end of the turn
                # What went before it is to be written down all the same, or it would be made again and again.
                return _Ended(delivery, error)
            if not isinstance(outcome, Delivered):
                return _Ended(delivery, outcome)
            turn.note(Made(delivery, outcome.result, moment()))
            if turn.over:
                break
        return None

    def _attempt(self, delivery: Delivery, secrets: Sequence[str]) -> Outcome:
        body = self.body(delivery)
        if not secrets:
            message = "No webhook secret is set for this client any more."
            return Retry(result=AttemptResult(status=None, latency_ms=0, answer="", error=message))
        number = delivery.attempts + 1
        outcome = self.send(delivery.url, body, webhook_id=delivery.event_id, attempt=number, secrets=secrets)
        self.metrics.delivery_attempted(outcome=type(outcome).__name__, took_s=outcome.result.latency_ms / 1000)
        return outcome

    def _secrets(self, client: str, endpoint_id: str | None) -> Sequence[str]:
        return self.secrets_of(client) if endpoint_id is None else self.endpoint_secrets_of(endpoint_id)

    def _onward(self, made: Sequence[Made], worker: str, moment: Moment) -> Sequence[Delivery]:
        limit, lease_s = self.turns.begun_at_once, self.limits.delivery_lease_s
        return self.persistence.write(
            lambda: self.outbox.onward(made, worker=worker, limit=limit, lease_s=lease_s, now=moment())
        )

    def _end(self, turn: Turn, ended: _Ended | None, moment: Moment) -> None:
        """Write down what was made and what ended the turn, and give back what it did not come to."""
        self.persistence.write(lambda: self.outbox.delivered(turn.made, unmade=turn.rest, now=moment()))
        # Whoever relieves turns may still come to this one: what is given back is perhaps another's by then.
        turn.begun([])
        if ended is None:
            return
        if isinstance(ended.outcome, BucketError):
            # Our trouble, not the receiver's: nothing of its schedule is used up.
            log.warning("No link could be signed for delivery %s: %s", ended.delivery.id, ended.outcome)
            self._put_back([ended.delivery], moment() + self.limits.delivery_lease_s)
        elif isinstance(ended.outcome, Exception):
            raise ended.outcome
        else:
            self._settle(ended.delivery, ended.outcome, moment)

    def _put_back(self, batch: Collection[Delivery], due_at: float) -> None:
        self.persistence.write(lambda: self.outbox.put_back(batch, due_at=due_at))

    def _settle(self, delivery: Delivery, outcome: Outcome, moment: Moment) -> None:
        result = outcome.result
        if isinstance(outcome, Gone):
            self.persistence.write(lambda: self.outbox.disabled(delivery, result, now=moment()))
        else:
            wait_s = outcome.retry_after_s if isinstance(outcome, Retry) else None
            self._failed(delivery, result, wait_s, moment)

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
