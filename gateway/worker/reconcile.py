"""The reconcile step: what became of a submit whose answer was lost, from the upstream's own list."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from gateway.jobs import lifecycle
from gateway.jobs.backoff import RECONCILE_DELAYS_S, delay
from gateway.jobs.job import Failure, Job, Status
from gateway.jobs.ports import Claims, Submission, Submissions
from gateway.upstreams.port import Listed, Page, all_videos
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.persistence import Persistence
from gateway.worker.routes import Route, Routes

log = logging.getLogger(__name__)

_UNKNOWN = "The answer to the submit was lost, and it could not be proven whether the upstream made the video."


@dataclass(kw_only=True, slots=True)
class Walk:
    """What one walk through a list, back to the intent, has shown."""

    complete: bool = False
    proven: bool = False
    """Whether the list showed an id that this key is known to have accepted: an empty list proves nothing by itself."""
    orphans: list[Listed] = field(default_factory=list)
    """Videos like ours that belong to no submission."""
    unclear: bool = False
    """Whether there was one that might be ours, of which the list shows too little to say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconcileStep:
    """Adopts orphans, submits again what is proven absent, and else lets the setting decide."""

    routes: Routes
    submissions: Submissions
    claims: Claims
    persistence: Persistence
    limits: Limits

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Claim submits without an answer whose owner is dead or out of time."""
        lease_s = self.limits.reconcile_lease_s
        jobs = self.claims.due(Status.SUBMITTING, worker=worker, limit=limit, lease_s=lease_s, now=moment())
        return [partial(self.run, job, moment) for job in jobs]

    def run(self, job: Job, moment: Moment) -> None:
        """Settle one submit, or come back to it."""
        submission = self.submissions.of_job(job)
        if submission is None or submission.outcome in {"absent", "refused"}:
            # The process died between the two writes of an outcome; nothing was made.
            self._requeue(job, "absent", moment)
        elif submission.outcome == "accepted" and submission.upstream_job_id is not None:
            self._accept(job, submission.upstream_job_id, "accepted", moment)
        else:
            self._look(job, submission, moment)

    def _look(self, job: Job, submission: Submission, moment: Moment) -> None:
        if submission.closed_at is None:
            # Nobody saw the socket close: its deadline has passed or its process is dead, so it closed by now.
            self.submissions.lost(submission, now=moment())
        closed_at = submission.closed_at if submission.closed_at is not None else moment()
        route = self.routes.of(job)
        if route is None:
            self._again(job, "upstream_not_configured", moment() + self.limits.poll_interval_s, moment)
        elif not route.adapter.facts.can_list:
            self._undecided(job, submission, moment)
        else:
            self._judge(job, submission, self._walk(job, submission, route), closed_at, moment)

    def _judge(self, job: Job, submission: Submission, walk: Walk, closed_at: float, moment: Moment) -> None:
        now = moment()
        if len(walk.orphans) > 1 or walk.unclear or (walk.orphans and self.submissions.rivals(submission)):
            self._fail(job, "The upstream shows more than one video that could be this one. " + _UNKNOWN, moment)
        elif walk.orphans:
            self._adopt(job, submission, walk.orphans[0], moment)
        elif not walk.complete:
            self._unlisted(job, submission, closed_at, moment)
        elif not self._second_look(submission, closed_at, now):
            self.submissions.walked(submission, now=now)
            self._again(job, "not_in_list", max(closed_at + self.limits.reconcile_after_s, now + 1.0), moment)
        elif walk.proven:
            self.persistence.write(lambda: self.submissions.refused(submission, absent=True, now=moment()))
            self._requeue(job, "proven_absent", moment)
        else:
            self._undecided(job, submission, moment)

    def _second_look(self, submission: Submission, closed_at: float, now: float) -> bool:
        return submission.walked_at is not None and now >= closed_at + self.limits.reconcile_after_s

    def _walk(self, job: Job, submission: Submission, route: Route) -> Walk:
        walk = Walk()
        since = submission.started_at - self.limits.clock_skew_s
        for page in all_videos(route.adapter, route.key(submission.key)):
            if not isinstance(page, Page):
                return walk
            owners = self.submissions.claimed_ids(route.name, [video.upstream_job_id for video in page.videos])
            walk.proven = walk.proven or bool(owners)
            for video in page.videos:
                if video.upstream_job_id not in owners and (video.created_at is None or video.created_at >= since):
                    self._note(walk, job, video)
            if page.videos and all(v.created_at is not None and v.created_at < since for v in page.videos):
                break
        walk.complete = True
        return walk

    def _note(self, walk: Walk, job: Job, video: Listed) -> None:
        wanted = ((job.prompt or "").strip(), self.routes.upstream_model(job), job.size, job.seconds)
        shown = (video.prompt.strip() if video.prompt is not None else None, video.model, video.size, video.seconds)
        if any(seen is not None and seen != want for seen, want in zip(shown, wanted, strict=True)):
            return
        if video.prompt is None:
            walk.unclear = True
        else:
            walk.orphans.append(video)

    def _adopt(self, job: Job, submission: Submission, video: Listed, moment: Moment) -> None:
        log.info("Adopted upstream: video %s is %s at %s.", job.id, video.upstream_job_id, submission.upstream)
        found = video.upstream_job_id
        self.persistence.write(lambda: self.submissions.accepted(submission, upstream_job_id=found, now=moment()))
        self._accept(job, found, "adopted", moment)

    def _accept(self, job: Job, upstream_job_id: str, how: str, moment: Moment) -> None:
        now = moment()
        self.persistence.record(
            lifecycle.accept(job, upstream_job_id=upstream_job_id, due_at=now, at=now, detail={"how": how})
        )

    def _unlisted(self, job: Job, submission: Submission, closed_at: float, moment: Moment) -> None:
        """The list itself gave no answer: patient for as long as a video may take, then it proves nothing."""
        if moment() >= closed_at + max(self.limits.reconcile_after_s, self.limits.max_wait_s):
            self._undecided(job, submission, moment)
        else:
            self._again(job, "list_unanswered", moment() + delay(RECONCILE_DELAYS_S, job.tries), moment)

    def _undecided(self, job: Job, submission: Submission, moment: Moment) -> None:
        if self.limits.resubmit_unknown:
            self.persistence.write(lambda: self.submissions.free(submission, now=moment()))
            self._requeue(job, "submitted_again_unproven", moment)
        else:
            self._fail(job, _UNKNOWN, moment)

    def _requeue(self, job: Job, event: str, moment: Moment) -> None:
        self.persistence.record(lifecycle.requeue(job, event=event, due_at=moment(), at=moment(), detail={}))

    def _again(self, job: Job, event: str, due_at: float, moment: Moment) -> None:
        self.persistence.record(lifecycle.again(job, event=event, due_at=due_at, at=moment(), detail={}))

    def _fail(self, job: Job, message: str, moment: Moment) -> None:
        failure = Failure(code="submission_unknown", message=message)
        self.persistence.record(lifecycle.fail(job, failure, at=moment(), upstream_done=False))
