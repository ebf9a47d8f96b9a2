"""Remixes: a new video from a finished one, made by the upstream and with the key that have it, and by nobody else."""

from __future__ import annotations

from dataclasses import replace

from gateway.jobs.catalogue import Catalogue, Choice
from gateway.jobs.errors import InvalidField
from gateway.jobs.job import Job, Source


def remix_choice(catalogue: Catalogue, source: Job, *, now: float) -> Choice:
    """Return what a remix of a completed video asks for; raises InvalidField where its upstream makes none."""
    offer = catalogue.offer(model=source.model, upstream=source.upstream)
    if offer is None or not offer.can_remix or source.upstream_job_id is None or source.key_fingerprint is None:
        message = "This video can't be remixed: the upstream that made it makes no remixes, or is not in use any more."
        raise InvalidField("video_id", message, code="remix_not_available")
    if offer.available_until is not None and now >= offer.available_until:
        message = f"The model '{source.model}' of this video is served no longer."
        raise InvalidField("video_id", message, code="model_retired")
    return Choice(model=source.model, size=source.size, seconds=source.seconds, offers=[offer])


def as_remix(job: Job, source: Job) -> Job:
    """Return a new job as a remix of a video that `remix_choice` has found fit."""
    known_as = Source(upstream_job_id=source.upstream_job_id or "", key_fingerprint=source.key_fingerprint or "")
    return replace(job, remixed_from=source.id, source=known_as)
