"""The video object as a client sees it: the facts of the job, and what is made anew for each reader."""

from __future__ import annotations

from dataclasses import replace

from gateway.api.services import ApiServices
from gateway.jobs.job import SHOWN_AS, Job, Status
from gateway.jobs.view import filename, urls, video

POLL_AFTER_HEADER = "openai-poll-after-ms"
"""The official SDK's `create_and_poll` waits for as long as this header says."""


def presented(services: ApiServices, job: Job) -> dict[str, object]:
    """Return the video with a fresh link where it is completed. Signing it asks nobody. Raises BucketError."""
    return {
        **video(job),
        **_link(services, job),
        "expires_at": _expires_at(services, job),
        "urls": urls(services.public_url, job.id),
        "queue_position": None,
        "estimated_completion_at": None,
    }


def watched(services: ApiServices, job: Job, now: float) -> dict[str, object]:
    """Return the video as `presented`, and while unfinished what is known of its wait."""
    shown = presented(services, job)
    if SHOWN_AS[job.status] == "queued":
        # A job that is being handed over right now waits behind nobody.
        shown["queue_position"] = services.queries.queue_position(job) if job.status is Status.QUEUED else 0
    if not job.final:
        shown["estimated_completion_at"] = _estimated(services, job, now)
    return shown


def as_accepted(services: ApiServices, job: Job, *, prompt: str) -> dict[str, object]:
    """Return the video as the 202 showed it, from the facts that never change: a repeat gets the same answer.

    `prompt` is the request's own, which equals the first one's: the job's may have been removed since.
    """
    if job.version == 1 and job.prompt is not None:
        return presented(services, job)
    first = replace(job, status=Status.QUEUED, progress=0, prompt=prompt, stored=None, error=None, finished_at=None)
    return presented(services, first)


def poll_after_ms(services: ApiServices) -> int:
    """Return after how long it makes sense to ask again: news come with the upstream's polls, at most 5 s here."""
    return int(min(5000.0, max(500.0, services.poll_interval_s * 1000 / 6)))


def _link(services: ApiServices, job: Job) -> dict[str, object]:
    if job.status is not Status.COMPLETED or job.stored is None or job.removed_at is not None:
        return {"url": None, "url_expires_at": None}
    link = services.bucket.link(
        job.stored.object_key, now=services.wall(), ttl_s=services.url_ttl_s, filename=filename(job)
    )
    return {"url": link.url, "url_expires_at": int(link.expires_at)}


def _expires_at(services: ApiServices, job: Job) -> int | None:
    if job.status is not Status.COMPLETED or job.finished_at is None or services.retention_s <= 0:
        return None
    return int(job.finished_at + services.retention_s)


def _estimated(services: ApiServices, job: Job, now: float) -> int | None:
    """Return when the video is likely to be done; the wait in the queue is not foreseen."""
    usual = services.queries.usual_duration_s(model=job.model, size=job.size, seconds=job.seconds)
    if usual is None:
        return None
    started = job.accepted_at if job.accepted_at is not None else now
    return int(max(now, started + usual))
