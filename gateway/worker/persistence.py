"""Writing down what the outside world already did, also when the database is away for a moment."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from gateway.jobs.errors import StaleJob, Unavailable
from gateway.jobs.lifecycle import Transition
from gateway.jobs.ports import Recorder
from gateway.observability.metrics import Metrics
from gateway.worker.wakes import Wakes, made_due

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_DELAYS_S: Sequence[float] = (0.2, 0.5, 1, 2, *[5] * 120)
"""Ten minutes: a database that restarts or fails over is back by then, and nothing else could be done without it."""


class Persistence:
    """Repeats a write while the database is unavailable: an answer of an upstream is not to be had twice."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        stopping: threading.Event,
        metrics: Metrics,
        wakes: Wakes,
        delays_s: Sequence[float] = RETRY_DELAYS_S,
    ) -> None:
        self._recorder = recorder
        self._metrics = metrics
        self._wakes = wakes
        self._stopping = stopping
        self._delays_s = delays_s

    def write(self, write: Callable[[], T]) -> T:
        """Return what `write` returns; raises Unavailable after the last delay, or at the second try when stopping."""
        for wait_s in self._delays_s:
            try:
                return write()
            except Unavailable as error:
                log.warning("The database is away, writing again in %s s: %s", wait_s, error.message)
                if self._stopping.wait(wait_s):
                    break
        return write()

    def record(self, transition: Transition) -> bool:
        """Record a transition; False where somebody else moved the job first, and this outcome is dropped."""
        try:
            self.write(lambda: self._recorder.record(transition))
        except StaleJob:
            log.info("Video %s moved on before: %s.", transition.before.id, transition.event)
            return False
        self._wakes.wake(*made_due(transition))
        job = transition.after
        if job.final:
            self._metrics.video_finished(status=job.status, code=job.error.code if job.error else "")
        return True
