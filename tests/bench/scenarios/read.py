"""Reading a finished video, its fresh link included, beside the same without a database and a link."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import requests

from tests.bench.children import Child
from tests.bench.gateway import Gateway, completed
from tests.bench.load import prepared
from tests.bench.measure import Row, Scale, Target, alternate, check
from tests.bench.scenarios.accept import CONNECTIONS

_VIDEOS = 64
_WARM_S = 0.5


def run(scale: Scale) -> Sequence[Row]:
    """Measure `GET /v1/videos/{id}`."""
    with Gateway() as gateway, Gateway() as floor, Child("tests.bench.load") as load:
        servers = {gateway: gateway.start_web("gateway", "api"), floor: floor.start_web("tests.bench.floor")}
        spent_ms: dict[Gateway, list[float]] = {gateway: [], floor: []}
        videos = gateway.seed(_VIDEOS, **completed(gateway.database.now()))

        def reader(target: Gateway) -> Callable[..., float]:
            gets = [prepared("GET", f"/v1/videos/{video.id}", key=target.keys[video.client]) for video in videos]

            def read(seconds: float = scale.slice_s) -> float:
                cpu_s = servers[target].cpu_s()
                found = load.ask(port=target.port, requests=gets, connections=CONNECTIONS, seconds=seconds)
                check(set(found["statuses"]) == {"200"} and not found["unanswered"], f"answers: {found}")
                spent_ms[target].append((servers[target].cpu_s() - cpu_s) / found["statuses"]["200"] * 1000)
                return float(found["per_s"])

            return read

        for video in videos:
            _check_link(gateway, video.id, gateway.keys[video.client])
        contenders = {"no database": reader(floor), "SQLite": reader(gateway)}
        for each in contenders.values():
            each(_WARM_S)
        for seen in spent_ms.values():
            seen.clear()
        samples = alternate(contenders, repetitions=scale.repetitions)
    return [
        Row(
            what="read: `GET /v1/videos/{id}`, finished, SQLite",
            unit="req/s",
            ours=samples["SQLite"],
            limit=samples["no database"],
            of="the same without database and link",
            target=Target(kind="ratio", value=0.40),
            more={"cpu_ms": spent_ms[gateway], "limit_cpu_ms": spent_ms[floor]},
        )
    ]


def _check_link(gateway: Gateway, video_id: str, key: str) -> None:
    answer = requests.get(
        f"{gateway.url}/v1/videos/{video_id}", headers={"Authorization": f"Bearer {key}"}, timeout=10
    ).json()
    check("X-Amz-Signature=" in str(answer.get("url")), f"no link: {answer}")
