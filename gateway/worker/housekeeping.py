"""What is done once in a while: the queue's limit, dead workers, leftovers in the bucket, retention."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from gateway.bucket.port import Bucket, BucketError
from gateway.jobs import lifecycle
from gateway.jobs.job import Failure, Job
from gateway.jobs.ports import Claims, Ledger, Queries, Workers
from gateway.worker.limits import Limits
from gateway.worker.persistence import Persistence
from gateway.worker.refusals import only_refusals, refused_for_too_long
from gateway.worker.routes import Routes

log = logging.getLogger(__name__)

SILENT_AFTER_S = 10.0
"""Without a beat for so long, a worker's claims are released: well within 15 s of its death."""

_BATCH = 20
_SWEEP_LEASE_S = 60.0
_GIVE_UP_AFTER = 3
"""One object that can't be removed stands in nobody's way; more than that is a bucket that is down."""


class Forgets(Protocol):
    """Drops idempotency keys that are no longer remembered."""

    def forget_keys(self, *, now: float, limit: int) -> int:
        """Return how many were dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Housekeeping:
    """Small batches, so that nobody waits for them."""

    claims: Claims
    workers: Workers
    ledger: Ledger
    queries: Queries
    inbox: Forgets
    bucket: Bucket
    persistence: Persistence
    limits: Limits
    routes: Routes

    def tick(self, now: float) -> None:
        """Do a batch of each that needs only the database."""
        self.workers.bury(silent_since=now - SILENT_AFTER_S, poll_lease_s=self.limits.poll_timeout_s + 5.0, now=now)
        self._expire_queue(now)
        if self.limits.retention_s:
            self.ledger.retire(before=now - self.limits.retention_s, limit=_BATCH, now=now)
        self.inbox.forget_keys(now=now, limit=_BATCH)

    def _expire_queue(self, now: float) -> None:
        expired = self.claims.expired_in_queue(before=now - self.limits.queue_timeout_s, limit=_BATCH)
        for job in expired:
            self.persistence.record(lifecycle.fail(job, self._why_queued(job), at=now, upstream_done=True))

    def _why_queued(self, job: Job) -> Failure:
        serving = self.routes.keys_serving(job)
        states = {(state.upstream, state.key): state for state in self.queries.upstream_keys()}
        reasons = {states[key].pause_reason if key in states else None for key in serving}
        if only_refusals(reasons):
            return refused_for_too_long(*(reason for reason in reasons if reason))
        message = f"The video waited in the queue for {self.limits.queue_timeout_s:g} seconds."
        return Failure(code="queue_timeout", message=message)

    def sweep(self, now: float) -> None:
        """Remove a batch of leftovers. Apart from the rest: a bucket that hangs must not keep the dead unburied."""
        failures = 0
        for leftover in self.ledger.leftovers(limit=_BATCH, lease_s=_SWEEP_LEASE_S, now=now):
            try:
                self.bucket.delete(leftover.key)
            except BucketError as error:
                log.warning("A leftover object could not be removed yet: %s", error)
                failures += 1
                if failures == _GIVE_UP_AFTER:
                    return
            else:
                self.ledger.swept(leftover, now=now)
