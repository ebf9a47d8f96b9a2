"""20,000 videos in progress, each due every 30 s: what the worker uses, how late it asks, and how soon it is up again.

The short form has a third of the videos, due three times as often: time is scaled, the polls a second are the same.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles

import requests

from gateway.jobs.job import Job
from tests.bench.children import Child, Server
from tests.bench.gateway import NEVER, Gateway
from tests.bench.measure import Row, Scale, Target, check, eventually, say

_VIDEOS = 20_000
_INTERVAL_S = 30
_SCALED_BY = 3
_RENDERING_FOR_S = 600.0
"""They were accepted one after the other over so long a time."""

_UPSTREAM_S = 0.1
_HEADWAY_S = 2.0
"""Between writing when the videos are due and the first of these instants."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Crowd:
    """So many videos, each due so often."""

    videos: int
    interval_s: int

    @classmethod
    def of(cls, scale: Scale) -> _Crowd:
        by = _SCALED_BY if scale.quick else 1
        return cls(videos=_VIDEOS // by, interval_s=_INTERVAL_S // by)

    @property
    def settings(self) -> Mapping[str, str]:
        # As with the defaults, a claim that outlasts the answer lasts no longer than until the next poll.
        timeout_s = min(15, self.interval_s - 5)
        return {
            "GATEWAY_POLL_INTERVAL_S": str(self.interval_s),
            "GATEWAY_POLL_TIMEOUT_S": str(timeout_s),
            "GATEWAY_MAX_WAIT_S": "86400",
        }

    @property
    def name(self) -> str:
        scaled = ""
        if self.interval_s != _INTERVAL_S:
            scaled = f" ({self.videos * _SCALED_BY:,} every {_INTERVAL_S} s, scaled)"
        return f"{self.videos:,} videos in progress every {self.interval_s} s{scaled}"

    def seed(self, gateway: Gateway) -> Sequence[Job]:
        """Write them, each due by its own clock, but not yet."""
        apart_s = _RENDERING_FOR_S / self.videos
        now = gateway.database.now()
        return gateway.seed(
            self.videos,
            key_fingerprint=gateway.key_fingerprint,
            accepted_at=lambda number: now - _RENDERING_FOR_S + number * apart_s,
            due_at=lambda number: NEVER + number * apart_s % self.interval_s,
        )

    def begin(self, gateway: Gateway) -> float:
        """Have the clocks of all begin in a moment; return this instant."""
        start = gateway.database.now() + _HEADWAY_S
        moved = gateway.execute("UPDATE jobs SET due_at = due_at - :by", by=NEVER - start)
        check(moved == self.videos, f"{moved} videos have a clock")
        return start


def run(scale: Scale) -> Sequence[Row]:
    """Measure with an upstream that can list, with one that can't, and after a restart."""
    crowd = _Crowd.of(scale)
    fewer = replace(crowd, videos=crowd.videos // 4)
    return [_listing(crowd), *_one_by_one(crowd), *_one_by_one(fewer), _restart(scale)]


def _listing(crowd: _Crowd) -> Row:
    with (
        Child("tests.bench.upstream_stub", str(_UPSTREAM_S)) as upstream,
        Gateway(upstream=upstream.port, settings=crowd.settings) as gateway,
    ):
        jobs = crowd.seed(gateway)
        upstream.ask(listed=[job.upstream_job_id for job in reversed(jobs)])
        worker = gateway.start_worker()
        crowd.begin(gateway)
        # They fall into step meanwhile.
        time.sleep(_HEADWAY_S + 1.5 * crowd.interval_s)
        used: list[float] = []
        for _ in range(2):
            before = _Seen.of(gateway, upstream, worker)
            time.sleep(crowd.interval_s)
            after = _Seen.of(gateway, upstream, worker)
            asked = after.claims - before.claims
            check(asked > 0.9 * crowd.videos, f"only {asked} of {crowd.videos} videos were asked about in a round")
            used.append(100 * (after.cpu_s - before.cpu_s) / (after.at - before.at))
            say(f"  {used[-1]:.1f} % for {asked} videos: {after.pages - before.pages} pages, {after.polls} polls")
    return Row(
        what=f"worker's CPU for {crowd.name}, by the upstream's list",
        unit="% of a core",
        ours=used,
        target=Target(kind="below", value=25),
        more={"videos_asked_about": asked, "pages": after.pages - before.pages, "polls": after.polls},
    )


def _one_by_one(crowd: _Crowd) -> Sequence[Row]:
    # sglang's has no list.
    settings = {**crowd.settings, "GATEWAY_UPSTREAM_DIALECT": "sglang", "GATEWAY_UPSTREAM_MODELS": "sora-2"}
    with (
        Child("tests.bench.upstream_stub", str(_UPSTREAM_S)) as upstream,
        Gateway(upstream=upstream.port, settings=settings) as gateway,
    ):
        jobs = crowd.seed(gateway)
        worker = gateway.start_worker()
        start = crowd.begin(gateway)
        time.sleep(_HEADWAY_S)
        used_s, began = worker.cpu_s(), time.monotonic()
        time.sleep(crowd.interval_s)
        used = 100 * (worker.cpu_s() - used_s) / (time.monotonic() - began)
        eventually(lambda: upstream.ask()["videos"] == crowd.videos, "all were asked about")
        asked_at = upstream.ask(asked=True)["asked_at"]
    due = [(job.due_at - NEVER + start, asked_at[job.upstream_job_id]) for job in jobs]
    # By the clock that each began with: of later polls only the worker knows when exactly they were due.
    late = [came[0] - at for at, came in sorted(due)]
    third = len(late) // 3
    say(f"  late by {median(late):.3f} s, p99 {quantiles(late, n=100)[98]:.3f} s; {used:.1f} % of a core")
    return [
        Row(
            what=f"lateness of polls, {crowd.name}, one by one, upstream of {_UPSTREAM_S * 1000:.0f} ms, p99",
            unit="s",
            ours=[quantiles(late[begin : begin + third], n=100)[98] for begin in (0, third, 2 * third)],
            target=Target(kind="below", value=1),
            more={"p50": median(late), "highest": max(late)},
        ),
        Row(what="worker's CPU meanwhile", unit="% of a core", ours=[used]),
    ]


def _restart(scale: Scale) -> Row:
    took: list[float] = []
    with Child("tests.bench.upstream_stub", "0") as upstream, Gateway(upstream=upstream.port) as gateway:
        gateway.seed(_VIDEOS)
        for _ in range(scale.repetitions):
            now = gateway.database.now()
            gateway.execute("UPDATE jobs SET due_at = :now, claimed_by = NULL, accepted_at = :now", now=now)
            upstream.ask(reset=True)
            began = time.perf_counter()
            server = gateway.start("gateway", "serve")
            eventually(lambda server=server: server.alive() and _ready(gateway), "it is ready")
            took.append(time.perf_counter() - began)
            eventually(lambda: upstream.ask()["polls"] >= 1000, "it goes on where it was")
            server.close()
            say(f"  ready after {took[-1]:.2f} s")
    return Row(
        what=f"`gateway serve` from its start to ready and its worker at work, with {_VIDEOS:,} unfinished videos",
        unit="s",
        ours=took,
        target=Target(kind="below", value=3),
    )


def _ready(gateway: Gateway) -> bool:
    try:
        return (
            requests.get(f"{gateway.url}/readyz", timeout=2).ok and gateway.scalar("SELECT count(*) FROM workers") > 0
        )
    except requests.RequestException:
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """What a worker has used and done so far."""

    at: float
    cpu_s: float
    claims: int
    polls: int
    pages: int

    @classmethod
    def of(cls, gateway: Gateway, upstream: Child, worker: Server) -> _Seen:
        told = upstream.ask()
        claims = gateway.scalar("SELECT sum(claim_token) FROM jobs")
        return cls(at=time.monotonic(), cpu_s=worker.cpu_s(), claims=claims, polls=told["polls"], pages=told["pages"])
