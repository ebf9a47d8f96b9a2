"""Parts of a measurement in processes of their own: commands go in and answers come out as lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil

from tests.bench.measure import check
from tests.e2e.processes import environment

ROOT = Path(__file__).parents[2]


class Child:
    """One `python -m module` of ours that answers commands until it is closed."""

    def __init__(self, module: str, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment(settings or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hello = self._answer()

    @property
    def port(self) -> int:
        return int(self.hello["port"])

    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        assert self._process.stdin is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        check(bool(line), f"{self._process.args!r} ended early")
        return dict(json.loads(line))


def obey(act: Callable[[dict[str, Any]], dict[str, Any]], **hello: Any) -> None:
    """Be such a child: say hello, then answer commands until the parent is gone."""
    answer_line(hello)
    for line in sys.stdin:
        answer_line(act(json.loads(line)))
    os._exit(0)


def answer_line(data: Mapping[str, Any]) -> None:
    print(json.dumps(data), flush=True)  # noqa: T201 - this is the child's channel


class Server:
    """A long-running command under test, with everything that it starts; what it says goes to `log`."""

    def __init__(self, *arguments: str, cwd: Path, settings: Mapping[str, str], log: Path) -> None:
        self.log = log
        env = environment(settings) | {"PYTHONPATH": str(ROOT)}
        with log.open("ab") as lines:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=cwd, env=env, stdout=lines, stderr=lines
            )
        self._root = psutil.Process(self._process.pid)

    def alive(self) -> bool:
        check(self._process.poll() is None, f"it ended: {self.log.read_text()[-3000:]}")
        return True

    def tree(self) -> list[psutil.Process]:
        """Return it and all its descendants."""
        return [self._root, *self._root.children(recursive=True)]

    def pss_mb(self) -> float:
        """Return the proportional memory of all of them together, in megabytes."""
        found = 0
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                found += process.memory_full_info().pss
        return found / 1e6

    def cpu_s(self) -> float:
        """Return the CPU seconds that they have used so far."""
        found = 0.0
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found += times.user + times.system
        return found

    def close(self) -> None:
        """End all of it at once; nothing where it has ended."""
        if self._process.poll() is not None:
            return
        everyone = self.tree()
        for process in everyone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(everyone, timeout=10)
