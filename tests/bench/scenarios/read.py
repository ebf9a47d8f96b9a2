"""Reading finished videos with their fresh links, one and a page at a time, beside the same without either."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import requests

from tests.bench.children import Child, Server
from tests.bench.gateway import Gateway, completed
from tests.bench.load import prepared
from tests.bench.measure import Row, Scale, Target, alternate, check
from tests.bench.scenarios.accept import CONNECTIONS

_VIDEOS = 640
_PAGE = 20
_WARM_S = 0.5


def run(scale: Scale) -> Sequence[Row]:
    """Measure `GET /v1/videos/{id}` and `GET /v1/videos`."""
    with Gateway() as gateway, Gateway() as floor, Child("tests.bench.load") as load:
        servers = {gateway: gateway.start_web("gateway", "api"), floor: floor.start_web("tests.bench.floor")}
        videos = gateway.seed(_VIDEOS, **completed(gateway.database.now()))
        one = [(f"/v1/videos/{video.id}", video.client) for video in videos[:64]]
        page = [(f"/v1/videos?limit={_PAGE}", name) for name in gateway.keys]
        _check_links(gateway, *one[0], count=1)
        _check_links(gateway, *page[0], count=_PAGE)
        measured = partial(_measured, load=load, gateway=gateway, floor=floor, servers=servers, scale=scale)
        least = Target(kind="ratio", value=0.40)
        return [
            measured("read: `GET /v1/videos/{id}`, finished, SQLite", one, target=least),
            measured(f"list: `GET /v1/videos`, {_PAGE} finished, SQLite", page),
        ]


def _measured(
    what: str,
    paths: Sequence[tuple[str, str]],
    *,
    load: Child,
    gateway: Gateway,
    floor: Gateway,
    servers: Mapping[Gateway, Server],
    scale: Scale,
    target: Target | None = None,
) -> Row:
    spent_ms: dict[Gateway, list[float]] = {gateway: [], floor: []}

    def reader(side: Gateway) -> Callable[..., float]:
        gets = [prepared("GET", path, key=side.keys[client]) for path, client in paths]

        def read(seconds: float = scale.slice_s) -> float:
            cpu_s = servers[side].cpu_s()
            found = load.ask(port=side.port, requests=gets, connections=CONNECTIONS, seconds=seconds)
            check(set(found["statuses"]) == {"200"} and not found["unanswered"], f"answers: {found}")
            spent_ms[side].append((servers[side].cpu_s() - cpu_s) / found["statuses"]["200"] * 1000)
            return float(found["per_s"])

        return read

    contenders = {"no database": reader(floor), "SQLite": reader(gateway)}
    for each in contenders.values():
        each(_WARM_S)
    for seen in spent_ms.values():
        seen.clear()
    samples = alternate(contenders, repetitions=scale.repetitions)
    return Row(
        what=what,
        unit="req/s",
        ours=samples["SQLite"],
        limit=samples["no database"],
        of="the same without database and link",
        target=target,
        more={"cpu_ms": spent_ms[gateway], "limit_cpu_ms": spent_ms[floor]},
    )


def _check_links(gateway: Gateway, path: str, client: str, *, count: int) -> None:
    answer = requests.get(
        f"{gateway.url}{path}", headers={"Authorization": f"Bearer {gateway.keys[client]}"}, timeout=10
    )
    check(answer.text.count("X-Amz-Signature=") == count, f"not {count} links: {answer.text[:300]}")
