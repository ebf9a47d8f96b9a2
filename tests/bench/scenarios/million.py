"""Posting, claiming and listing with a million finished videos in the database, beside the same with a thousand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from gateway.db.claims import SqlClaims
from gateway.jobs.job import Status
from tests.bench.children import Child
from tests.bench.gateway import NEVER, Gateway, accepted, postgres
from tests.bench.load import prepared
from tests.bench.measure import Row, Scale, Target, alternate, check, say
from tests.bench.scenarios.accept import CONNECTIONS, posts

_FEW = 1000
_IN_HAND = 4000
_BATCH = 32
_AT_MOST = 1 / 1.2
"""The rate that is left where everything takes 1.2 times as long."""

_FORGET = (
    "DELETE FROM history WHERE job_id IN (SELECT id FROM jobs WHERE status = 'queued')",
    "DELETE FROM jobs WHERE status = 'queued'",
)


def run(scale: Scale) -> Sequence[Row]:
    """Measure on SQLite, and in the full form on PostgreSQL, too."""
    many = scale.pick(100_000, 1_000_000)
    rows = [*_on("SQLite", "", "", many, scale)]
    if not scale.quick:
        with postgres() as few_url, postgres() as many_url:
            rows += _on("PostgreSQL", few_url, many_url, many, scale)
    return rows


def _on(engine: str, few_url: str, many_url: str, many: int, scale: Scale) -> Sequence[Row]:
    with ExitStack() as stack:
        load = stack.enter_context(Child("tests.bench.load"))
        sides = {"few": Gateway(database_url=few_url), "many": Gateway(database_url=many_url)}
        for name, count in (("few", _FEW), ("many", many)):
            gateway = stack.enter_context(sides[name])
            gateway.seed(_IN_HAND)
            began = time.monotonic()
            gateway.seed_past(count)
            say(f"  {count} finished videos were written in {time.monotonic() - began:.0f} s")
            gateway.start_web("gateway", "api")
        works: Mapping[str, Callable[[Gateway, float], float]] = {
            "post": lambda gateway, seconds: _post(load, gateway, seconds),
            "list": lambda gateway, seconds: _list(load, gateway, seconds),
            "claim": _claim,
        }
        samples = {}
        for work, act in works.items():
            contenders = {
                f"{work}, {name}": lambda gateway=gateway, act=act: act(gateway, scale.slice_s)
                for name, gateway in sides.items()
            }
            for gateway in sides.values():
                act(gateway, 0.3)
            samples[work] = list(alternate(contenders, repetitions=scale.repetitions).values())
    return [
        Row(
            what=f"{work} with {many:,} finished videos, {engine}",
            unit="claims/s" if work == "claim" else "req/s",
            ours=large,
            limit=small,
            of=f"the same with {_FEW:,}",
            target=Target(kind="ratio", value=_AT_MOST),
        )
        for work, (small, large) in samples.items()
    ]


def _post(load: Child, gateway: Gateway, seconds: float) -> float:
    before = gateway.scalar("SELECT count(*) FROM jobs WHERE status = 'queued'")
    found = load.ask(port=gateway.port, requests=posts(gateway), connections=CONNECTIONS, seconds=seconds)
    rows = gateway.scalar("SELECT count(*) FROM jobs WHERE status = 'queued'") - before
    check(rows == accepted(found), f"{rows} rows for {found['statuses']}")
    for statement in _FORGET:
        gateway.execute(statement)
    return float(found["per_s"])


def _list(load: Child, gateway: Gateway, seconds: float) -> float:
    gets = [prepared("GET", "/v1/videos?limit=20&status=completed", key=key) for key in gateway.keys.values()]
    found = load.ask(port=gateway.port, requests=gets, connections=CONNECTIONS, seconds=seconds)
    check(set(found["statuses"]) == {"200"} and not found["unanswered"], f"answers: {found}")
    return float(found["per_s"])


def _claim(gateway: Gateway, seconds: float) -> float:
    """Claim what is in hand, a batch at a time, as often as it takes."""
    claims, now = SqlClaims(gateway.database), gateway.database.now()
    gateway.execute("UPDATE jobs SET due_at = :now WHERE status = 'rendering'", now=now)
    taken, spent = 0, 0.0
    while spent < seconds and taken < _IN_HAND:
        began = time.perf_counter()
        batch = claims.due(Status.RENDERING, worker="bench", limit=_BATCH, lease_s=NEVER, now=now)
        spent += time.perf_counter() - began
        check(len(batch) == _BATCH, f"{len(batch)} were claimed")
        taken += len(batch)
    held = gateway.scalar(f"SELECT count(*) FROM jobs WHERE claimed_by IS NOT NULL AND due_at > {now}")
    check(held == taken, f"{held} are claimed, not {taken}")
    return taken / spent
