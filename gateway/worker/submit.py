"""The submit step: queued → submitting → rendering. Here money is spent, so every line is one to die after."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.clock import Clock
from gateway.jobs import lifecycle
from gateway.jobs.backoff import BUCKET_DELAYS_S, SUBMIT_DELAYS_S, delay
from gateway.jobs.errors import StaleJob, Unavailable
from gateway.jobs.job import Failure, Job
from gateway.jobs.ports import Claims, Lane, Lanes, Submission, Submissions
from gateway.observability.metrics import Metrics
from gateway.upstreams.port import (
    Accepted,
    Image,
    KeyRefused,
    NotAccepted,
    NotSent,
    Refused,
    SubmitOutcome,
    Unknown,
    VideoRequest,
)
from gateway.worker.failover import Failover
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.persistence import Persistence
from gateway.worker.references import References, Unfetched, Unusable
from gateway.worker.rests import Rests
from gateway.worker.routes import Route, Routes
from gateway.worker.telling import told

log = logging.getLogger(__name__)

_NO_ROOM_S = 2.0
"""Until a job that found no room after all, or an unresolved twin, is looked at again."""


def fingerprint(request: VideoRequest) -> str:
    """Return what an upstream's list shows of a request, hashed: equal requests can't be told apart there."""
    shown: list[object] = [request.prompt.strip(), request.model, request.size, request.seconds]
    shown += [request.remix_of] if request.remix_of is not None else []
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmitStep:
    """Submits queued jobs where their upstream has room."""

    routes: Routes
    submissions: Submissions
    lanes: Lanes
    claims: Claims
    references: References
    persistence: Persistence
    limits: Limits
    metrics: Metrics
    monotonic: Clock
    rests: Rests
    failover: Failover

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Take turns on every lane with room, at most `limit` jobs in all."""
        work: list[Callable[[], None]] = []
        for route, lane in self.failover.lanes(now=moment()):
            jobs = self._take_turn(lane, worker, limit - len(work), moment())
            work += [partial(self.run, job, route, lane, moment) for job in jobs]
        return work

    def _take_turn(self, lane: Lane, worker: str, limit: int, now: float) -> Sequence[Job]:
        lease_s = self.limits.prepare_lease_s
        most = self.routes.at_once(lane.upstream, lane.key, limit, now=now)
        jobs = self.submissions.take_turn(lane, worker=worker, limit=most, lease_s=lease_s, now=now)
        affordable = self.routes.afford(lane.upstream, lane.key, len(jobs), now=now)
        for job in jobs[affordable:]:
            self.claims.release(job, due_at=now)
        if affordable < len(jobs):
            # Else every tick would claim and give back the same rows until the rate allows the next one.
            self.rests.until(lane.upstream, lane.key, self.routes.free_at(lane.upstream, lane.key, now=now))
        return jobs[:affordable]

    def run(self, job: Job, route: Route, lane: Lane, moment: Moment) -> None:
        """Submit one claimed job, and write down what came of it."""
        try:
            image = self.references.image(job)
        except Unusable as error:
            failure = Failure(code="invalid_reference", message=str(error))
            self.persistence.record(lifecycle.fail(job, failure, at=moment(), upstream_done=True))
            return
        except Unfetched as error:
            self._unfetched(job, error, moment)
            return
        if image is None or self.routes.takes_picture(job, route.name, image.dimensions):
            self._submit(job, self._request(job, image), route, lane, moment)
        else:
            self._unfitting(job, image, moment)

    def _unfitting(self, job: Job, image: Image, moment: Moment) -> None:
        """What was fetched is not as large as the video, and this upstream wants it so: another's turn, if any."""
        there = [name for name in job.routes if name in self.routes.upstreams]
        taking = [name for name in there if self.routes.takes_picture(job, name, image.dimensions)]
        what = f"The picture is {image.dimensions}, and must be exactly as large as the video: {job.size}."
        if taking:
            detail = {"upstream": job.upstream, "reason": what}
            self.persistence.record(
                lifecycle.reroute(job, event="picture_unfitting", routes=taking, at=moment(), detail=detail)
            )
            return
        failure = Failure(code="invalid_reference", message=what)
        self.persistence.record(lifecycle.fail(job, failure, at=moment(), upstream_done=True))

    def _unfetched(self, job: Job, error: Unfetched, moment: Moment) -> None:
        due_at = moment() + delay(BUCKET_DELAYS_S, job.missing if error.counts else job.tries)
        self.persistence.record(
            lifecycle.again(
                job,
                event="reference_unfetched",
                due_at=due_at,
                at=moment(),
                detail={"reason": str(error)},
                missing=error.counts,
            )
        )

    def _request(self, job: Job, image: Image | None) -> VideoRequest:
        return VideoRequest(
            model=self.routes.upstream_model(job),
            prompt=job.prompt or "",
            size=job.size,
            seconds=job.seconds,
            image=image,
            extra=job.extra,
            remix_of=job.source.upstream_job_id if job.source else None,
        )

    def _submit(self, job: Job, request: VideoRequest, route: Route, lane: Lane, moment: Moment) -> None:
        now = moment()
        due_at = now + self.limits.submit_lease_s
        try:
            begun = self.submissions.begin(job, lane, fingerprint=fingerprint(request), due_at=due_at, now=now)
        except StaleJob:
            return
        if begun is None:
            self.persistence.write(lambda: self.claims.release(job, due_at=moment() + _NO_ROOM_S))
            return
        job, submission = begun
        committed_at = self.monotonic()

        def still_ours() -> bool:
            try:
                held = self.claims.holds(job)
            except Unavailable:
                return False
            # Whoever was frozen here for long must not send: somebody may have taken the job for lost meanwhile. The
            # clock is read last, since asking the database may itself have taken long.
            return held and self.monotonic() - committed_at < self.limits.submit_grace_s

        outcome = route.adapter.submit(request, route.key(lane.key), before_send=still_ours)
        self.metrics.submitted(upstream=route.name, outcome=type(outcome).__name__)
        self._settle(job, submission, outcome, moment)

    def _settle(self, job: Job, submission: Submission, outcome: SubmitOutcome, moment: Moment) -> None:
        match outcome:
            case Accepted():
                self._accepted(job, submission, outcome, moment)
            case Refused():
                self._refused(job, submission, outcome, moment)
            case KeyRefused():
                self._key_refused(job, submission, outcome, moment)
            case NotAccepted():
                self._not_accepted(job, submission, outcome, moment)
            case NotSent():
                self._nothing_made(submission, moment)
                due_at = moment() + delay(SUBMIT_DELAYS_S, job.tries)
                self._requeue(job, moment, event="not_sent", detail={}, due_at=due_at)
            case Unknown():
                self._lost(job, submission, outcome, moment)

    def _accepted(self, job: Job, submission: Submission, outcome: Accepted, moment: Moment) -> None:
        # First to the log: with the disk full, this line is all that knows of a video that is paid for.
        log.info("Accepted upstream: video %s is %s at %s.", job.id, outcome.upstream_job_id, submission.upstream)
        upstream_job_id = outcome.upstream_job_id
        try:
            self.persistence.write(
                lambda: self.submissions.accepted(submission, upstream_job_id=upstream_job_id, now=moment())
            )
        except StaleJob:
            self._not_its_own(job, outcome, moment)
            return
        now = moment()
        self.persistence.record(
            lifecycle.accept(
                job,
                upstream_job_id=upstream_job_id,
                due_at=now + self.limits.poll_interval_s,
                at=now,
                detail=told(outcome.answer, upstream=submission.upstream, key=submission.key),
            )
        )
        self._key_taken(submission, moment)

    def _not_its_own(self, job: Job, outcome: Accepted, moment: Moment) -> None:
        """The upstream answered with an id that it gave to another video: whose picture it shows can't be told."""
        message = "The upstream answered with another video's id, so whether it made this one is not known."
        failure = Failure(code="submission_unknown", message=message)
        detail = told(outcome.answer)
        self.persistence.record(lifecycle.fail(job, failure, at=moment(), upstream_done=False, detail=detail))

    def _not_accepted(self, job: Job, submission: Submission, outcome: NotAccepted, moment: Moment) -> None:
        asked_s = outcome.retry_after_s
        # Without a status there was nobody to turn it away.
        gone = outcome.answer.status is None
        # In memory, and before its slot is free: the next job in the queue is not to run into the same answer.
        self.rests.turned_away(submission.upstream, submission.key, asked_s=asked_s, now=moment(), unreachable=gone)
        self._nothing_made(submission, moment)
        self.routes.heard(submission.upstream, submission.key, outcome, now=moment())
        at_once = gone and self.persistence.write(
            lambda: self.failover.elsewhere(job, submission.upstream, now=moment())
        )
        due_at = moment() + (0.0 if at_once else delay(SUBMIT_DELAYS_S, job.tries, asked_s=asked_s))
        detail = told(outcome.answer, reason=outcome.reason)
        self._requeue(job, moment, event="not_accepted", detail=detail, due_at=due_at)

    def _key_taken(self, submission: Submission, moment: Moment) -> None:
        self.rests.answered(submission.upstream, submission.key)
        self.persistence.write(lambda: self.lanes.answered(submission.upstream, submission.key, now=moment()))

    def _refused(self, job: Job, submission: Submission, outcome: Refused, moment: Moment) -> None:
        others = [name for name in job.routes if name != submission.upstream]
        if outcome.code == "model_not_found" and others:
            self._nothing_made(submission, moment)
            detail = told(outcome.answer, reason=outcome.code, message=outcome.message)
            self._requeue(job, moment, event="not_served", detail=detail, due_at=moment(), routes=others)
            self._key_taken(submission, moment)
            return
        failure = Failure(code=outcome.code, message=outcome.message)
        detail = told(outcome.answer)
        # The job first: it carries the reason, and the slot is freed with it.
        self.persistence.record(lifecycle.fail(job, failure, at=moment(), upstream_done=True, detail=detail))
        self.persistence.write(lambda: self.submissions.refused(submission, absent=False, now=moment()))
        self._key_taken(submission, moment)

    def _key_refused(self, job: Job, submission: Submission, outcome: KeyRefused, moment: Moment) -> None:
        log.error("Upstream %s refuses key %s (%s).", submission.upstream, submission.key, outcome.reason)
        self._nothing_made(submission, moment)
        self.persistence.write(
            lambda: self.lanes.pause(
                submission.upstream, submission.key, reason=outcome.reason, answer=outcome.message, now=moment()
            )
        )
        detail = told(outcome.answer, reason=outcome.reason)
        self._requeue(job, moment, event="key_refused", detail=detail, due_at=moment())

    def _nothing_made(self, submission: Submission, moment: Moment) -> None:
        """First of all after such an answer: dead before that, the job would have to be looked for.

        Perhaps with a key that is refused, or at an upstream without a list, which proves nothing.
        """
        self.persistence.write(lambda: self.submissions.refused(submission, absent=True, now=moment()))

    def _requeue(
        self,
        job: Job,
        moment: Moment,
        *,
        event: str,
        detail: dict[str, object],
        due_at: float,
        routes: Sequence[str] | None = None,
    ) -> None:
        self.persistence.record(
            lifecycle.requeue(job, event=event, due_at=due_at, at=moment(), detail=detail, routes=routes)
        )

    def _lost(self, job: Job, submission: Submission, outcome: Unknown, moment: Moment) -> None:
        self.persistence.write(lambda: self.submissions.lost(submission, now=moment()))
        detail = told(outcome.answer, reason=outcome.reason)
        self.persistence.record(
            lifecycle.again(job, event="submit_unanswered", due_at=moment(), at=moment(), detail=detail)
        )
