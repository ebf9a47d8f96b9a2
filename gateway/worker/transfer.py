"""The transfer step: storing → completed. The content streams from the upstream into the bucket, and is verified."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from gateway.bucket.port import Bucket, BucketError
from gateway.clock import Clock
from gateway.jobs import lifecycle
from gateway.jobs.backoff import BUCKET_DELAYS_S, CONTENT_DELAYS_S, delay
from gateway.jobs.codes import FailureCode
from gateway.jobs.errors import Unavailable
from gateway.jobs.job import SUFFIXES, Failure, Job, Status, Stored
from gateway.jobs.ports import Claims, Lanes, Ledger
from gateway.observability.metrics import Metrics
from gateway.upstreams.port import (
    Answer,
    Content,
    ContentBroken,
    ContentMissing,
    ContentNotReady,
    Finished,
    Key,
    KeyRefused,
)
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.persistence import Persistence
from gateway.worker.refusals import refused_for_too_long
from gateway.worker.routes import PutOff, Route, Routes
from gateway.worker.telling import told
from gateway.worker.variants import ClaimLost, Variants, object_stem

log = logging.getLogger(__name__)

MISSING_CONTENT = 4
MISSING_CONTENT_S = 30.0
"""404s, and the seconds between the first and the last, after which the content is gone."""

_LEAST_PATIENCE_S = 60.0
"""Tried for at least this long, whatever an upstream's clock makes of its own expiry."""

_LONGEST_WAIT_S = 120.0
"""However long an upstream asks for: its links may die before that."""

_LEAST_TRIES = 4
"""Whatever the time: while this gateway was down nobody tried, and one broken try right after it proves nothing."""

_MOST_PATIENCE_S = 7 * 86400.0
"""Tried for no longer than this, however far off an upstream puts its expiry: a job must end."""


_KEY_REFUSED_S = 30.0

_AFTER_MISTAKE_S = 30.0


