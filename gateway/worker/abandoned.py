"""The clean-up of submissions whose job is final: stop them upstream where that can be done, else see them end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.jobs.ports import Submission, Submissions
from gateway.upstreams.port import Failed, Finished, Missing
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.persistence import Persistence
from gateway.worker.routes import Route, Routes

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class AbandonedStep:
    """Gives slots back only when the upstream is seen to be done, or GATEWAY_MAX_WAIT_S is over."""

    routes: Routes
    submissions: Submissions
    persistence: Persistence
    limits: Limits

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Claim abandoned submissions that are due."""
        lease_s = self.limits.poll_timeout_s + 5.0
        claimed = self.submissions.abandoned(worker=worker, limit=limit, lease_s=lease_s, now=moment())
        return [partial(self.run, submission, moment) for submission in claimed]

    def run(self, submission: Submission, moment: Moment) -> None:
        """Stop one, or look whether it has ended."""
        route = self.routes.upstreams.get(submission.upstream)
        if submission.upstream_job_id is None or route is None:
            # Its answer is lost, or still under way and then there will be something to stop.
            done, sent = False, submission.cancel_sent
        else:
            done, sent = self._looked(submission, submission.upstream_job_id, route, moment)
        now = moment()
        if done or (now >= self._ends_at(submission) and sent is submission.cancel_sent):
            self.persistence.write(lambda: self.submissions.free(submission, now=now))
        else:
            self._later(submission, now, cancel_sent=sent)

    def _later(self, submission: Submission, now: float, *, cancel_sent: bool) -> None:
        ends_at = self._ends_at(submission)
        due_at = now + self.limits.poll_interval_s
        # Not past the end, except for the look that a cancel sent at the end deserves.
        due_at = min(due_at, ends_at) if now < ends_at else due_at
        self.submissions.abandoned_again(submission, due_at=due_at, cancel_sent=cancel_sent)

    def _ends_at(self, submission: Submission) -> float:
        """Until when a slot is kept without having been seen free.

        A video that timed out is one the upstream said it is still at, so it gets as long again.
        """
        patience = 1 if submission.upstream_job_id is None else 2
        return submission.started_at + patience * self.limits.max_wait_s

    def _looked(self, submission: Submission, upstream_job_id: str, route: Route, moment: Moment) -> tuple[bool, bool]:
        """Return whether the upstream is done with it, and whether it has been told to stop."""
        key = route.key(submission.key)
        if not self.routes.afford(route.name, key.name, 1, now=moment()):
            return False, submission.cancel_sent
        if route.adapter.facts.can_cancel and not submission.cancel_sent:
            return route.adapter.cancel(upstream_job_id, key), True
        outcome = route.adapter.poll(upstream_job_id, key)
        # A 404 alone may be a list that lags, or another key under the name of the one that accepted it.
        done = isinstance(outcome, Finished | Failed) or (isinstance(outcome, Missing) and submission.cancel_sent)
        return done, submission.cancel_sent
