"""Rerouting: after a start with other settings, what still waits goes to the upstreams that are there now."""

from __future__ import annotations

import logging

from gateway.jobs.catalogue import Catalogue
from gateway.jobs.job import Job
from gateway.jobs.ports import Claims

log = logging.getLogger(__name__)

_BATCH = 500


def reroute(claims: Claims, catalogue: Catalogue) -> int:
    """Give every queued job the routes that the catalogue has for it; returns how many were changed.

    A job that nothing serves any more keeps no route and waits: the operator may bring its upstream back.
    """
    changed, after = 0, None
    while page := claims.queued(after=after, limit=_BATCH):
        changed += sum(_rerouted(claims, catalogue, job) for job in page)
        after = page[-1]
    return changed


def _rerouted(claims: Claims, catalogue: Catalogue, job: Job) -> bool:
    if job.source is not None:
        return False  # nobody else has the video that it starts from
    routes = catalogue.routes(
        model=job.model,
        size=job.size,
        seconds=job.seconds,
        prompt=job.prompt or "",
        extra=job.extra,
        picture=job.reference.dimensions if job.reference else "",
    )
    if routes == job.routes:
        return False
    if not routes:
        log.warning("No upstream serves the queued video %s (model %s) any more; it waits.", job.id, job.model)
    return claims.reroute(job, routes)
