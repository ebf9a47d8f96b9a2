"""Ticks: one bounded batch of everything that is due, handed to the pools. Nothing here waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.clock import Clock
from gateway.jobs.errors import Unavailable
from gateway.worker.moment import Moment
from gateway.worker.pools import Pool

log = logging.getLogger(__name__)


class Step(Protocol):
    """Claims due rows and returns the work on each."""

    def claim(self, *, worker: str, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        """Claim at most `limit` rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticker:
    """The steps in order of precedence, each with its own pool: submits and downloads come before polls."""

    worker: str
    steps: Sequence[tuple[Step, Pool]]
    database_now: Callable[[], float]
    monotonic: Clock

    def tick(self) -> int:
        """Claim and begin what is due; returns how many pieces of work were begun."""
        try:
            moment = Moment(now=self.database_now(), monotonic=self.monotonic)
        except Unavailable as error:
            log.warning("No tick: %s", error.message)
            return 0
        return sum(self._begin(step, pool, moment) for step, pool in self.steps)

    def _begin(self, step: Step, pool: Pool, moment: Moment) -> int:
        free = pool.free
        if not free:
            return 0
        try:
            work = step.claim(worker=self.worker, limit=free, moment=moment)
        except Unavailable as error:
            log.warning("%s claimed nothing: %s", type(step).__name__, error.message)
            return 0
        except Exception:
            # A fault of one step must not keep the steps after it from their work.
            log.exception("%s failed to claim.", type(step).__name__)
            return 0
        for piece in work:
            pool.start(piece)
        return len(work)
