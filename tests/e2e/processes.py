"""Real processes of the gateway: started in a directory of their own, killed with all they started, and waited for."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil

from gateway.supervisor import PARENT

T = TypeVar("T")

LONG_S = 60.0
"""Patience with anything that takes seconds on an idle machine: these tests share theirs with others."""

_STEP_S = 0.05


def eventually(ask: Callable[[], T], wanted: Callable[[T], bool], what: str, *, timeout_s: float = LONG_S) -> T:
    """Ask until the answer is as wanted, and return it: for what sends no signal. Fails after `timeout_s`."""
    until = time.monotonic() + timeout_s
    pause = threading.Event()
    while not wanted(answer := ask()):
        assert time.monotonic() < until, f"not {what} within {timeout_s:g} s; last: {answer!r}"
        pause.wait(_STEP_S)
    return answer


def free_port() -> int:
    """Return a port that nobody listens on, and that no connection is given by chance: it lasts over a restart."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without what it may say about a gateway or a store."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "AWS_"))}
    return kept | {"AWS_EC2_METADATA_DISABLED": "true", "PYTHONFAULTHANDLER": "1", PARENT: str(os.getpid()), **settings}


def gateway_command(*arguments: str) -> list[str]:
    """Return the command line of `gateway`."""
    return [sys.executable, "-m", "gateway", *arguments]


class Program:
    """One running command of the gateway with everything it started; what it says goes to `log`."""

    def __init__(self, *arguments: str, cwd: Path, settings: Mapping[str, str], log: Path) -> None:
        self.arguments = arguments
        self.log = log
        with log.open("ab") as lines:
            self._process = subprocess.Popen(
                gateway_command(*arguments), cwd=cwd, env=environment(settings), stdout=lines, stderr=lines
            )
        self._root = psutil.Process(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def tree(self) -> list[psutil.Process]:
        """Return it and all its descendants, parents before children."""
        with suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def kill_tree(self) -> None:
        """End all of it with SIGKILL: parents first, so that nobody starts a new child."""
        everyone = self.tree()
        for process in everyone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(timeout=LONG_S)
        await_gone(everyone)

    def kill(self) -> None:
        """End only the process itself with SIGKILL."""
        self._process.kill()
        self._process.wait(timeout=LONG_S)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = LONG_S) -> int:
        """Return its exit status; where it does not end, it says in the log what its threads are doing."""
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)
            self._process.wait(timeout=LONG_S)
            raise

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM; return the exit status and the seconds that it took."""
        began = time.monotonic()
        self._process.terminate()
        return self.wait(), time.monotonic() - began

    def role(self, name: str) -> psutil.Process:
        """Return the process of the tree that runs `gateway NAME`, the topmost where there are several."""
        return next(process for process in self.tree() if process.cmdline()[-1:] == [name])


def await_gone(processes: Sequence[psutil.Process], *, timeout_s: float = LONG_S) -> None:
    """Wait until none of them runs any more; who is dead and not yet buried by its parent counts as gone."""
    eventually(lambda: [one for one in processes if not _gone(one)], lambda left: not left, "gone", timeout_s=timeout_s)


def _gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def run(*arguments: str, cwd: Path, settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a short command of the gateway to its end."""
    return subprocess.run(
        gateway_command(*arguments),
        cwd=cwd,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )
