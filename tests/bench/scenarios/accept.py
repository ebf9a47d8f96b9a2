"""Accepting a video: `POST /v1/videos` on each database, beside the same handler without one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from tests.bench.children import Child, Server
from tests.bench.gateway import Gateway, accepted, postgres
from tests.bench.load import prepared
from tests.bench.measure import Row, Scale, Target, alternate, check, say

CONNECTIONS = 32
_WARM_S = 0.5

BODY = json.dumps(
    {
        "prompt": "A calico cat plays the piano on a stage, warm light, slow dolly shot",
        "model": "sora-2",
        "size": "1280x720",
        "seconds": "8",
        "metadata": {"order": "4711"},
    }
)

FINISH = (
    "UPDATE jobs SET status = 'cancelled', finished_at = created_at, version = version + 1 WHERE finished_at IS NULL"
)


def posts(gateway: Gateway) -> list[str]:
    """Return the posts of every client."""
    return [prepared("POST", "/v1/videos", key=key, body=BODY) for key in gateway.keys.values()]


def _databases(stack: ExitStack) -> Mapping[str, Gateway]:
    found = {
        "SQLite, synchronous NORMAL": Gateway(settings={"GATEWAY_SQLITE_SYNCHRONOUS": "normal"}),
        "SQLite, synchronous FULL": Gateway(),
    }
    try:
        found["PostgreSQL"] = Gateway(database_url=stack.enter_context(postgres()))
    except LookupError as error:
        say(f"  PostgreSQL is left out: {error}")
    return found


def run(scale: Scale) -> Sequence[Row]:
    """Measure SQLite with either durability, and PostgreSQL."""
    with ExitStack() as stack:
        load = stack.enter_context(Child("tests.bench.load"))
        more: dict[str, list[dict[str, object]]] = {}

        def contender(name: str, gateway: Gateway, server: Server, *, stores: bool) -> Callable[..., float]:
            def post(seconds: float = scale.slice_s) -> float:
                cpu_s = server.cpu_s()
                before = gateway.scalar("SELECT count(*) FROM jobs")
                found = load.ask(port=gateway.port, requests=posts(gateway), connections=CONNECTIONS, seconds=seconds)
                posted = accepted(found)
                spent_ms = (server.cpu_s() - cpu_s) / posted * 1000
                rows = gateway.scalar("SELECT count(*) FROM jobs") - before
                check(rows == (posted if stores else 0), f"{name}: {rows} rows for {posted} posts")
                # What is unfinished is counted at each post: every slice begins with none.
                gateway.execute(FINISH)
                seen = {name: found[name] for name in ("p50_ms", "p99_ms")}
                more.setdefault(name, []).append({**seen, "rows": rows, "cpu_ms": spent_ms})
                return float(found["per_s"])

            return post

        floor = stack.enter_context(Gateway())
        server = floor.start_web("tests.bench.floor")
        contenders: dict[str, Callable[..., float]] = {
            "no database": contender("no database", floor, server, stores=False)
        }
        for name, gateway in _databases(stack).items():
            stack.enter_context(gateway)
            server = gateway.start_web("gateway", "api")
            contenders[name] = contender(name, gateway, server, stores=True)
        for each in contenders.values():
            each(_WARM_S)  # what the first requests open and import is not the question
        more.clear()
        samples = alternate(contenders, repetitions=scale.repetitions)
    limit = samples.pop("no database")
    least = {"SQLite, synchronous NORMAL": 0.30}
    return [
        Row(
            what=f"accept: `POST /v1/videos`, {name}",
            unit="req/s",
            ours=ours,
            limit=limit,
            of="the same handler without a database",
            target=Target(kind="ratio", value=least.get(name, 0.20)),
            more={"slices": more[name], "limit_slices": more["no database"], "connections": CONNECTIONS},
        )
        for name, ours in samples.items()
    ]
