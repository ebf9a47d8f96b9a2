"""Routes: the configured upstreams with their keys and limits, as the worker meets them."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.jobs.catalogue import Catalogue
from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Job
from gateway.jobs.ports import Claims, Lanes
from gateway.upstreams.port import ContentNotReady, Key, NoAnswer, NotAccepted, Upstream
from gateway.worker.paces import Paces

log = logging.getLogger(__name__)

Heard = NotAccepted | NoAnswer | ContentNotReady

_TOO_MANY = 429


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One configured upstream."""

    name: str
    adapter: Upstream
    keys: Sequence[Key]
    max_concurrent: int
    """Videos in progress upstream at once, per key."""
    requests_per_minute: int
    """All calls, per key; 0 for no limit."""
    variants: Sequence[str] = ()
    """What is fetched beside a video."""

    def key(self, name: str) -> Key:
        """Return the key of that name, or where there is none any more the first."""
        return next((key for key in self.keys if key.name == name), self.keys[0])

    def key_of(self, job: Job) -> Key:
        """Return the key that accepted a job, under whatever name it now stands; where it is gone, another."""
        same = (key for key in self.keys if key.fingerprint == job.key_fingerprint)
        return next(same, None) or self.key(job.upstream_key or "")

    def may_take(self, job: Job, key: Key) -> bool:
        """Whether a queued job may be submitted with a key: a remix only with the one that made its source.

        Where that key is gone, any other may try: it was replaced, or its account has more of them.
        """
        if job.source is None or job.source.key_fingerprint == key.fingerprint:
            return True
        return all(other.fingerprint != job.source.key_fingerprint for other in self.keys)

    def knows(self, job: Job) -> bool:
        """Whether the key that accepted a job is still configured: another one's 404 says nothing of it."""
        return self.key_of(job).fingerprint == job.key_fingerprint


