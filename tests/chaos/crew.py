"""The processes of an installation: kept running as an operator's service manager does, and killed or frozen."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from gateway.supervisor import PARENT
from tests.e2e.processes import Program

MARK = "CHAOS_RUN"
_RESTART_AFTER_S = 0.5


@dataclass(kw_only=True, slots=True)
class Post:
    """One command that is to run all the time."""

    name: str
    arguments: Sequence[str]
    settings: Mapping[str, str] = field(default_factory=dict)
    program: Program | None = None
    start_at: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A process and what it is to the gateway."""

    role: str
    process: psutil.Process


class Crew:
    """Starts what has ended, until told otherwise. Its processes are marked, so that none is left over at the end."""

    def __init__(self, posts: Sequence[Post], *, folder: Path, settings: Mapping[str, str], run: str) -> None:
        self.posts = posts
        self.starts = 0
        self._folder = folder
        # Tied to the thread that starts them, so that not even a killed run leaves a gateway behind.
        self._settings = {**settings, MARK: run, PARENT: str(os.getpid())}
        self._run = run
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep_running, name="crew")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        for process in self._marked():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for post in self.posts:
            if post.program is not None:
                post.program.wait()

    def logs(self) -> list[Path]:
        """Return the files that hold everything they have written."""
        return sorted(self._folder.glob("*.log"))

    def targets(self) -> list[Target]:
        """Return every process that runs, with its role."""
        return [target for post in self.posts for target in self._of_post(post)]

    def kill(self, target: Target) -> None:
        """End one process with SIGKILL."""
        with suppress(psutil.NoSuchProcess):
            target.process.kill()

    def kill_tree(self, chance: random.Random) -> str:
        """End one command with everything that it started; return its name."""
        post = chance.choice(self.posts)
        for target in self._of_post(post):
            self.kill(target)
        return f"tree of {post.arguments[0]}"

    def kill_all(self) -> str:
        """End every process there is."""
        for target in self.targets():
            self.kill(target)
        return "everything"

    def freeze(self, target: Target, seconds: float, pause: threading.Event, *, dies: bool) -> None:
        """Stop one process for so long, or until `pause` is set; then it goes on, or dies without having woken."""
        with suppress(psutil.NoSuchProcess):
            target.process.send_signal(signal.SIGSTOP)
            try:
                pause.wait(seconds)
            finally:
                target.process.send_signal(signal.SIGKILL if dies else signal.SIGCONT)

    def _of_post(self, post: Post) -> list[Target]:
        tree = post.program.tree() if post.program is not None else []
        found = []
        for process in tree:
            with suppress(psutil.Error, IndexError):
                found.append(Target(role=_role(process, tree), process=process))
        return found

    def _keep_running(self) -> None:
        while not self._stop.wait(0.1):
            for post in self.posts:
                self._look_after(post)

    def _look_after(self, post: Post) -> None:
        now = time.monotonic()
        if post.program is not None and post.program.ended:
            post.program, post.start_at = None, now + _RESTART_AFTER_S
        if post.program is None and now >= post.start_at:
            log = self._folder / f"{post.name}.log"
            settings = {**self._settings, **post.settings}
            post.program = Program(*post.arguments, cwd=self._folder, settings=settings, log=log)
            self.starts += 1

    def _marked(self) -> list[psutil.Process]:
        """Return all that ever came of this crew and still runs, orphans included."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == self._run:
                    found.append(process)
        return found


def _role(process: psutil.Process, tree: Sequence[psutil.Process]) -> str:
    command = str(process.cmdline()[-1])
    if command != "api":
        return command
    masters = [one.pid for one in tree if one.cmdline()[-1:] == ["api"]]
    return "gunicorn master" if process.pid == masters[0] else "gunicorn worker"
