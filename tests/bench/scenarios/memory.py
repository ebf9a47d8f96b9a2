"""Memory of `gateway serve`, all its processes together, idle and under the load of the accept scenario."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from tests.bench.children import Child, Server
from tests.bench.gateway import Gateway, accepted
from tests.bench.measure import Row, Scale, Target, check, say
from tests.bench.scenarios.accept import CONNECTIONS, posts

_SETTLE_S = 2.0
_EVERY_S = 0.25


def run(scale: Scale) -> Sequence[Row]:
    """Measure the proportional set size: shared pages are counted once."""
    with (
        Child("tests.bench.upstream_stub", "0") as upstream,
        Child("tests.bench.load") as load,
        Gateway(upstream=upstream.port) as gateway,
        Gateway() as floor,
    ):
        server, bare = gateway.start_web("gateway", "serve"), floor.start_web("tests.bench.floor")
        time.sleep(_SETTLE_S)
        idle, limit = [server.pss_mb()], [bare.pss_mb()]
        loaded: list[float] = []
        for _ in range(scale.repetitions):
            before = gateway.scalar("SELECT count(*) FROM jobs")
            peak = _Peak(server)
            found = load.ask(port=gateway.port, requests=posts(gateway), connections=CONNECTIONS, seconds=scale.slice_s)
            loaded.append(peak.stop())
            rows = gateway.scalar("SELECT count(*) FROM jobs") - before
            check(rows == accepted(found), f"{rows} rows for {found['statuses']}")
        count = len(server.tree())
    say(f"  idle {idle[0]:.0f} MB, loaded {max(loaded):.0f} MB")
    of = "the API without a database, idle, under the same gunicorn"
    return [
        Row(what=f"memory (PSS) of `gateway serve`, {count} processes, idle", unit="MB", ours=idle, limit=limit, of=of),
        Row(
            what="the same, highest under load",
            unit="MB",
            ours=loaded,
            target=Target(kind="below", value=300),
        ),
    ]


class _Peak:
    """Looks at a server's memory until it is stopped."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stopping = threading.Event()
        self._seen: list[float] = []
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> float:
        """Return the most that was seen."""
        self._stopping.set()
        self._thread.join()
        return max(self._seen)

    def _look(self) -> None:
        while True:
            self._seen.append(self._server.pss_mb())
            if self._stopping.wait(_EVERY_S):
                return
