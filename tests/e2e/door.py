"""A TLS front for the simulated upstream, which can keep callers waiting before the handshake.

So long not a byte of a request can leave them: that is the moment between an intent and its POST.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.e2e.harness import World
from tests.e2e.processes import LONG_S
from tests.servers import self_signed


class Door:
    """A proxy on loopback with a certificate of its own; open at first."""

    def __init__(self, folder: Path) -> None:
        self._certificate = folder / "certificate.pem"
        self._tls = self_signed(folder, "127.0.0.1").server
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._changed = threading.Condition()
        self._is_open = True
        self._closed = False
        self._waiting = 0
        self._target = ("127.0.0.1", 0)
        self._sockets: set[socket.socket] = set()

    def lead_to(self, world: World) -> None:
        """Put it between a world's gateway and its upstream."""
        behind = urlsplit(world.simulator.base_url)
        self._target = (str(behind.hostname), int(behind.port or 0))
        world.settings["GATEWAY_UPSTREAM_URL"] = f"https://127.0.0.1:{self._listener.getsockname()[1]}{behind.path}"
        world.settings["SSL_CERT_FILE"] = str(self._certificate)

    def shut(self) -> None:
        """Let nobody in: callers are connected and wait for the handshake. Connections that stood are ended."""
        with self._changed:
            self._is_open = False
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Let everybody in, those who wait included."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def await_caller(self) -> None:
        """Wait until somebody stands before the shut door."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._waiting > 0, LONG_S), "nobody came"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._closed = True
        self.shut()
        self.open()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_open)
            self._waiting -= 1
        with suppress(OSError, ssl.SSLError), sock:
            if not self._closed:
                self._pass_through(self._tls.wrap_socket(sock, server_side=True))

    def _pass_through(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(self._target) as upstream:
            with self._changed:
                self._sockets |= {caller, upstream}
            back = threading.Thread(target=_pump, args=(upstream, caller), daemon=True)
            back.start()
            _pump(caller, upstream)
            back.join()
            with self._changed:
                self._sockets -= {caller, upstream}


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(1 << 16):
            sink.sendall(block)
    for sock in (source, sink):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
