"""The poll step: rendering → storing or failed. A hiccup of the upstream never fails a video that is paid for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from gateway.jobs import lifecycle
from gateway.jobs.job import Failure, Job, Status
from gateway.jobs.ports import Claims, Lanes
from gateway.observability.metrics import Metrics
from gateway.upstreams.port import Answer, Failed, Finished, KeyRefused, Missing, NoAnswer, PollOutcome, Unfinished
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.persistence import Persistence
from gateway.worker.refusals import refused_for_too_long
from gateway.worker.routes import PutOff, Route, Routes
from gateway.worker.telling import told

log = logging.getLogger(__name__)

MISSING_POLLS = 4
"""404s in a row before a job counts as lost: some upstreams show a new job late, some lose all at a restart."""

PATIENCE = 3
"""How many times GATEWAY_MAX_WAIT_S a video lives while its upstream gives no valid answer."""

SILENT_POLLS = 12
"""And so many in a row besides, as far as they fit into that patience: while this gateway was down nobody asked, and
one bad answer right after it is no reason to give up a video that is paid for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PollStep:
    """Asks about each video by its own clock."""

    routes: Routes
    claims: Claims
    lanes: Lanes
    persistence: Persistence
    limits: Limits
    metrics: Metrics
    put_off: PutOff = field(default_factory=PutOff)

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Claim due videos, as many as their keys' rates allow."""
        now = moment()
        lease_s = self.limits.poll_lease_s
        claimed = self.claims.due(Status.RENDERING, worker=worker, limit=limit, lease_s=lease_s, now=now)
        admitted = self.routes.admitted(claimed, claims=self.claims, now=now, put_off=self.put_off)
        return [partial(self.run, job, moment) for job in admitted]

    def run(self, job: Job, moment: Moment) -> None:
        """Poll one video, and write down what is new."""
        route = self.routes.of(job)
        if not self.settle(job, route, self.asked(job, route), moment) and self.limits.claims_outlast_polls:
            # The claim had to last as long as an answer may take, which is longer than the video's own clock.
            self.claims.release(job, due_at=self.next_poll(job, moment()))

    def settle(self, job: Job, route: Route | None, outcome: PollOutcome, moment: Moment) -> bool:
        """Write down what is new in what the upstream said of a claimed video; False where nothing is."""
        self.metrics.polled(upstream=job.upstream or "", outcome=type(outcome).__name__)
        if route is not None and isinstance(outcome, KeyRefused):
            self._pause(route, job, outcome, moment)
        if route is not None and isinstance(outcome, NoAnswer):
            self.routes.heard(route.name, route.key_of(job).name, outcome, now=moment())
        transition = self._decide(job, outcome, moment())
        if transition is not None:
            self.persistence.record(transition)
        return transition is not None

    def asked(self, job: Job, route: Route | None) -> PollOutcome:
        """Ask the upstream about one video."""
        if route is None:
            log.error("Video %s belongs to upstream %s, which is not configured.", job.id, job.upstream)
            return NoAnswer(reason="its upstream is not configured", answer=Answer(status=None))
        outcome = route.adapter.poll(job.upstream_job_id or "", route.key_of(job))
        if isinstance(outcome, Missing) and not route.knows(job):
            # Asked with another key than the one that accepted it: its 404 says nothing.
            return NoAnswer(reason="asked with another key", answer=outcome.answer)
        return outcome

    def _pause(self, route: Route, job: Job, refused: KeyRefused, moment: Moment) -> None:
        key = route.key_of(job).name
        if not job.tries:
            log.error("Upstream %s refuses key %s (%s).", route.name, key, refused.reason)
        self.persistence.write(
            lambda: self.lanes.pause(route.name, key, reason=refused.reason, answer=refused.message, now=moment())
        )

    def _decide(self, job: Job, outcome: PollOutcome, now: float) -> lifecycle.Transition | None:
        match outcome:
            case Unfinished():
                return self._unfinished(job, outcome, now)
            case Finished():
                detail = told(outcome.answer, **({} if outcome.cost is None else {"cost": outcome.cost}))
                return lifecycle.begin_transfer(job, expires_at=outcome.expires_at, at=now, detail=detail)
            case Failed():
                failure = Failure(code=outcome.code, message=outcome.message)
                return lifecycle.fail(job, failure, at=now, upstream_done=True, detail=told(outcome.answer))
            case Missing():
                return self._missing(job, outcome, now)
            case KeyRefused():
                return self._refused(job, outcome, now)
            case NoAnswer():
                return self._unanswered(job, outcome, now)

    def _unfinished(self, job: Job, outcome: Unfinished, now: float) -> lifecycle.Transition | None:
        if self._waited(job, now) > self.limits.max_wait_s:
            return self._timed_out(job, outcome.answer, now)
        # 100 is shown only once the video lies in the bucket.
        percent = min(outcome.progress, 99) if outcome.progress is not None else job.progress
        if percent > job.progress:
            due_at = self.next_poll(job, now)
            return lifecycle.progress(job, percent=percent, due_at=due_at, at=now, detail=told(outcome.answer))
        if job.tries or job.missing:
            return lifecycle.answered(job, due_at=self.next_poll(job, now), at=now, detail=told(outcome.answer))
        return None

    def next_poll(self, job: Job, now: float) -> float:
        """From when it was asked, not from when the answer came: a slow upstream does not slow the clock."""
        asked_at = job.claimed_at if job.claimed_at is not None else now
        return max(now, asked_at + self.limits.poll_interval_s)

    def _missing(self, job: Job, outcome: Missing, now: float) -> lifecycle.Transition:
        since = job.missing_since if job.missing_since is not None else now
        long_enough = now - since >= (MISSING_POLLS - 1) * self.limits.poll_interval_s * 0.9
        if job.missing + 1 >= MISSING_POLLS and long_enough:
            failure = Failure(code="upstream_job_lost", message="The upstream no longer knows the video it accepted.")
            return lifecycle.fail(job, failure, at=now, upstream_done=True, detail=told(outcome.answer))
        return self._again(job, "poll_not_found", told(outcome.answer), now, missing=True)

    def _refused(self, job: Job, outcome: KeyRefused, now: float) -> lifecycle.Transition:
        detail = told(outcome.answer, reason=outcome.reason)
        if job.stood_still_s >= self.limits.queue_timeout_s:
            failure = refused_for_too_long(outcome.reason)
            return lifecycle.fail(job, failure, at=now, upstream_done=False, detail=detail)
        return self._again(job, "poll_key_refused", detail, now, refused=True)

    def _unanswered(self, job: Job, outcome: NoAnswer, now: float) -> lifecycle.Transition:
        patience_s = PATIENCE * self.limits.max_wait_s
        enough = min(SILENT_POLLS, int(patience_s / self.limits.poll_interval_s))
        if self._waited(job, now) > patience_s and job.tries + 1 >= enough:
            return self._timed_out(job, outcome.answer, now)
        wait_s = max(self.limits.poll_interval_s, min(outcome.retry_after_s or 0.0, self.limits.max_wait_s / 4))
        return self._again(job, "poll_unanswered", told(outcome.answer, reason=outcome.reason), now, wait_s=wait_s)

    def _again(
        self,
        job: Job,
        event: str,
        detail: dict[str, object],
        now: float,
        *,
        wait_s: float | None = None,
        missing: bool = False,
        refused: bool = False,
    ) -> lifecycle.Transition:
        wait_s = self.limits.poll_interval_s if wait_s is None else wait_s
        # While its key is refused, the video's own clock stands still.
        stood_still_s = wait_s if refused else 0.0
        return lifecycle.again(
            job, event=event, due_at=now + wait_s, at=now, detail=detail, missing=missing, stood_still_s=stood_still_s
        )

    def _waited(self, job: Job, now: float) -> float:
        return now - (job.accepted_at if job.accepted_at is not None else now) - job.stood_still_s

    def _timed_out(self, job: Job, answer: Answer, now: float) -> lifecycle.Transition:
        message = f"The upstream did not finish within {self.limits.max_wait_s:g} seconds."
        failure = Failure(code="upstream_timeout", message=message)
        # It may still be rendering: the slot stays taken until the clean-up has seen it stop.
        return lifecycle.fail(job, failure, at=now, upstream_done=False, detail=told(answer))