class PutOff:
    """Since when jobs wait for their key's rate. Of one ticker, in memory: forgetting it costs a turn."""

    _MOST = 10_000

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def longest_first(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs in the order in which they are to be served."""
        return sorted(jobs, key=lambda job: self._since.get(job.id, math.inf))

    def note(self, told: Sequence[tuple[Job, float | None]], *, now: float) -> None:
        """Remember who was put off, and forget who was not."""
        if len(self._since) > self._MOST:
            self._since.clear()
        for job, later in told:
            if later is None:
                self._since.pop(job.id, None)
            else:
                self._since.setdefault(job.id, now)


@dataclass(frozen=True, kw_only=True, slots=True)
class Routes:
    """Every upstream, with what the catalogue says of the models they serve."""

    upstreams: Mapping[str, Route]
    catalogue: Catalogue
    lanes: Lanes
    paces: Paces

    def of(self, job: Job) -> Route | None:
        """Return the upstream that a job belongs to, where it is still configured."""
        return self.upstreams.get(job.upstream or "")

    def every_key(self) -> Sequence[tuple[Route, Key]]:
        """Return every upstream key, the upstreams in their order."""
        return [(route, key) for route in self.upstreams.values() for key in route.keys]

    def at_once(self, upstream: str, key: str, wanted: int, *, now: float) -> int:
        """How many of `wanted` requests a key's rate may ever grant together: a second's worth, at least one."""
        per_minute = self._per_minute(upstream, key, now)
        return min(wanted, max(1, per_minute // 60)) if per_minute else wanted

    def afford(self, upstream: str, key: str, wanted: int, *, now: float, owed: bool = False) -> int:
        """Take up to `wanted` requests from a key's rate; all of them where it has no limit, or with `owed`.

        Raises Unavailable, except with `owed`: what has begun is not broken off for it.
        """
        if not wanted:
            return 0
        granted = wanted
        try:
            per_minute = self._per_minute(upstream, key, now)
            if per_minute:
                granted = self.lanes.take_requests(
                    upstream, key, wanted=wanted, per_minute=per_minute, now=now, owed=owed
                )
        except Unavailable as error:
            if not owed:
                raise
            log.warning("A request at %s is not counted: %s", upstream, error.message)
        self.paces.asked(upstream, key, granted, now=now)
        return granted

    def free_at(self, upstream: str, key: str, *, now: float) -> float:
        """Return when a key's rate grants the next request.

        Whoever was refused comes back at that very instant: then the order of the steps in a tick decides who gets it,
        and not who happens to ask first.
        """
        per_minute = self._per_minute(upstream, key, now)
        return self.lanes.next_request_at(upstream, key, per_minute=per_minute, now=now) if per_minute else now

    def heard(self, upstream: str, key: str, outcome: Heard, *, now: float) -> None:
        """Take note of an upstream's answer: a 429 for rate narrows the key's pace for everybody.

        Raises nothing: what is made of the answer is worth more than the pace, which the next 429 narrows as well.
        """
        if outcome.answer.status != _TOO_MANY:
            return
        configured = self.upstreams[upstream].requests_per_minute
        try:
            self.paces.turned_away(upstream, key, configured=configured, retry_after_s=outcome.retry_after_s, now=now)
        except Unavailable as error:
            log.warning("The pace of a key of %s is not narrowed: %s", upstream, error.message)

    def _per_minute(self, upstream: str, key: str, now: float) -> int:
        configured = self.upstreams[upstream].requests_per_minute
        return self.paces.per_minute(upstream, key, configured=configured, now=now)

    def admitted(self, claimed: Sequence[Job], *, claims: Claims, now: float, put_off: PutOff) -> Sequence[Job]:
        """Return the claimed jobs that their keys' rates let ask now; the others are given back until their time."""
        admitted = []
        for job, later in self.affordable(claimed, now=now, put_off=put_off):
            if later is None:
                admitted.append(job)
            else:
                claims.release(job, due_at=later)
        return admitted

    def affordable(self, jobs: Sequence[Job], *, now: float, put_off: PutOff) -> list[tuple[Job, float | None]]:
        """Spend the keys' rates on claimed jobs: None beside each that may ask now, else when it may try again.

        Who was put off longest comes first: a claim returns its rows in no order, and the last must not stay the last.
        """
        told: list[tuple[Job, float | None]] = []
        of_key: dict[tuple[str, str], list[Job]] = {}
        for job in put_off.longest_first(jobs):
            route = self.of(job)
            if route is None:
                told.append((job, None))
            else:
                of_key.setdefault((route.name, route.key_of(job).name), []).append(job)
        for (upstream, key), mine in of_key.items():
            count = self.afford(upstream, key, len(mine), now=now)
            told += [(job, None) for job in mine[:count]]
            if count < len(mine):
                apart_s = 60.0 / (self._per_minute(upstream, key, now) or 60.0)
                free_at = self.free_at(upstream, key, now=now)
                told += [(job, free_at + apart_s * min(place, 3)) for place, job in enumerate(mine[count:])]
        put_off.note(told, now=now)
        return told

    def keys_serving(self, job: Job) -> set[tuple[str, str]]:
        """Return the upstream keys, as configured today, that a queued job may be submitted with."""
        return {
            (route.name, key.name)
            for route, key in self.every_key()
            if route.name in job.routes and route.may_take(job, key)
        }

    def upstream_model(self, job: Job) -> str:
        """Return the upstream's own name for a job's model."""
        offer = self.catalogue.offer(model=job.model, upstream=job.upstream)
        return offer.upstream_model if offer else job.model

    def takes_picture(self, job: Job, upstream: str, dimensions: str) -> bool:
        """Whether an upstream makes a job from a picture of these dimensions; of one not in the catalogue it may."""
        offer = self.catalogue.offer(model=job.model, upstream=upstream)
        return offer is None or offer.takes_picture(dimensions, job.size)
