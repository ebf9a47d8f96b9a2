"""A large video goes through a worker without ever being held by it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.conftest import MakeWorld

MIB = 1 << 20


def peak_memory(pid: int) -> int:
    """Return the most bytes that a process ever had in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def test_a_video_of_200_mib_passes_through_a_worker_that_stays_below_200_mib(make_world: MakeWorld) -> None:
    world = make_world({"video_bytes": 200 * MIB})
    worker, _ = world.start_apart()
    prompt = "a long cat"
    video = world.await_status(world.post(prompt)["id"], "completed")
    content = world.simulator.content_of(world.made(prompt)[0].id)
    assert content is not None
    assert content.length == 200 * MIB
    assert video["content"]["sha256"] == content.sha256() == world.fetched_hash(video["url"])
    peak = peak_memory(worker.pid)
    assert peak < 200 * MIB, f"{peak / MIB:.0f} MiB"
