"""Name resolution with a limit: getaddrinfo knows no time-out, so it runs in a small pool of its own."""

from __future__ import annotations

import socket
import threading
from collections import Counter, deque
from typing import Any, NamedTuple


class Address(NamedTuple):
    """Where a socket can be connected to."""

    family: int
    sockaddr: Any
    """As `socket.connect` takes it; the first item is the address as text."""

    @property
    def ip(self) -> str:
        """The address as text, without a zone."""
        return str(self.sockaddr[0])


class Unresolved(Exception):
    """The name gave no address. `unknown`: the resolver said that there is none; else it did not answer in time."""

    def __init__(self, *, unknown: bool) -> None:
        super().__init__("no such name" if unknown else "the resolver did not answer")
        self.unknown = unknown


class _Lookup:
    __slots__ = ("abandoned", "addresses", "domain", "done", "host", "port", "unknown")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.domain = ".".join(host.rstrip(".").lower().rsplit(".", 2)[-2:])
        self.done = threading.Event()
        self.abandoned = False
        self.addresses: tuple[Address, ...] = ()
        self.unknown = False


class Resolver:
    """At most `threads` lookups at once, and at most half of them (one at least) for names of one domain.

    The second bound is there because anybody can own a domain whose name servers never answer.
    """

    def __init__(self, *, threads: int = 8) -> None:
        self._limit = threads
        self._share = max(1, threads // 2)
        self._changed = threading.Condition(threading.Lock())
        self._queue: deque[_Lookup] = deque()
        self._busy: Counter[str] = Counter()
        self._idle = 0
        self._started = 0
        self._closed = False

    def lookup(self, host: str, port: int, *, timeout_s: float) -> tuple[Address, ...]:
        """Return the addresses in the system's order of preference, at least one. Raises Unresolved."""
        literal = _literal(host, port)
        if literal is not None:
            return (literal,)
        job = _Lookup(host, port)
        self._enqueue(job)
        if not job.done.wait(timeout_s):
            job.abandoned = True
            raise Unresolved(unknown=False)
        if not job.addresses:
            raise Unresolved(unknown=job.unknown)
        return job.addresses

    def close(self) -> None:
        """Let the threads end once they are idle."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _enqueue(self, job: _Lookup) -> None:
        with self._changed:
            if self._closed:
                raise Unresolved(unknown=False)
            self._queue.append(job)
            if self._idle < len(self._queue) and self._started < self._limit:
                self._started += 1
                # Daemons: a name server that hangs must not hold up the end of the process.
                threading.Thread(target=self._work, name=f"resolver-{self._started}", daemon=True).start()
            else:
                self._changed.notify()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if not job.abandoned:
                _resolve(job)
            with self._changed:
                self._busy[job.domain] -= 1
                if not self._busy[job.domain]:
                    del self._busy[job.domain]
                self._changed.notify()

    def _next(self) -> _Lookup | None:
        with self._changed:
            while not self._closed:
                for index, job in enumerate(self._queue):
                    if self._busy[job.domain] < self._share:
                        del self._queue[index]
                        self._busy[job.domain] += 1
                        return job
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return None


def _resolve(job: _Lookup) -> None:
    try:
        infos = socket.getaddrinfo(job.host, job.port, type=socket.SOCK_STREAM)
        job.addresses = tuple(dict.fromkeys(Address(info[0], info[4]) for info in infos))
    except socket.gaierror as error:
        # EAI_AGAIN (no server answered, or SERVFAIL) says nothing about the name.
        job.unknown = error.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
    except UnicodeError:
        job.unknown = True
    except OSError:
        job.unknown = False
    finally:
        job.done.set()


def _literal(host: str, port: int) -> Address | None:
    """An address written out needs no resolver; a zone or an odd spelling does not count as one."""
    for family, sockaddr in ((socket.AF_INET, (host, port)), (socket.AF_INET6, (host, port, 0, 0))):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return Address(family, sockaddr)
    return None
