"""The worker as a process: APScheduler is its metronome, SIGTERM its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from gateway.clock import Clock
from gateway.jobs.errors import Unavailable
from gateway.jobs.ports import Workers
from gateway.worker.housekeeping import Housekeeping
from gateway.worker.pools import Pool
from gateway.worker.ticks import Ticker

log = logging.getLogger(__name__)

TICK_S = 0.2
BEAT_S = 2.0
HOUSEKEEPING_S = 1.0
STOP_WITHIN_S = 17.0
"""For finishing what is claimed after SIGTERM; the whole process must be gone within 20."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerProcess:
    """One worker. `stopping` is set by whoever wants it to end."""

    worker: str
    ticker: Ticker
    housekeeping: Housekeeping
    workers: Workers
    pools: Sequence[Pool]
    database_now: Callable[[], float]
    monotonic: Clock
    stopping: threading.Event

    def run(self) -> None:
        """Work until `stopping` is set, then finish or release what is claimed."""
        self.workers.join(self.worker, now=self.database_now())
        scheduler = self._scheduler()
        scheduler.start()
        log.info("Worker %s is at work.", self.worker)
        self.stopping.wait()
        self._stop(scheduler)

    def _scheduler(self) -> BackgroundScheduler:
        # A lost tick is made up by the next one, so they coalesce and are never late enough to be dropped.
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(max_workers=3)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        scheduler.add_job(self.ticker.tick, "interval", seconds=TICK_S, id="tick")
        scheduler.add_job(self._beat, "interval", seconds=BEAT_S, id="beat")
        scheduler.add_job(self._keep_house, "interval", seconds=HOUSEKEEPING_S, id="housekeeping")
        return scheduler

    def _beat(self) -> None:
        self._unless_away(lambda now: self.workers.beat(self.worker, now=now))

    def _keep_house(self) -> None:
        self._unless_away(self.housekeeping.tick)

    def _unless_away(self, act: Callable[[float], None]) -> None:
        try:
            act(self.database_now())
        except Unavailable as error:
            log.warning("The database is away: %s", error.message)

    def _stop(self, scheduler: BackgroundScheduler) -> None:
        log.info("Worker %s stops: no new claims.", self.worker)
        until = self.monotonic() + STOP_WITHIN_S
        scheduler.remove_job("tick")
        scheduler.remove_job("housekeeping")
        for pool in self.pools:
            pool.wait_idle(max(0.0, until - self.monotonic()))
        # The beat went on until here: what is finished late must not be taken over meanwhile.
        scheduler.shutdown(wait=False)
        for pool in self.pools:
            pool.close()
        self._unless_away(self._leave)

    def _leave(self, now: float) -> None:
        del now
        if all(pool.wait_idle(0) for pool in self.pools):
            self.workers.leave(self.worker)
        # Else the process ends with its locks, which proves it dead: others take over what it could not finish.
        log.info("Worker %s has stopped.", self.worker)
