"""Creating and reading videos beside the LiteLLM proxy, which stores nothing: `make bench-litellm`.

Both speak to the same stub of an upstream. Ours answers from its own database; the proxy asks the stub each time.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

import requests

from tests.bench.children import Child
from tests.bench.gateway import Gateway, completed
from tests.bench.load import prepared
from tests.bench.measure import Row, Scale, Target, alternate, check
from tests.bench.scenarios.accept import BODY, CONNECTIONS, posts
from tests.litellm.proxy import running_proxy

_WARM_S = 1.0


def run(scale: Scale) -> Sequence[Row]:
    """Measure `POST /v1/videos` and `GET /v1/videos/{id}` of both; the stub must have seen the proxy's requests."""
    master_key = f"sk-litellm-{secrets.token_urlsafe(18)}"
    with (
        Child("tests.bench.upstream_stub", "0") as upstream,
        Child("tests.bench.load") as load,
        Gateway(upstream=upstream.port) as gateway,
        running_proxy(
            upstream_url=f"http://127.0.0.1:{upstream.port}/v1",
            upstream_key="sk-upstream",
            master_key=master_key,
            folder=gateway.directory,
        ) as url,
    ):
        gateway.start_web("gateway", "api")
        video = requests.post(
            f"{url}/videos", data=BODY, timeout=60,
            headers={"Authorization": f"Bearer {master_key}", "Content-Type": "application/json"},
        ).json()["id"]  # fmt: skip
        port = int(url.removesuffix("/v1").rpartition(":")[2])
        read = gateway.seed(64, **completed(gateway.database.now()))
        sides: Mapping[str, Mapping[str, tuple[int, Sequence[str]]]] = {
            "create": {
                "proxy": (port, [prepared("POST", "/v1/videos", key=master_key, body=BODY)]),
                "ours": (gateway.port, posts(gateway)),
            },
            "read": {
                "proxy": (port, [prepared("GET", f"/v1/videos/{video}", key=master_key)]),
                "ours": (
                    gateway.port,
                    [prepared("GET", f"/v1/videos/{one.id}", key=gateway.keys[one.client]) for one in read],
                ),
            },
        }
        samples = {}
        for what, each in sides.items():
            contenders = {
                f"{what}, {name}": _asker(load, upstream, *asked, passed_on=name == "proxy")
                for name, asked in each.items()
            }
            for ask in contenders.values():
                ask(_WARM_S)
            samples[what] = list(alternate(contenders, repetitions=scale.repetitions).values())
        rows = gateway.scalar("SELECT count(*) FROM jobs WHERE status = 'queued'")
    check(rows > 0, "nothing was accepted")
    return [
        Row(
            what=f"{what}, SQLite, synchronous FULL",
            unit="req/s",
            ours=ours,
            limit=proxy,
            of="the LiteLLM proxy, storing nothing",
            target=Target(kind="ratio", value=least),
        )
        for (what, (proxy, ours)), least in zip(samples.items(), (4.0, 8.0), strict=True)
    ]


def _asker(load: Child, upstream: Child, port: int, asked: Sequence[str], *, passed_on: bool) -> Callable[..., float]:
    def ask(seconds: float = 3.0) -> float:
        before = _seen(upstream)
        found = load.ask(port=port, requests=list(asked), connections=CONNECTIONS, seconds=seconds)
        statuses = found["statuses"]
        check(set(statuses) <= {"200", "202"} and not found["unanswered"], f"answers: {found}")
        check(_seen(upstream) - before == (sum(statuses.values()) if passed_on else 0), "the upstream saw others")
        return float(found["per_s"])

    return ask


def _seen(upstream: Child) -> int:
    told = upstream.ask()
    return int(told["made"] + told["polls"])
