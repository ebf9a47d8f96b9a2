"""The worker as a process: APScheduler is its metronome, wake-ups come in between, SIGTERM is its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
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
JOIN_AGAIN_S = 1.0
STOP_WITHIN_S = 15.0
"""For finishing what is claimed after SIGTERM; the whole process must be gone within 20, on a busy machine too."""


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
    reroute: Callable[[], object]
    """Gives what waits the routes of the present settings; called once, before the first tick."""
    relieve: Callable[[], None]
    """Writes down what was made before an attempt that takes long; also while the worker stops and claims nothing."""
    copy_log: Callable[[], None]
    """Keeps the database's log short, so that those who write need not."""

    def run(self) -> None:
        """Work until `stopping` is set, then finish or release what is claimed."""
        if not self._joined():
            return
        # The one thread that ticks. The metronome has every step asked, and whoever makes something due has its own.
        ticking = threading.Thread(target=self.ticker.run, name="ticker", daemon=True)
        ticking.start()
        scheduler = self._scheduler()
        scheduler.start()
        log.info("Worker %s is at work.", self.worker)
        self.stopping.wait()
        self._stop(scheduler, ticking)

    def _joined(self) -> bool:
        """Enter this worker, as soon as the database is there; False where it is stopped before that."""
        while not self.stopping.is_set():
            try:
                self.workers.join(self.worker, now=self.database_now())
                self.reroute()
            except Unavailable as error:
                log.warning("The database is away, worker %s waits for it: %s", self.worker, error.message)
                self.stopping.wait(JOIN_AGAIN_S)
            else:
                return True
        return False

    def _scheduler(self) -> BackgroundScheduler:
        # A lost tick is made up by the next one, so they coalesce and are never late enough to be dropped. A thread for
        # each, so that none waits for another.
        acts: Mapping[str, tuple[Callable[[], object], float]] = {
            "tick": (self.ticker.beat, TICK_S),
            "beat": (lambda: self._at_present(self._beat), BEAT_S),
            "relief": (lambda: self._unless_away(self.relieve), TICK_S),
            "housekeeping": (lambda: self._at_present(self.housekeeping.tick), HOUSEKEEPING_S),
            "sweep": (lambda: self._at_present(self.housekeeping.sweep), HOUSEKEEPING_S),
            "log": (lambda: self._unless_away(self.copy_log), HOUSEKEEPING_S),
        }
        scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(max_workers=len(acts))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        for name, (act, seconds) in acts.items():
            scheduler.add_job(act, "interval", seconds=seconds, id=name)
        return scheduler

    def _beat(self, now: float) -> None:
        self.workers.beat(self.worker, now=now)

    def _at_present(self, act: Callable[[float], None]) -> None:
        self._unless_away(lambda: act(self.database_now()))

    def _unless_away(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Unavailable as error:
            log.warning("The database is away: %s", error.message)

    def _stop(self, scheduler: BackgroundScheduler, ticking: threading.Thread) -> None:
        log.info("Worker %s stops: no new claims.", self.worker)
        until = self.monotonic() + STOP_WITHIN_S
        for job in ("tick", "housekeeping", "sweep", "log"):
            scheduler.remove_job(job)
        self.ticker.wakes.close()
        # A tick under way still begins what it claims: only after it is "idle" the end.
        ticking.join(max(0.0, until - self.monotonic()))
        for pool in self.pools:
            pool.wait_idle(max(0.0, until - self.monotonic()))
        # The beat went on until here: what is finished late must not be taken over meanwhile.
        scheduler.shutdown(wait=False)
        for pool in self.pools:
            pool.close()
        self._at_present(self._leave)

    def _leave(self, now: float) -> None:
        if all(pool.wait_idle(0) for pool in self.pools):
            self.workers.leave(self.worker, now=now)
        # Else the process ends with its locks, which proves it dead: others take over what it could not finish.
        log.info("Worker %s has stopped.", self.worker)
