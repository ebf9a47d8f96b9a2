"""The one door through which a job changes."""

from __future__ import annotations

from typing import Protocol

from gateway.jobs.job import Job
from gateway.jobs.lifecycle import Transition


class Recorder(Protocol):
    """The one door through which a job changes."""

    def record(self, transition: Transition) -> Job:
        """Write the transition, its history row and its deliveries, all or nothing; return the job as it is now.

        Raises StaleJob where the row moved on since it was read.
        """

    def erase(self, job_id: str, *, client: str, now: float) -> None:
        """Delete a job: cancel it if unfinished, give up its deliveries, sweep its objects. Raises NotFound."""

    def cancel(self, job_id: str, *, client: str, now: float) -> Job:
        """Cancel a job, reading again where it moved meanwhile. Raises NotFound, or Conflict where it is final."""
