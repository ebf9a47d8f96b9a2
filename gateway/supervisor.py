"""`gateway serve`: one parent that starts the API and the worker, and sees to it that neither outlives the other.

The parent has no threads and touches neither database nor bucket. Children are new programs, never forks of it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

PARENT = "SORA_GATEWAY_PARENT"
"""Environment name that tells a child the process id of its parent. Not `GATEWAY_…`: those are the user's."""

PREPARED = "SORA_GATEWAY_PREPARED"
"""Environment name that tells a child the descriptor to read a byte from before it begins."""

_PR_SET_PDEATHSIG = 1
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class AlreadyRunning(Exception):
    """Another gateway has the database or the address; the message says which."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildSpec:
    """A program to run. `environ` is added to the parent's own environment."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)


class Supervisor:
    """Runs children until one of them ends or a signal says stop, then stops all of them at once.

    With a `preparation`, a program that ends by itself, they are started beside it, so that they import meanwhile, and
    begin only once it has ended with 0: each waits for that in `await_preparation`.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        *,
        preparation: ChildSpec | None = None,
        grace_s: float = 20.0,
        log: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._specs = children
        self._preparation = preparation
        self._grace_s = grace_s
        self._log = log
        self._running: list[tuple[ChildSpec, subprocess.Popen[bytes]]] = []

    def run(self) -> int:
        """Block until all is stopped. 0 after SIGTERM or SIGINT and children that stopped by themselves, else 1.

        Where the preparation failed, its own status. Must be called in the main thread. `grace_s` is for all children
        together; who takes longer is killed, with everything in its process group.
        """
        with _caught(*_STOPS, signal.SIGCHLD) as signals, closing(_Gate()) as gate:
            try:
                self._start(gate)
                status = self._wait(signals, gate)
            finally:
                stopped = self._stop(signals)
        return status if stopped else 1

    def _start(self, gate: _Gate) -> None:
        if self._preparation is not None:
            self._running.append((self._preparation, _started(self._preparation, None)))
        for spec in self._specs:
            self._running.append((spec, _started(spec, gate if self._preparation is not None else None)))

    def _wait(self, signals: _Signals, gate: _Gate) -> int:
        """Return 0 when told to stop, else not 0, when a child ended of its own accord."""
        # The wish to stop is looked at first: systemd signals parent and children together, and those may be quicker.
        while not signals.stop_wanted:
            ended = next((child for child in self._running if child[1].poll() is not None), None)
            if ended is None:
                signals.wait(None)
            elif ended[0] is self._preparation and ended[1].returncode == 0:
                self._running.remove(ended)
                gate.open(len(self._specs))
            else:
                return self._told(*ended)
        return 0

    def _told(self, spec: ChildSpec, process: subprocess.Popen[bytes]) -> int:
        """Return the status that a child's end means; a preparation that failed has said why, and gives its own."""
        if spec is self._preparation and process.returncode > 0:
            return process.returncode
        self._log(f"{spec.name} {_ending(process.returncode)}; stopping the rest")
        return 1

    def _stop(self, signals: _Signals) -> bool:
        """Tell every child to stop, then wait for each; return whether all of them took the hint."""
        deadline = time.monotonic() + self._grace_s
        in_time = True
        # All at once: one after the other, each with its own patience with work under way, would not fit into the time.
        for _, process in reversed(self._running):
            with suppress(ProcessLookupError):
                process.terminate()
        for spec, process in reversed(self._running):
            while process.poll() is None and (left := deadline - time.monotonic()) > 0:
                signals.wait(left)
            if process.poll() is None:
                self._log(f"{spec.name} did not stop within {self._grace_s:g} s and is killed")
                in_time = False
            # Even after a clean end: gunicorn's workers must not outlive a master that was killed from outside.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return in_time


def die_with_parent() -> None:
    """Ask the kernel to end this process when the parent that started it under a Supervisor ends, however it does.

    To be called by a child first thing; nothing happens in a process that no Supervisor started, or not on Linux.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # A parent that ended before the call above sends no signal any more.
    if os.getppid() != int(parent):
        sys.exit(1)


def await_preparation() -> None:
    """Return once what a Supervisor prepares is done; at once in a process whose parent prepares nothing.

    To be called by a child before it opens or writes anything. Does not return where the parent ended meanwhile.
    """
    descriptor = os.environ.pop(PREPARED, None)
    if descriptor is None:
        return
    with os.fdopen(int(descriptor), "rb", buffering=0) as gate:
        if not gate.read(1):
            sys.exit(1)


@contextmanager
def only_one(database: Path) -> Iterator[None]:
    """Hold a lock that the kernel drops with this process; raise AlreadyRunning where another holds it."""
    lock_file = database.with_name(database.name + "-serve.lock")
    # Never unlinked: a second process could lock the old file while a third locks a new one of the same name.
    with lock_file.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            message = f"another `gateway serve` is running on {database}"
            raise AlreadyRunning(message) from error
        yield


def check_port_free(host: str, port: int) -> None:
    """Raise AlreadyRunning where somebody listens there: with `reuse_port` two gateways would silently share it."""
    if port == 0:
        return
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier run may linger
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind(address)
            except OSError as error:
                message = f"cannot listen on {host} port {port}: {error.strerror}"
                raise AlreadyRunning(message) from error


def free_port(host: str, port: int) -> int:
    """Return the port, or one that the system chooses for 0: all processes must agree on it. Raises AlreadyRunning."""
    check_port_free(host, port)
    if port:
        return port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class _Signals:
    """Turns signals into something that a loop can wait for, without a race between looking and waiting."""

    def __init__(self) -> None:
        self.stop_wanted = False
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def note(self, number: int, _frame: FrameType | None) -> None:
        if number in _STOPS:
            self.stop_wanted = True

    def wait(self, timeout_s: float | None) -> None:
        """Return when a signal came since the last call, or after the time."""
        self._reader.settimeout(timeout_s)
        with suppress(TimeoutError):
            self._reader.recv(4096)

    def fileno(self) -> int:
        return self._writer.fileno()

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


@contextmanager
def _caught(*numbers: signal.Signals) -> Iterator[_Signals]:
    signals = _Signals()
    before = {number: signal.signal(number, signals.note) for number in numbers}
    wakeup = signal.set_wakeup_fd(signals.fileno(), warn_on_full_buffer=False)
    try:
        yield signals
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        signals.close()


class _Gate:
    """What children wait at: a pipe, of which each reads a byte. Who sees its end instead has no parent any more."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()

    def open(self, children: int) -> None:
        os.write(self._writer, b"." * children)

    def close(self) -> None:
        os.close(self.reader)
        os.close(self._writer)


def _started(spec: ChildSpec, gate: _Gate | None) -> subprocess.Popen[bytes]:
    waits = {} if gate is None else {PREPARED: str(gate.reader)}
    environ = {**os.environ, **spec.environ, PARENT: str(os.getpid()), **waits}
    kept = () if gate is None else (gate.reader,)
    # A session of its own: Ctrl-C in a terminal reaches only the parent, which then tells the children.
    return subprocess.Popen(list(spec.command), env=environ, start_new_session=True, pass_fds=kept)


def _ending(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
