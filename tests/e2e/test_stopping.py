"""SIGTERM: what is under way is finished or given back, in time, and nothing is lost."""

from __future__ import annotations

import ctypes
import platform
import signal

import psutil

from tests.e2e.harness import World
from tests.e2e.processes import eventually

_TGKILL = {"x86_64": 234, "aarch64": 131}


def test_a_worker_stops_when_sigterm_is_delivered_to_another_thread_than_the_first(world: World) -> None:
    worker = world.start("worker")
    eventually(world.logs, lambda said: "is at work" in said, "at work")
    others = [thread.id for thread in psutil.Process(worker.pid).threads() if thread.id != worker.pid]
    # What the kernel does when the first thread is not ready to take it, such as right after SIGCONT.
    ctypes.CDLL(None).syscall(_TGKILL[platform.machine()], worker.pid, others[0], signal.SIGTERM)
    assert worker.wait() == 0
