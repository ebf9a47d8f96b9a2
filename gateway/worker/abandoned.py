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
from gateway.worker.routes import Route, Routes

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class AbandonedStep:
    """Gives slots back only when the upstream is seen to be done, or GATEWAY_MAX_WAIT_S is over."""

    routes: Routes
    submissions: Submissions
    limits: Limits

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Claim abandoned submissions that are due."""
        lease_s = self.limits.poll_timeout_s + 5.0
        claimed = self.submissions.abandoned(worker=worker, limit=limit, lease_s=lease_s, now=moment())
        return [partial(self.run, submission, moment) for submission in claimed]

    def run(self, submission: Submission, moment: Moment) -> None:
        """Stop one, or look whether it has ended."""
        ends_at = submission.started_at + self.limits.max_wait_s
        route = self.routes.upstreams.get(submission.upstream)
        if moment() >= ends_at:
            self.submissions.free(submission, now=moment())
        elif submission.upstream_job_id is None or route is None:
            # Its answer was lost or is still under way: nothing to stop yet, and the slot may be taken.
            self.submissions.abandoned_again(submission, due_at=ends_at, cancel_sent=False)
        elif self._stopped(submission, submission.upstream_job_id, route, moment):
            self.submissions.free(submission, now=moment())
        else:
            due_at = min(moment() + self.limits.poll_interval_s, ends_at)
            self.submissions.abandoned_again(submission, due_at=due_at, cancel_sent=route.adapter.facts.can_cancel)

    def _stopped(self, submission: Submission, upstream_job_id: str, route: Route, moment: Moment) -> bool:
        key = route.key(submission.key)
        if not self.routes.afford(route.name, key.name, 1, now=moment()):
            return False
        if route.adapter.facts.can_cancel and not submission.cancel_sent:
            return route.adapter.cancel(upstream_job_id, key)
        return isinstance(route.adapter.poll(upstream_job_id, key), Finished | Failed | Missing)
