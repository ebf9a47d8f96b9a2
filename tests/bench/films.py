"""A source of large films and an S3-shaped sink that counts and discards: the two ends of a transfer.

Run as a child, twice: `source SIZE` or `sink`. A thread a connection; the bytes never pass through Python code.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any
from urllib.parse import parse_qs, urlsplit

from tests.bench.children import obey

_BLOCK = 1 << 20


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Say nothing."""


class Source(_Quiet):
    """Serves one film by any name: of `unsized` ones without a length, of `tiny` ones only the beginning."""

    film: IO[bytes]
    size: int

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        size = self.size
        if "/unsized" in self.path:
            self.send_header("Connection", "close")
        else:
            size = 65536 if "/tiny" in self.path else self.size
            self.send_header("Content-Length", str(size))
        self.end_headers()
        # A descriptor of its own: sendfile moves the position of the object it is given.
        with os.fdopen(os.dup(self.film.fileno()), "rb") as film:
            self.connection.sendfile(film, count=size)


class Sink(_Quiet):
    """Takes whole objects and multipart uploads, and remembers their sizes."""

    sizes: dict[str, int]
    uploads: dict[str, list[int]]
    lock: threading.Lock

    def do_PUT(self) -> None:
        size = self._discard()
        path, query = self._target()
        with self.lock:
            if "uploadId" in query:
                self.uploads[query["uploadId"][0]].append(size)
            else:
                self.sizes[path] = size
        self._answer(200, headers={"ETag": f'"{size:032x}"'})

    def do_POST(self) -> None:
        self._discard()
        path, query = self._target()
        with self.lock:
            if "uploadId" in query:
                self.sizes[path] = sum(self.uploads.pop(query["uploadId"][0]))
                said = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
            else:
                upload = secrets.token_hex(8)
                self.uploads[upload] = []
                said = f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        self._answer(200, said.encode())

    def do_HEAD(self) -> None:
        size = self.sizes.get(self._target()[0])
        self._answer(404 if size is None else 200, headers={"Content-Length": str(size or 0)})

    def do_DELETE(self) -> None:
        self._answer(204)

    def do_GET(self) -> None:
        self._answer(200, b"<ListMultipartUploadsResult></ListMultipartUploadsResult>")

    def _target(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return parts.path, parse_qs(parts.query, keep_blank_values=True)

    def _discard(self) -> int:
        length = left = int(self.headers.get("Content-Length", "0"))
        view = memoryview(bytearray(min(_BLOCK, max(left, 1))))
        # What came along with the head lies in the buffer; the rest is taken past it.
        buffered = self.rfile.peek(1)[:left] if left else b""  # type: ignore[attr-defined]
        left -= len(self.rfile.read(len(buffered)))
        while left:
            count = self.connection.recv_into(view[: min(left, len(view))])
            if not count:
                raise ConnectionError("the upload ended early")
            left -= count
        return length

    def _answer(self, status: int, body: bytes = b"", *, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _film(size: int) -> tuple[IO[bytes], str]:
    """Write a film of so many bytes, most of them random; return its file and its hash."""
    block = secrets.token_bytes(_BLOCK)
    digest = hashlib.sha256()
    film = tempfile.TemporaryFile()  # noqa: SIM115 - nameless, it lives as long as the process
    head, left = b"\x00\x00\x00\x18ftypisom", size
    while left:
        piece = (head + block)[:left]
        head = b""
        film.write(piece)
        digest.update(piece)
        left -= len(piece)
    film.flush()
    return film, digest.hexdigest()


def _listen(handler: type[BaseHTTPRequestHandler]) -> int:
    ThreadingHTTPServer.request_queue_size = 128
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def _source(size: int) -> None:
    Source.film, sha256 = _film(size)
    Source.size = size
    obey(lambda _: {}, port=_listen(Source), sha256=sha256)


def _sink() -> None:
    Sink.sizes, Sink.uploads, Sink.lock = {}, {}, threading.Lock()

    def stored(command: dict[str, Any]) -> dict[str, Any]:
        """Return the sizes of the objects that came since the last time."""
        wanted = re.compile(command["match"])
        with Sink.lock:
            sizes = [size for path, size in Sink.sizes.items() if wanted.search(path)]
            Sink.sizes.clear()
        return {"sizes": sizes}

    obey(stored, port=_listen(Sink))


if __name__ == "__main__":
    if sys.argv[1] == "source":
        _source(int(sys.argv[2]))
    else:
        _sink()
