"""Variants: the small pictures that some upstreams make of a video, fetched while they still have them.

They come right after the video and before its completion is told, so that whoever is told finds them. They are extras:
whatever goes wrong with one costs that one, and a bounded time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from gateway.bucket.port import Bucket, BucketError
from gateway.jobs.errors import Unavailable
from gateway.jobs.intake import object_folder
from gateway.jobs.job import SUFFIXES, Job, Stored
from gateway.jobs.ports import Ledger
from gateway.upstreams.port import Content, ContentBroken, ContentNotReady, ContentOutcome, Key
from gateway.worker.limits import Limits
from gateway.worker.moment import Moment
from gateway.worker.routes import Route, Routes

log = logging.getLogger(__name__)


class ClaimLost(Exception):
    """Another worker has the job, or this process is to stop: the try is given up."""


class _Missed(Exception):
    """This one is not to be had; its words are for the history. `last`: nor is any other."""

    def __init__(self, why: str, *, last: bool = False) -> None:
        super().__init__(why)
        self.last = last


def object_stem(job: Job) -> str:
    """Return how the keys of this try begin: a later one never writes over an earlier one's objects."""
    return f"{object_folder(job.client, job.id, job.created_at)}/{job.claim_token}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """What lies beside a video now, and for the history what became of each variant."""

    stored: Mapping[str, Stored]
    told: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """Whose variants are fetched, from where, and until when."""

    job: Job
    route: Route
    key: Key
    alive: Callable[[], None]
    """Called while bytes move; raises ClaimLost to give up."""
    moment: Moment
    until: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Variants:
    """Fetches what an upstream has beside a video. Takes no slot: the upstream is done with it."""

    routes: Routes
    ledger: Ledger
    bucket: Bucket
    limits: Limits
    pause: Callable[[float], object]
    """Waits for so many seconds, or less where the worker is to stop."""

    def beside(self, job: Job, route: Route, key: Key, alive: Callable[[], None], moment: Moment) -> Beside:
        """Return what could be stored within `limits.variants_s`. Raises nothing."""
        until = moment() + self.limits.variants_s
        errand = Errand(job=job, route=route, key=key, alive=alive, moment=moment, until=until)
        stored: dict[str, Stored] = {}
        told: dict[str, str] = {}
        for variant in route.variants:
            try:
                stored[variant] = self._fetched(errand, variant)
                told[variant] = "stored"
            except _Missed as missed:
                told[variant] = str(missed)
                if missed.last:
                    break
            except Exception:
                # A mistake of ours. The video is whole and waits to be told of.
                log.exception("The %s of video %s is given up.", variant, job.id)
                told[variant] = "error"
                break
        return Beside(stored=stored, told=told)

    def _fetched(self, errand: Errand, variant: str) -> Stored:
        try:
            errand.alive()
        except ClaimLost:
            raise _Missed("left out", last=True) from None
        self._afford(errand)
        within_s = errand.until - errand.moment()
        if within_s <= 0:
            raise _Missed("no time left", last=True)
        upstream_job_id = errand.job.upstream_job_id or ""
        with errand.route.adapter.variant(upstream_job_id, errand.key, variant, within_s=within_s) as outcome:
            if not isinstance(outcome, Content):
                raise self._missed(errand, outcome)
            return self._kept(errand, variant, outcome)

    def _afford(self, errand: Errand) -> None:
        """Take a request from the key's rate, and where it has none now, wait once until it should."""
        route, key, moment = errand.route, errand.key, errand.moment
        try:
            if self.routes.afford(route.name, key.name, 1, now=moment()):
                return
            free_at = self.routes.free_at(route.name, key.name, now=moment())
            if free_at < errand.until:
                self.pause(free_at - moment())
                if self.routes.afford(route.name, key.name, 1, now=moment()):
                    return
        except Unavailable:
            raise _Missed("the database is away", last=True) from None
        raise _Missed("no room in the key's rate", last=True)

    def _missed(self, errand: Errand, outcome: ContentOutcome) -> _Missed:
        if not isinstance(outcome, ContentNotReady):
            return _Missed(f"HTTP {outcome.answer.status}")
        self.routes.heard(errand.route.name, errand.key.name, outcome, now=errand.moment())
        # One that limits or does not answer at all gets no second question.
        return _Missed(outcome.reason, last=outcome.answer.status in {None, 429})

    def _kept(self, errand: Errand, variant: str, content: Content) -> Stored:
        job, moment, suffix = errand.job, errand.moment, SUFFIXES[content.content_type]
        object_key = f"{object_stem(job)}-{variant}.{suffix}"
        try:
            self.ledger.begin(object_key, until=moment() + self.limits.transfer_lease_s, now=moment())
            written = self.bucket.write(
                object_key,
                content.readinto,
                length=content.length,
                content_type=content.content_type,
                filename=f"{job.id}-{variant}.{suffix}",
                alive=errand.alive,
            )
        except (ContentBroken, BucketError, ClaimLost, Unavailable) as error:
            # Where the database is away, the sweep finds it by its lease.
            with suppress(Unavailable):
                self.ledger.discard(object_key, now=moment())
            raise _Missed("broke off", last=not isinstance(error, ContentBroken)) from error
        return Stored(
            object_key=object_key, size=written.size, sha256=written.sha256, content_type=content.content_type
        )
