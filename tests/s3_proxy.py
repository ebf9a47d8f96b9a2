"""An HTTP proxy on loopback in front of a real S3 server that records what passes and can spoil it."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(kw_only=True)
class Message:
    """One request or answer on its way through; a meddler may change any of it."""

    method: str
    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""

    @property
    def query(self) -> str:
        return self.path.partition("?")[2]


Meddler = Callable[[Message], None]


@dataclass(kw_only=True)
class Proxy:
    """A running proxy; `request` and `answer` are called with what passes."""

    upstream: str
    endpoint_url: str = ""
    request: Meddler = lambda message: None
    answer: Meddler = lambda message: None
    seen: list[Message] = field(default_factory=list)
    """Requests as they arrived."""

    def forward(self, message: Message) -> Message:
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=20)
        try:
            # The Host as the client signed it, not the upstream's own.
            connection.putrequest(message.method, message.path, skip_host=True, skip_accept_encoding=True)
            for name, value in message.headers.items():
                if name not in {"connection", "expect", "content-length"}:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(message.body)))
            connection.endheaders(message.body)
            reply = connection.getresponse()
            headers = {name.lower(): value for name, value in reply.getheaders()}
            return Message(
                method=message.method, path=message.path, status=reply.status, headers=headers, body=reply.read()
            )
        finally:
            connection.close()


@contextmanager
def proxy_before(upstream: str, *, request: Meddler | None = None, answer: Meddler | None = None) -> Iterator[Proxy]:
    """Run a proxy before `upstream`; it holds whole bodies in memory."""
    proxy = Proxy(upstream=upstream)
    proxy.request, proxy.answer = request or proxy.request, answer or proxy.answer
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy))
    proxy.endpoint_url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            message = Message(method=self.command, path=self.path, headers=headers, body=body)
            proxy.seen.append(Message(method=self.command, path=self.path, headers=dict(headers)))
            proxy.request(message)
            answer = proxy.forward(message)
            if "content-length" in answer.headers and self.command != "HEAD":
                answer.headers["content-length"] = str(len(answer.body))
            proxy.answer(answer)
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name not in {"connection", "transfer-encoding"}:
                    self.send_header(name, value)
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Nothing: links would show."""

    return Handler
