"""What is asked of a finished video: that it is finished, was made, and is still there."""

from __future__ import annotations

from typing import NoReturn

from gateway.jobs.errors import Conflict, Gone
from gateway.jobs.job import Job, Status, Stored


def stored_of(job: Job) -> Stored:
    """Return the object of a completed video; raises Conflict or Gone that says why there is none."""
    if not job.final:
        raise Conflict("The video is not finished yet.", code="not_ready")
    if job.status is not Status.COMPLETED or job.stored is None:
        _refuse_unmade(job)
    if job.removed_at is not None:
        raise Gone("The content was removed when its time here was over.", code="content_removed")
    return job.stored


def _refuse_unmade(job: Job) -> NoReturn:
    if job.status is Status.CANCELLED:
        raise Conflict("The video was cancelled: there is no content.", code="video_cancelled")
    why = job.error.message if job.error is not None else "there is no content"
    raise Conflict(f"The video failed: {why}", code="video_failed")