class Lease:
    """Keeps a claim and its object alive while bytes move: asked often, it writes at every third of the lease."""

    def __init__(self, *, job: Job, key: str, claims: Claims, ledger: Ledger, lease_s: float, moment: Clock) -> None:
        self._job = job
        self._key = key
        self._claims = claims
        self._ledger = ledger
        self._lease_s = lease_s
        self._moment = moment
        self._lost_at = moment() + lease_s
        self._extended_at = moment()

    def keep(self) -> None:
        """Extend the lease where a third of it has passed; raises ClaimLost where somebody else has taken over."""
        now = self._moment()
        if now - self._extended_at < self._lease_s / 3:
            return
        until = now + self._lease_s
        try:
            extended = self._claims.extend(self._job, until=until) and self._ledger.extend(self._key, until=until)
        except Unavailable as error:
            # The lease still lasts: a database that is busy for a moment is no reason to fetch gigabytes again.
            if now < self._lost_at:
                log.warning("The lease of video %s is extended a little later: %s", self._job.id, error.message)
                return
            raise ClaimLost(self._job.id) from error
        if not extended:
            raise ClaimLost(self._job.id)
        self._extended_at, self._lost_at = now, until


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferStep:
    """Moves finished content into the bucket, one object key a try."""

    routes: Routes
    claims: Claims
    lanes: Lanes
    ledger: Ledger
    bucket: Bucket
    persistence: Persistence
    limits: Limits
    metrics: Metrics
    variants: Variants
    stopping: Callable[[], bool]
    put_off: PutOff = field(default_factory=PutOff)

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Claim due transfers, as many as their keys' rates allow."""
        now = moment()
        lease_s = self.limits.open_lease_s
        claimed = self.claims.due(Status.STORING, worker=worker, limit=limit, lease_s=lease_s, now=now)
        admitted = self.routes.admitted(claimed, claims=self.claims, now=now, put_off=self.put_off)
        return [partial(self.run, job, moment) for job in admitted]

    def run(self, job: Job, moment: Moment) -> None:
        """Try one transfer, and write down what came of it."""
        route = self.routes.of(job)
        if route is None:
            log.error("Video %s belongs to upstream %s, which is not configured.", job.id, job.upstream)
            gone = ContentNotReady(reason="its upstream is not configured", answer=Answer(status=None))
            self._not_ready(job, gone, moment)
            return
        key = route.key_of(job)
        urls = self._links(job, route, key, moment)
        with route.adapter.content(job.upstream_job_id or "", key, urls=urls) as outcome:
            match outcome:
                case Content():
                    self._store(job, outcome, route, key, moment)
                case ContentMissing() if route.knows(job):
                    self._missing(job, outcome, moment)
                case ContentMissing():
                    # Asked with another key than the one that accepted it: its 404 says nothing.
                    reason = "asked with another key"
                    self._not_ready(job, ContentNotReady(reason=reason, answer=outcome.answer), moment)
                case ContentNotReady():
                    self.routes.heard(route.name, key.name, outcome, now=moment())
                    self._not_ready(job, outcome, moment)
                case KeyRefused():
                    self._key_refused(job, outcome, route.name, key.name, moment)

    def _links(self, job: Job, route: Route, key: Key, moment: Moment) -> Sequence[str]:
        """Ask where else the content lies, once it was not to be had without: signed links are kept nowhere."""
        if not (job.tries or job.missing):
            return ()
        # Owed: right after the request that this try was granted, a slow rate would never grant a second.
        self.routes.afford(route.name, key.name, 1, now=moment(), owed=True)
        said = route.adapter.poll(job.upstream_job_id or "", key)
        self.metrics.polled(upstream=route.name, outcome=type(said).__name__)
        return said.content_urls if isinstance(said, Finished) else ()

    def _key_refused(self, job: Job, outcome: KeyRefused, upstream: str, key: str, moment: Moment) -> None:
        if not job.tries:
            log.error("Upstream %s refuses key %s (%s).", upstream, key, outcome.reason)
        self.persistence.write(
            lambda: self.lanes.pause(upstream, key, reason=outcome.reason, answer=outcome.message, now=moment())
        )
        detail = told(outcome.answer, reason=outcome.reason)
        if job.stood_still_s >= self.limits.queue_timeout_s and not job.bucket_failed:
            failure = refused_for_too_long(outcome.reason)
            self.persistence.record(lifecycle.fail(job, failure, at=moment(), upstream_done=True, detail=detail))
            return
        self._again(job, "content_key_refused", detail, _KEY_REFUSED_S, moment, our_fault=True)

    def _store(self, job: Job, content: Content, route: Route, upstream_key: Key, moment: Moment) -> None:
        key = f"{object_stem(job)}.{SUFFIXES[content.content_type]}"
        began = moment()
        self.persistence.write(
            lambda: self.ledger.begin(key, until=moment() + self.limits.transfer_lease_s, now=moment())
        )
        lease = Lease(
            job=job,
            key=key,
            claims=self.claims,
            ledger=self.ledger,
            lease_s=self.limits.transfer_lease_s,
            moment=moment,
        )
        try:
            stored = self._copy(job, key, content, self._alive(lease))
        except ContentBroken as error:
            self._give_up(key, "broken", began, moment)
            self._broken(job, str(error), content, moment)
        except BucketError as error:
            self._give_up(key, "bucket_failed", began, moment)
            self._bucket_failed(job, str(error), moment)
        except ClaimLost:
            self._give_up(key, "claim_lost", began, moment)
            self._put_back(job, moment())
        except Exception:
            # A mistake of ours. Its lease is long, and the upstream's content does not wait for that.
            self._give_up(key, "error", began, moment)
            self._put_back(job, moment() + _AFTER_MISTAKE_S)
            raise
        else:
            self.metrics.transferred(outcome="stored", moved=stored.size, took_s=moment() - began)
            beside = self.variants.beside(job, route, upstream_key, self._alive(lease), moment)
            detail = told(content.answer, bytes=stored.size, **({"variants": beside.told} if beside.told else {}))
            done = lifecycle.complete(job, stored=stored, variants=beside.stored, at=moment(), detail=detail)
            if not self.persistence.record(done):
                for lost in done.after.objects:
                    self._discard(lost, moment)

    def _put_back(self, job: Job, due_at: float) -> None:
        self.persistence.write(lambda: self.claims.release(job, due_at=due_at))

    def _give_up(self, key: str, outcome: str, began: float, moment: Moment) -> None:
        self._discard(key, moment)
        self.metrics.transferred(outcome=outcome, moved=0, took_s=moment() - began)

    def _discard(self, key: str, moment: Moment) -> None:
        self.persistence.write(lambda: self.ledger.discard(key, now=moment()))

    def _alive(self, lease: Lease) -> Callable[[], None]:
        def alive() -> None:
            if self.stopping():
                raise ClaimLost
            lease.keep()

        return alive

    def _copy(self, job: Job, key: str, content: Content, alive: Callable[[], None]) -> Stored:
        written = self.bucket.write(
            key,
            content.readinto,
            length=content.length,
            content_type=content.content_type,
            filename=f"{job.id}.{SUFFIXES[content.content_type]}",
            alive=alive,
        )
        return Stored(object_key=key, size=written.size, sha256=written.sha256, content_type=content.content_type)

    def _missing(self, job: Job, outcome: ContentMissing, moment: Moment) -> None:
        now = moment()
        since = job.missing_since if job.missing_since is not None else now
        if job.missing + 1 >= MISSING_CONTENT and now - since >= MISSING_CONTENT_S:
            self._fail(
                job, "content_expired", "The upstream no longer serves the content.", told(outcome.answer), moment
            )
            return
        wait_s = max(delay(CONTENT_DELAYS_S, job.missing), MISSING_CONTENT_S / (MISSING_CONTENT - 1))
        detail = told(outcome.answer)
        self.persistence.record(
            lifecycle.again(job, event="content_not_found", due_at=now + wait_s, at=now, detail=detail, missing=True)
        )

    def _not_ready(self, job: Job, outcome: ContentNotReady, moment: Moment) -> None:
        detail = told(outcome.answer, reason=outcome.reason)
        if self._out_of_time(job, moment()):
            code: FailureCode = "content_invalid" if outcome.invalid else "content_expired"
            self._fail(job, code, "The upstream did not serve the content in time.", detail, moment)
            return
        wait_s = delay(CONTENT_DELAYS_S, job.tries, asked_s=outcome.retry_after_s, longest_s=_LONGEST_WAIT_S)
        self._again(job, "content_not_ready", detail, wait_s, moment)

    def _broken(self, job: Job, reason: str, content: Content, moment: Moment) -> None:
        detail = told(content.answer, reason=reason)
        if self._out_of_time(job, moment()):
            self._fail(job, "content_expired", "Every download of the content broke.", detail, moment)
            return
        self._again(job, "content_broken", detail, delay(CONTENT_DELAYS_S, job.tries), moment)

    def _bucket_failed(self, job: Job, reason: str, moment: Moment) -> None:
        log.error("The bucket refused video %s: %s", job.id, reason)
        wait_s = delay(BUCKET_DELAYS_S, job.tries)
        self._again(job, "bucket_failed", {"reason": reason}, wait_s, moment, our_fault=True, bucket_failed=True)

    def _out_of_time(self, job: Job, now: float) -> bool:
        since = job.rendered_at if job.rendered_at is not None else now
        until = job.content_expires_at if job.content_expires_at is not None else since + self.limits.content_wait_s
        until = min(max(until, since + _LEAST_PATIENCE_S), since + _MOST_PATIENCE_S)
        return now - job.stood_still_s > until and job.tries + 1 >= _LEAST_TRIES

    def _again(
        self,
        job: Job,
        event: str,
        detail: dict[str, object],
        wait_s: float,
        moment: Moment,
        *,
        our_fault: bool = False,
        bucket_failed: bool = False,
    ) -> None:
        now = moment()
        began = job.claimed_at if job.claimed_at is not None else now
        self.persistence.record(
            lifecycle.again(
                job,
                event=event,
                due_at=now + wait_s,
                at=now,
                detail=detail,
                bucket_failed=bucket_failed,
                stood_still_s=now - began + wait_s if our_fault else 0.0,
            )
        )

    def _fail(self, job: Job, code: FailureCode, message: str, detail: dict[str, object], moment: Moment) -> None:
        if job.bucket_failed:
            code, message = "storage_error", "The bucket could not take the video while the upstream kept it."
        failure = Failure(code=code, message=message)
        self.persistence.record(lifecycle.fail(job, failure, at=moment(), upstream_done=True, detail=detail))
