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

    @property
    def apart_s(self) -> float:
        """How far apart its requests are where it has a limit; else 0."""
        return 60.0 / self.requests_per_minute if self.requests_per_minute else 0.0

    def at_once(self, wanted: int) -> int:
        """How many of `wanted` requests its rate may ever grant together: a second's worth, at least one."""
        return min(wanted, max(1, self.requests_per_minute // 60)) if self.requests_per_minute else wanted

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

    def affordable(self, jobs: Sequence[Job], *, now: float) -> tuple[list[Job], list[Job]]:
        """Part claimed jobs into those whose keys' rates allow a request now and those that have to wait."""
        granted: list[Job] = []
        waiting: list[Job] = []
        of_key: dict[tuple[str, str], list[Job]] = {}
        for job in jobs:
            route = self.of(job)
            if route is None:
                granted.append(job)
            else:
                of_key.setdefault((route.name, route.key(job.upstream_key).name), []).append(job)
        for (upstream, key), mine in of_key.items():
            count = self.afford(upstream, key, len(mine), now=now)
            granted += mine[:count]
            waiting += mine[count:]
        return granted, waiting

    def keys_serving(self, model: str) -> set[tuple[str, str]]:
        """Return the upstream keys, as configured today, that a model may be asked of."""
        return {(lane.upstream, lane.key) for _, lane in self.open_lanes() if model in lane.models}

    def upstream_model(self, job: Job) -> str:
        """Return the upstream's own name for a job's model."""
        offers = self.catalogue.models.get(job.model, ())
        return next((offer.upstream_model for offer in offers if offer.upstream == job.upstream), job.model)
