"""Ticks: one bounded batch of what is due, handed to the pools. A tick never waits, and never runs beside another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.clock import Clock
from gateway.jobs.errors import Unavailable
from gateway.worker.moment import Moment
from gateway.worker.pools import Pool
from gateway.worker.unbegun import Unbegun
from gateway.worker.wakes import Wakes

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
    wakes: Wakes
    unbegun: Unbegun

    def run(self) -> None:
        """Tick whenever a step is wanted, until the wake-ups are closed. For one thread."""
        while (names := self.wakes.wait()) is not None:
            try:
                self.tick(names)
            except Exception:
                log.exception("A tick failed.")

    def beat(self) -> None:
        """Have every step asked: the metronome calls it."""
        self.wakes.beat([pool.name for _, pool in self.steps])

    def tick(self, names: Container[str] | None = None) -> int:
        """Claim and begin what is due of the named steps, or of all; returns how many pieces of work were begun."""
        try:
            moment = Moment(now=self.database_now(), monotonic=self.monotonic)
            self.unbegun.give_back(moment)
        except Unavailable as error:
            log.warning("No tick: %s", error.message)
            return 0
        wanted = [(step, pool) for step, pool in self.steps if names is None or pool.name in names]
        return sum(self._begin(step, pool, moment) for step, pool in wanted)

    def _begin(self, step: Step, pool: Pool, moment: Moment) -> int:
        free = pool.free
        if not free:
            return 0
        work = self._claimed(step, free, moment)
        # Before any of it begins, and so before any of it can end.
        self.wakes.begun(pool.name, full=len(work) >= free, under_way=pool.threads - free + len(work))
        for piece in work:
            pool.start(piece)
        return len(work)

    def _claimed(self, step: Step, limit: int, moment: Moment) -> Sequence[Callable[[], None]]:
        try:
            with self.unbegun.noted(moment):
                return step.claim(worker=self.worker, limit=limit, moment=moment)
        except Unavailable as error:
            log.warning("%s claimed nothing: %s", type(step).__name__, error.message)
        except Exception:
            # A fault of one step must not keep the steps after it from their work.
            log.exception("%s failed to claim.", type(step).__name__)
        return ()
