"""Routes: the configured upstreams with their keys and limits, as the worker meets them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.jobs.catalogue import Catalogue
from gateway.jobs.job import Job
from gateway.jobs.ports import Lane, Lanes
from gateway.upstreams.port import Key, Upstream


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

    def key(self, name: str | None) -> Key:
        """Return the key that accepted a video, or where it was replaced the first of today's."""
        return next((key for key in self.keys if key.name == name), self.keys[0])

    def has_key(self, name: str | None) -> bool:
        """Whether that key is still configured."""
        return any(key.name == name for key in self.keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class Routes:
    """Every upstream, with what the catalogue says of the models they serve."""

    upstreams: Mapping[str, Route]
    catalogue: Catalogue
    lanes: Lanes

    def of(self, job: Job) -> Route | None:
        """Return the upstream that a job belongs to, where it is still configured."""
        return self.upstreams.get(job.upstream or "")

    def open_lanes(self) -> Sequence[tuple[Route, Lane]]:
        """Return every upstream key with the models it may be asked for."""
        return [(route, self._lane(route, key)) for route in self.upstreams.values() for key in route.keys]

    def _lane(self, route: Route, key: Key) -> Lane:
        return Lane(
            upstream=route.name,
            key=key.name,
            fingerprint=key.fingerprint,
            models=self.catalogue.serving(route.name),
            max_concurrent=route.max_concurrent,
        )

    def afford(self, upstream: str, key: str, wanted: int, *, now: float) -> int:
        """Take up to `wanted` requests from a key's rate; all of them where it has no limit."""
        per_minute = self.upstreams[upstream].requests_per_minute
        if not per_minute or not wanted:
            return wanted
        return self.lanes.take_requests(upstream, key, wanted=wanted, per_minute=per_minute, now=now)

    def upstream_model(self, job: Job) -> str:
        """Return the upstream's own name for a job's model."""
        offers = self.catalogue.models.get(job.model, ())
        return next((offer.upstream_model for offer in offers if offer.upstream == job.upstream), job.model)
