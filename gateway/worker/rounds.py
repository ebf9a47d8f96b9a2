"""Rounds: where the upstream can list, one page of its list is the poll of up to 100 videos."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.jobs.job import Job
from gateway.jobs.ports import Claims
from gateway.upstreams.port import Key, KeyRefused, Listed, NoAnswer, Page
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.poll import PollStep
from gateway.worker.rests import Rests
from gateway.worker.routes import Route, Routes

log = logging.getLogger(__name__)

PAGE = 100
"""Videos on a page of the list: what is asked for, and what the protocol's own allows at most."""

WORTH_IT = 4
"""So many videos in hand make a page cheaper for everybody than a poll of each."""

_MOST = 1000
"""Videos of one round: claimed together, so that they are asked about together from then on.

A key with more has several rounds, each of which begins in the list where the one before it ends.
"""

_A_TICK = 4
"""Rounds begun in one tick: claiming so many rows takes a while, in which nothing else is begun."""

_OVERLAP = 25
"""Places in the list before a video at which it is looked for: the upstream may have begun its videos in another order
than its answers came in."""

_SPARE_PAGES = 2
"""Pages that may bring less than they are worth, beside one for each that the videos would fill.

Videos that are not due stand between them, and finished ones.
"""

_BRIEFLY_S = 2.0
"""How long a list rests that showed most: until the polls have taken up what it did not show."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundStep:
    """Asks about all the videos of a key at once. What a list does not show, or not well, is polled one by one."""

    routes: Routes
    claims: Claims
    polls: PollStep
    limits: Limits
    rests: Rests
    """Keys whose list was of no use, and which are polled one by one for a while."""

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Claim rounds for each key that can list and has enough in hand, at most `limit`."""
        now = moment()
        limit = min(limit, _A_TICK)
        work: list[Callable[[], None]] = []
        for route, key in self._listing(now):
            while len(work) < limit and (jobs := self._claimed(route, key, worker, now)):
                work.append(partial(self.run, jobs, route, key, moment))
        return work

    def _listing(self, now: float) -> Iterator[tuple[Route, Key]]:
        for route, key in self.routes.every_key():
            if route.adapter.facts.can_list and not self.rests.resting(route.name, key.name, now=now):
                yield route, key

    def _claimed(self, route: Route, key: Key, worker: str, now: float) -> Sequence[Job]:
        # Half an interval early at most: who was accepted in between falls into step with the others.
        jobs = self.claims.round(
            route.name, key.fingerprint, worker=worker, least=WORTH_IT, limit=_MOST,
            until=now + self.limits.poll_interval_s / 2, lease_s=self.limits.poll_lease_s, now=now,
        )  # fmt: skip
        pages = self.routes.afford(route.name, key.name, _pages(len(jobs)), now=now)
        left = jobs[pages * PAGE :]
        if left:
            free_at = self.routes.free_at(route.name, key.name, now=now)
            self.claims.release_all(left, due_at=free_at)
        return jobs[: pages * PAGE]

    def run(self, jobs: Sequence[Job], route: Route, key: Key, moment: Moment) -> None:
        """Walk the list until it has shown every video of the round, and write down what is new."""
        wanted = {job.upstream_job_id or "": job for job in jobs}
        quiet: list[Job] = []
        for video in self._walk(route, key, jobs, wanted, moment):
            job = wanted.pop(video.upstream_job_id, None)
            if job is not None and not self.polls.settle(job, route, video.poll, moment):
                quiet.append(job)
        if quiet and self.limits.claims_outlast_polls:
            self.claims.release_all(quiet, due_at=self.polls.next_poll(quiet[0], moment()))
        if wanted:
            interval_s = self.limits.poll_interval_s
            rest_s = interval_s if 2 * len(wanted) > len(jobs) else min(_BRIEFLY_S, interval_s)
            self._unlisted(list(wanted.values()), route, key, moment, rest_s=rest_s)

    def _walk(
        self, route: Route, key: Key, jobs: Sequence[Job], wanted: Mapping[str, Job], moment: Moment
    ) -> Iterator[Listed]:
        """Yield what the list shows from the first of the jobs on, while whoever takes it takes them out of `wanted`.

        Where a page brings less than it is worth, the next one begins at what is looked for next.
        """
        paid = _pages(len(jobs))
        seeking = (job for job in jobs if job.upstream_job_id in wanted)
        after = self._just_before(next(seeking))
        for number in itertools.count(1):
            if number > paid:
                self.routes.afford(route.name, key.name, 1, now=moment(), owed=True)
            page, missing = self._page(route, key, after, moment), len(wanted)
            if page is None:
                return
            yield from page.videos
            after = page.next
            if missing - len(wanted) < WORTH_IT and wanted:
                sought = next(seeking, None)
                after = self._just_before(sought) or after if sought else None
            worth = (len(jobs) - len(wanted)) // WORTH_IT
            if not wanted or after is None or number > paid + worth + _SPARE_PAGES:
                return

    def _page(self, route: Route, key: Key, after: str | None, moment: Moment) -> Page | None:
        page = route.adapter.page(key, after=after)
        if isinstance(page, NoAnswer):
            self.routes.heard(route.name, key.name, page, now=moment())
        return page if isinstance(page, Page) else None

    def _just_before(self, job: Job) -> str | None:
        """Return the video after which a page begins that shows a job; None where it is one of the newest."""
        before = self.claims.accepted_after(job, _OVERLAP)
        return before.upstream_job_id if before is not None else None

    def _unlisted(self, jobs: Sequence[Job], route: Route, key: Key, moment: Moment, *, rest_s: float) -> None:
        """Ask about one that the list did not show: where that brings no answer either, none has one."""
        self.routes.afford(route.name, key.name, 1, now=moment(), owed=True)
        first, *others = jobs
        outcome = self.polls.asked(first, route)
        self.polls.settle(first, route, outcome, moment)
        if isinstance(outcome, NoAnswer | KeyRefused):
            for job in others:
                self.polls.settle(job, route, outcome, moment)
        elif others:
            log.info("The list of upstream %s does not show %d videos; they are polled.", route.name, len(jobs))
            self.rests.until(route.name, key.name, moment() + rest_s)
            self.claims.release_all(others, due_at=moment())


def _pages(videos: int) -> int:
    return -(-videos // PAGE)
