"""The reconcile step: what became of a submit whose answer was lost, from the upstream's own list."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from gateway.jobs import lifecycle
from gateway.jobs.backoff import RECONCILE_DELAYS_S, delay
from gateway.jobs.errors import StaleJob
from gateway.jobs.job import Failure, Job, Status
from gateway.jobs.ports import Claims, Submission, Submissions
from gateway.upstreams.port import Listed, NoAnswer, Page
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.persistence import Persistence
from gateway.worker.routes import PutOff, Route, Routes

log = logging.getLogger(__name__)

_UNKNOWN = "The answer to the submit was lost, and it could not be proven whether the upstream made the video."

_MOST_PAGES = 200
"""Of one walk: a list that ignores its cursor must not be walked for ever."""

_LEAST_LOOKS = 4
"""Before a video is given up whose list gives no answer, however long ago its answer was lost."""

_ABOUT_TO_WRITE_S = 10.0
"""Twice as long as whoever has an answer in hand waits before it tries again to write it down."""

_SNAPSHOT = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")
"""The date that some upstreams put behind a model's name in their answers."""


@dataclass(kw_only=True, slots=True)
class Walk:
    """What one walk through a list, back to the intent, has shown."""

    began: float
    complete: bool = False
    proven: bool = False
    """Whether the list showed an id that this key is known to have accepted: an empty list proves nothing by itself."""
    orphans: list[Listed] = field(default_factory=list)
    """Videos like ours that belong to no submission."""
    mute: bool = False
    """Whether there was one that might be ours, of which the list shows too little to say."""
    sourceless: bool = False
    """Whether there was one like our remix of which the list does not say that it is a remix."""
    names_sources: bool = False
    """Whether the list said of any video what it is a remix of: who says it of one says it of all."""
    newest_first: bool = True
    """Whether the list went back in time so far: only then may the walk end at the intent."""
    oldest: float = math.inf

    @property
    def unclear(self) -> bool:
        """Whether what is ours may hide among what the list shows too little of."""
        return self.mute or (self.sourceless and not self.names_sources)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconcileStep:
    """Adopts orphans, submits again what is proven absent, and else lets the setting decide."""

    routes: Routes
    submissions: Submissions
    claims: Claims
    persistence: Persistence
    limits: Limits
    put_off: PutOff = field(default_factory=PutOff)

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Claim submits without an answer whose owner is dead or out of time; of a list, as its key's rate allows."""
        now = moment()
        lease_s = self.limits.reconcile_lease_s
        claimed = self.claims.due(Status.SUBMITTING, worker=worker, limit=limit, lease_s=lease_s, now=now)
        asking = [job for job in claimed if self._asks(job)]
        # Here, before the polls ask for it: in its own thread a walk would come last, and get nothing for ever.
        admitted = self.routes.admitted(asking, claims=self.claims, now=now, put_off=self.put_off)
        jobs = [job for job in claimed if job in admitted or job not in asking]
        return [partial(self.run, job, moment) for job in jobs]

    def _asks(self, job: Job) -> bool:
        submission = self.submissions.of_job(job) if self._has_list(job) else None
        return submission is not None and submission.outcome == "unknown"

    def _has_list(self, job: Job) -> bool:
        """Whether its upstream can list, and with the key that sent it: another's shows neither it nor its absence."""
        route = self.routes.of(job)
        return route is not None and route.adapter.facts.can_list and route.knows(job)

    def run(self, job: Job, moment: Moment) -> None:
        """Settle one submit, or come back to it."""
        # Read anew: since the claim looked, its own process may have written down what it was answered.
        submission = self.submissions.of_job(job)
        if submission is None or submission.outcome in {"absent", "refused"}:
            # The process died between the two writes of an outcome; nothing was made.
            self._requeue(job, "absent", moment)
        elif submission.outcome == "accepted" and submission.upstream_job_id is not None:
            self._accept(job, submission.upstream_job_id, "accepted", moment)
        else:
            self._look(job, submission, moment)

    def _look(self, job: Job, submission: Submission, moment: Moment) -> None:
        closed_at = submission.closed_at
        if closed_at is None:
            # Nobody saw the socket close: its deadline has passed or its process is dead, so it closed by now. But a
            # living process for which the database was away may be about to write down what it was answered.
            closed_at = moment() + _ABOUT_TO_WRITE_S
            self.persistence.write(lambda: self.submissions.lost(submission, now=closed_at))
        route = self.routes.of(job)
        if route is None:
            self._unlisted(job, submission, closed_at, moment)
        elif not self._has_list(job):
            self._undecided(job, submission, closed_at, moment)
        else:
            self._judge(job, submission, self._walk(job, submission, route, moment), closed_at, moment)

    def _judge(self, job: Job, submission: Submission, walk: Walk, closed_at: float, moment: Moment) -> None:
        if not walk.complete:
            self._unlisted(job, submission, closed_at, moment)
        elif len(walk.orphans) > 1 or (walk.orphans and (walk.unclear or self.submissions.rivals(submission))):
            self._fail(job, "The upstream shows more than one video that could be this one. " + _UNKNOWN, moment)
        elif walk.orphans:
            self._adopt(job, submission, walk.orphans[0], moment)
        elif walk.unclear:
            self._undecided(job, submission, closed_at, moment)
        elif not self._second_look(submission, closed_at, walk.began):
            self.persistence.write(lambda: self.submissions.walked(submission, now=moment()))
            due_at = max(closed_at + self.limits.reconcile_after_s, moment() + 1.0)
            self._again(job, "not_in_list", due_at, moment, looked=True)
        elif walk.proven:
            self.persistence.write(lambda: self.submissions.refused(submission, absent=True, now=moment()))
            self._requeue(job, "proven_absent", moment)
        else:
            self._undecided(job, submission, closed_at, moment)

    def _second_look(self, submission: Submission, closed_at: float, began: float) -> bool:
        return submission.walked_at is not None and began >= closed_at + self.limits.reconcile_after_s

    def _walk(self, job: Job, submission: Submission, route: Route, moment: Moment) -> Walk:
        walk = Walk(began=moment())
        since = submission.started_at - self.limits.clock_skew_s
        key = route.key_of(job)
        after: str | None = None
        until = walk.began + self.limits.reconcile_lease_s / 2
        for number in range(_MOST_PAGES):
            if moment() > until:
                break
            if number:
                # The first was granted with the claim; the others are owed to the rate, or no walk would ever end.
                self.routes.afford(route.name, key.name, 1, now=moment(), owed=True)
            page = route.adapter.page(key, after=after)
            if isinstance(page, NoAnswer):
                self.routes.heard(route.name, key.name, page, now=moment())
            if not isinstance(page, Page):
                break
            self._read(page, walk, job, route, since)
            if page.next is None or (walk.newest_first and walk.oldest < since):
                walk.complete = True
                break
            after = page.next
        return walk

    def _read(self, page: Page, walk: Walk, job: Job, route: Route, since: float) -> None:
        owners = self.submissions.claimed_ids(route.name, [video.upstream_job_id for video in page.videos])
        walk.proven = walk.proven or bool(owners)
        walk.names_sources |= any(video.remixed_from is not None for video in page.videos)
        for video in page.videos:
            walk.newest_first &= video.created_at is not None and video.created_at <= walk.oldest
            walk.oldest = video.created_at if video.created_at is not None else walk.oldest
            if video.upstream_job_id not in owners and (video.created_at is None or video.created_at >= since):
                self._note(walk, job, video)

    def _note(self, walk: Walk, job: Job, video: Listed) -> None:
        if any(video.upstream_job_id == orphan.upstream_job_id for orphan in walk.orphans):
            return  # pages that overlap, since the list grew meanwhile
        source = job.source.upstream_job_id if job.source else None
        compared: list[tuple[object, object]] = [
            (video.prompt and video.prompt.strip(), (job.prompt or "").strip()),
            (video.remixed_from, source),
        ]
        if source is None:
            # A remix asks for none of these: whatever form the upstream gave it, it is the one that is paid for.
            compared += [
                (_plain(video.model), _plain(self.routes.upstream_model(job))),
                (video.size, job.size),
                (video.seconds, job.seconds),
            ]
        if any(seen is not None and seen != want for seen, want in compared):
            return
        if video.prompt is None:
            walk.mute = True
        elif source is not None and video.remixed_from is None:
            walk.sourceless = True
        else:
            walk.orphans.append(video)

    def _adopt(self, job: Job, submission: Submission, video: Listed, moment: Moment) -> None:
        log.info("Adopted upstream: video %s is %s at %s.", job.id, video.upstream_job_id, submission.upstream)
        found = video.upstream_job_id
        try:
            self.persistence.write(lambda: self.submissions.accepted(submission, upstream_job_id=found, now=moment()))
        except StaleJob:
            self._again(job, "orphan_taken", moment() + 1.0, moment)
            return
        # Its own answer may have come after all while the list was walked; what was written first holds.
        kept = self.submissions.of_job(job)
        self._accept(job, (kept and kept.upstream_job_id) or found, "adopted", moment)

    def _accept(self, job: Job, upstream_job_id: str, how: str, moment: Moment) -> None:
        now = moment()
        self.persistence.record(
            lifecycle.accept(job, upstream_job_id=upstream_job_id, due_at=now, at=now, detail={"how": how})
        )

    def _unlisted(self, job: Job, submission: Submission, closed_at: float, moment: Moment) -> None:
        """The list itself gave no answer: patient for as long as a video may take, then it proves nothing."""
        over = moment() >= closed_at + max(self.limits.reconcile_after_s, self.limits.max_wait_s)
        # All workers may have been away for all of that time: then it has hardly been asked.
        if over and job.missing >= _LEAST_LOOKS - 1:
            self._undecided(job, submission, closed_at, moment)
        else:
            due_at = moment() + delay(RECONCILE_DELAYS_S, job.missing)
            self._again(job, "list_unanswered", due_at, moment, looked=True)

    def _undecided(self, job: Job, submission: Submission, closed_at: float, moment: Moment) -> None:
        if moment() < closed_at:
            # Its process may still be sending: nobody can say yet what was lost.
            self._again(job, "not_closed_yet", closed_at, moment)
        elif self.limits.resubmit_unknown:
            self._submit_again(job, submission, moment)
        else:
            self._fail(job, _UNKNOWN, moment)

    def _submit_again(self, job: Job, submission: Submission, moment: Moment) -> None:
        if self.persistence.write(lambda: self.submissions.free(submission, now=moment())):
            self._requeue(job, "submitted_again_unproven", moment)
        else:
            self._again(job, "answered_late", moment(), moment)

    def _requeue(self, job: Job, event: str, moment: Moment) -> None:
        self.persistence.record(lifecycle.requeue(job, event=event, due_at=moment(), at=moment(), detail={}))

    def _again(self, job: Job, event: str, due_at: float, moment: Moment, *, looked: bool = False) -> None:
        # A submit's looks are its `missing`, which begins anew with each; its `tries` go on from one to the next.
        self.persistence.record(
            lifecycle.again(job, event=event, due_at=due_at, at=moment(), detail={}, missing=looked)
        )

    def _fail(self, job: Job, message: str, moment: Moment) -> None:
        failure = Failure(code="submission_unknown", message=message)
        self.persistence.record(lifecycle.fail(job, failure, at=moment(), upstream_done=False))


def _plain(model: str | None) -> str | None:
    return _SNAPSHOT.sub("", model) if model is not None else None
