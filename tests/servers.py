"""Scripted servers on loopback: each connection is handed to a function that reads and writes raw bytes."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIMIT_S = 20.0


def allow_only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that would connect to anything but loopback, before a packet leaves."""
    really = socket.socket.connect

    def connect(sock: socket.socket, address: Any) -> None:
        if sock.family != socket.AF_UNIX and not ipaddress.ip_address(address[0]).is_loopback:
            pytest.fail(f"a connection to {address} was tried")
        really(sock, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class Conversation:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, server: RawServer) -> None:
        self.sock = sock
        self.server = server
        self._file = sock.makefile("rb")

    def starts_with(self, data: bytes) -> bool:
        """Whether the next bytes are these; nothing is consumed."""
        return self._file.peek(len(data)).startswith(data)

    def read_head(self) -> Request | None:
        """The request without its body, or None when the client has hung up."""
        line = self._file.readline()
        if not line.strip():
            return None
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers: dict[str, str] = {}
        while (header := self._file.readline().strip()) != b"":
            name, _, value = header.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Request(method=method, target=target, headers=headers, body=b"")

    def read_request(self) -> Request | None:
        """The next request with its body, also kept in the server's `requests`; None when the client has hung up."""
        head = self.read_head()
        if head is None:
            return None
        body = self._file.read(int(head.headers.get("content-length", 0)))
        if head.headers.get("transfer-encoding") == "chunked":
            body = b"".join(self._chunks())
        request = Request(method=head.method, target=head.target, headers=head.headers, body=body)
        self.server.requests.put(request)
        return request

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self._file.readline(), 16):
            yield self._file.read(size)
            self._file.readline()
        self._file.readline()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        """A whole answer; `retry_after="3"` becomes the header `retry-after: 3`."""
        self.send(head(status, {"content-length": str(len(body))} | headers) + body)

    def drip(self, data: bytes, *, every_s: float) -> None:
        """The bytes one by one, until the client hangs up or the server is stopped."""
        for index in range(len(data)):
            if self.server.stopping.wait(every_s):
                return
            self.send(data[index : index + 1])

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._file.close()
        self.sock.close()

    def wait_until_closed(self) -> bool:
        """Whether the client hung up before the server was stopped; reads and drops what it still sends."""
        with contextlib.suppress(OSError):
            while self._file.read1(65536):
                continue
        return not self.server.stopping.is_set()


def head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Because", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


Script = Callable[[Conversation], None]


class RawServer:
    """Runs `script` for each connection in a thread of its own. `with RawServer(script) as server: server.url`."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: queue.Queue[Request] = queue.Queue()
        self.closed_by_client: queue.Queue[bool] = queue.Queue()
        self._served: queue.Queue[bool] = queue.Queue()
        self.connections = 0
        self.stopping = threading.Event()
        self._script = script
        self._tls = tls
        self._host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    def __enter__(self) -> Self:
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(LIMIT_S)
        for sock in tuple(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LIMIT_S)

    def request(self) -> Request:
        """The next request that a script has read."""
        return self.requests.get(timeout=LIMIT_S)

    def wait_until_served(self) -> None:
        """Wait until one more script has ended."""
        self._served.get(timeout=LIMIT_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        sock = plain
        try:
            if self._tls is not None:
                sock = self._tls.wrap_socket(plain, server_side=True)
            self._open.add(sock)
            conversation = Conversation(sock, self)
            with contextlib.closing(conversation._file):
                self._script(conversation)
        except (OSError, ValueError):
            # The client went away in the middle: what most of these tests are about.
            self.closed_by_client.put(True)
        finally:
            self._open.discard(sock)
            sock.close()
            plain.close()
            self._served.put(True)


def answering(status: int = 200, body: bytes = b"", **headers: str) -> Script:
    """A script that gives every request the same answer and keeps the connection."""

    def script(conversation: Conversation) -> None:
        while conversation.read_request() is not None:
            conversation.answer(status, body, **headers)

    return script


def trap(conversation: Conversation) -> None:
    """A script for a server that nobody must connect to; `connections` tells."""
    conversation.read_request()


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    server: ssl.SSLContext
    trusting: ssl.SSLContext
    """A client's context that trusts this certificate and no other."""


def self_signed(folder: Path, *names: str) -> Certificate:
    """A certificate of nobody's authority for host names and addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return Certificate(server=server, trusting=ssl.create_default_context(cafile=str(pem)))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
