"""Transfers by the gateway's own upstream and bucket, as the transfer step makes them, in a process of their own.

Run as a child, with the gateway's settings in its environment.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gateway.settings import Settings
from gateway.upstreams.port import Content
from gateway.wiring.installation import Installation
from tests.bench.children import obey
from tests.bench.measure import check


def _memory_kb(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


class Mover:
    """Moves films from the upstream into the bucket, one thread each."""

    def __init__(self) -> None:
        self._installation = Installation(Settings.from_env(os.environ, Path.cwd()), Path.cwd())
        self._numbers = itertools.count()

    def move(self, film: str) -> tuple[int, str]:
        """Move one film; return its size and hash."""
        installation = self._installation
        upstream = next(iter(installation.upstreams.values()))
        with upstream.adapter.content(film, upstream.keys[0], urls=()) as content:
            assert isinstance(content, Content), content
            written = installation.bucket.write(
                f"bench/{next(self._numbers)}.mp4",
                content.readinto,
                length=content.length,
                content_type=content.content_type,
                filename="film.mp4",
                alive=lambda: None,
            )
        return written.size, written.sha256

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Move `at_once` films at once; return the seconds, what lies in the bucket, and how far memory rose."""
        films = [f"{command['film']}_{number}" for number in range(command["at_once"])]
        before = _memory_kb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        with ThreadPoolExecutor(len(films)) as pool:
            began, cpu = time.perf_counter(), time.process_time()
            written = list(pool.map(self.move, films))
            seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        check(len(written) == len(films), "a film is missing")
        return {
            "seconds": seconds,
            "cpu_s": cpu_s,
            "sizes": [size for size, _ in written],
            "sha256": [sha256 for _, sha256 in written],
            "risen_mib": (_memory_kb("VmHWM") - before) / 1024,
        }


if __name__ == "__main__":
    obey(Mover().run)
