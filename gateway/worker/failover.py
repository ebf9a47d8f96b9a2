"""Failover: which upstream's turn it is with a queued job. Once one has accepted it, a job stays there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gateway.jobs.job import Job
from gateway.jobs.ports import KeyState, Lane, Queries, Submissions
from gateway.upstreams.port import Key
from gateway.worker.rests import Rests
from gateway.worker.routes import Route, Routes


@dataclass(frozen=True, kw_only=True, slots=True)
class Failover:
    """Tries the upstreams of a job in the order of the settings.

    The next one gets its turn while all keys of one are paused, by a refusal or by the operator, or while it does not
    answer. One that is only full or limited is waited for.
    """

    routes: Routes
    submissions: Submissions
    queries: Queries
    rests: Rests

    def lanes(self, *, now: float) -> Sequence[tuple[Route, Lane]]:
        """Return every upstream key that may submit now, with the jobs whose turn it is there."""
        alone = len(self.routes.upstreams) == 1
        waiting = [tuple(self.routes.upstreams)] if alone else self.submissions.waiting_routes()
        states = {} if alone else {(state.upstream, state.key): state for state in self.queries.upstream_keys()}
        closed = self._closed(states, now)
        lanes = []
        for route, key in self.routes.every_key():
            # A key that was refused is probed with whatever job it might get, although that may be another's by now.
            probed = _probed(states.get((route.name, key.name)), now)
            theirs = [one for one in waiting if route.name in one and (probed or first_open(one, closed) == route.name)]
            if theirs and not self.rests.resting(route.name, key.name, now=now):
                lanes.append((route, _lane(route, key, theirs)))
        return lanes

    def elsewhere(self, job: Job, upstream: str, *, now: float) -> bool:
        """Whether another upstream of a job could be asked at once."""
        others = [name for name in job.routes if name != upstream and name in self.routes.upstreams]
        if not others:
            return False
        states = {(state.upstream, state.key): state for state in self.queries.upstream_keys()}
        return not set(others) <= self._closed(states, now)

    def _closed(self, states: dict[tuple[str, str], KeyState], now: float) -> set[str]:
        return {name for name, route in self.routes.upstreams.items() if self._is_closed(route, states, now)}

    def _is_closed(self, route: Route, states: dict[tuple[str, str], KeyState], now: float) -> bool:
        return all(
            _paused(states.get((route.name, key.name))) or self.rests.unreachable(route.name, key.name, now=now)
            for key in route.keys
        )


def first_open(routes: Sequence[str], closed: Collection[str]) -> str:
    """Return the upstream whose turn it is: the first that is not closed, and where all are, the first."""
    return next((name for name in routes if name not in closed), routes[0])


def _paused(state: KeyState | None) -> bool:
    return state is not None and state.paused_at is not None


def _probed(state: KeyState | None, now: float) -> bool:
    return state is not None and _paused(state) and state.probe_at is not None and state.probe_at <= now


def _lane(route: Route, key: Key, routes: Collection[tuple[str, ...]]) -> Lane:
    return Lane(
        upstream=route.name,
        key=key.name,
        fingerprint=key.fingerprint,
        routes=routes,
        max_concurrent=route.max_concurrent,
        others=[other.fingerprint for other in route.keys if other.fingerprint != key.fingerprint],
    )
