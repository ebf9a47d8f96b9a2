"""The worker under real gunicorn: slow clients, bodies too large, malformed requests, all over sockets."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import psutil
import pytest

SERVER = """
import sys
import time
from flask import Flask, request
from gunicorn.app.base import BaseApplication
from gateway.api import access, errors, patient
from gateway.api.bodies import GatewayRequest, read
if sys.argv[2:]:
    patient.UPLOAD_WAIT_S = float(sys.argv[2])
patient.QUEUE_S = 0.3
patient.HEAD_S, patient.BODY_GRACE_S, patient.BODY_BYTES_PER_S = 3.0, 1.0, 1_000_000

class Services:
    from time import monotonic
    observe = staticmethod(lambda *_: None)

app = Flask("gateway", static_folder=None)
app.request_class = GatewayRequest
app.config["MAX_CONTENT_LENGTH"] = 1_000_000
access.install(app, Services)
errors.install(app)

@app.get("/ok")
def ok():
    return "ok"

@app.get("/broken")
def broken():
    def blocks():
        yield b"a beginning"
        raise RuntimeError("the bucket broke off")
    return app.response_class(blocks())

@app.get("/slow")
def slow():
    time.sleep(0.1)
    return "done"

@app.get("/healthz")
def healthz():
    return "alive"

@app.post("/read")
def take():
    return str(len(read().fields["prompt"]))

class Server(BaseApplication):
    def load_config(self):
        for name, value in {
            "bind": ["127.0.0.1:" + sys.argv[1]], "workers": 1, "threads": 2, "worker_class": patient.PatientWorker,
            "control_socket_disable": True, "keepalive": 5, "graceful_timeout": 5, "loglevel": "warning",
        }.items():
            self.cfg.set(name, value)

    def load(self):
        return app

Server().run()
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=15)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)])
    try:
        _until_listening(port)
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _until_listening(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            _connect(port).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < until, "the server did not start"
            os.sched_yield()


@pytest.fixture
def port(server: tuple[int, subprocess.Popen[bytes]]) -> int:
    return server[0]


def _answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of one answer with a length."""
    file = sock.makefile("rb")
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, file.read(int(headers["content-length"]))


def _get(port: int) -> float:
    """Ask for /ok and return how long it took."""
    began = time.monotonic()
    with _connect(port) as sock:
        sock.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert _answer(sock)[0] == 200
    return time.monotonic() - began


POST = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

BEGINNINGS = {
    "say nothing": b"",
    "begin a head": b"GET /ok HTTP/1.1\r\nHost: x\r\n",
    "begin a small body": b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_clients_that_stop_sending_hold_no_thread(port: int, beginning: str) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(_connect(port))
            sock.sendall(BEGINNINGS[beginning])
        assert max(_get(port) for _ in range(5)) < 1.0


def test_clients_that_never_close_after_their_last_answer_hold_up_nobody(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(_connect(port))
            sock.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert _answer(sock)[0] == 200
        assert max(_get(port) for _ in range(5)) < 1.0


def test_a_client_that_stops_within_a_large_body_is_let_go(port: int) -> None:
    head = POST + b"Content-Length: 900000\r\n\r\n"
    with ExitStack() as stack:
        slow = [stack.enter_context(_connect(port)) for _ in range(2)]
        for sock in slow:
            sock.sendall(head + b"{")
        took = _get(port)
        answers = [_answer(sock) for sock in slow]
    assert took < 6.0
    assert [(status, json.loads(body)["error"]["code"]) for status, _, body in answers] == [
        (408, "request_timeout")
    ] * 2


def test_a_request_that_drips_is_answered_when_it_is_whole(port: int) -> None:
    body = json.dumps({"prompt": "x" * 100}).encode()
    request = POST + b"Content-Length: %d\r\n\r\n" % len(body)
    with _connect(port) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin in range(0, len(request + body), 16):
            sock.sendall((request + body)[begin : begin + 16])
        assert _answer(sock)[2] == b"100"


def test_a_kept_alive_connection_is_answered_again_and_again(port: int) -> None:
    with _connect(port) as sock:
        for _ in range(5):
            sock.sendall(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n")
            assert _answer(sock)[0] == 200


def test_pipelined_requests_are_all_answered(port: int) -> None:
    with _connect(port) as sock:
        sock.sendall(
            b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        file = sock.makefile("rb")
        assert file.read().count(b"HTTP/1.1 200") == 3


def test_a_client_that_waits_for_100_continue_gets_it(port: int) -> None:
    body = json.dumps({"prompt": "hello"}).encode()
    head = POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with _connect(port) as sock:
        sock.sendall(head % len(body))
        assert sock.recv(100).startswith(b"HTTP/1.1 100")
        sock.sendall(body)
        assert _answer(sock)[2] == b"5"


def test_a_chunked_body_is_read(port: int) -> None:
    body = json.dumps({"prompt": "x" * 70_000}).encode()
    with _connect(port) as sock:
        head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        sock.sendall(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
        assert _answer(sock)[2] == b"70000"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_40_mb_gets_its_413_and_no_reset(port: int, chunked: bool) -> None:
    size, block = 40 * 1024 * 1024, bytes(64 * 1024)
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    with _connect(port) as sock:
        sock.sendall(POST + length + b"\r\n\r\n")
        for _ in range(size // len(block)):
            sock.sendall(b"%x\r\n" % len(block) + block + b"\r\n" if chunked else block)
        if chunked:
            sock.sendall(b"0\r\n\r\n")
        status, headers, body = _answer(sock)
    assert (status, json.loads(body)["error"]["code"]) == (413, "body_too_large")
    assert headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /ok HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /ok HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 431),
        (b"GET /ok HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n", 400),
        (b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nonsense\r\n\r\n", 501),
    ],
)
def test_what_never_gets_to_the_app_is_refused_in_json(port: int, request_bytes: bytes, status: int) -> None:
    with _connect(port) as sock:
        sock.sendall(request_bytes)
        found, headers, body = _answer(sock)
    assert found == status
    assert headers["content-type"] == "application/json"
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert headers["x-request-id"].startswith("req_")


def test_a_connection_on_which_nothing_more_comes_is_closed_and_keeps_nobody_busy(
    server: tuple[int, subprocess.Popen[bytes]],
) -> None:
    port, process = server
    _get(port)  # the worker is there, and its start is paid for
    (worker,) = psutil.Process(process.pid).children()
    with _connect(port) as silent, _connect(port) as halfway:
        halfway.sendall(BEGINNINGS["begin a head"])
        before = worker.cpu_times().user + worker.cpu_times().system
        assert silent.recv(1) == b""
        with suppress(ConnectionResetError):  # what it sent was never read
            assert halfway.recv(1) == b""
    assert worker.cpu_times().user + worker.cpu_times().system - before < 0.5


def test_an_answer_that_breaks_off_in_the_middle_takes_nobody_else_with_it(
    server: tuple[int, subprocess.Popen[bytes]],
) -> None:
    port, process = server
    _get(port)
    workers = psutil.Process(process.pid).children()
    with _connect(port) as sock:
        sock.sendall(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"a beginning" in b"".join(iter(lambda: sock.recv(65536), b""))
        # The time for reading the last answer is over when these two were closed, one after the other.
        for _ in range(3):
            with _connect(port) as silent:
                assert silent.recv(1) == b""
    _get(port)
    assert psutil.Process(process.pid).children() == workers


def test_a_client_that_hangs_up_within_a_head_is_let_go_at_once_and_does_not_spin_the_loop(port: int) -> None:
    with _connect(port) as silent, _connect(port) as gone:
        gone.sendall(BEGINNINGS["begin a head"])
        gone.shutdown(socket.SHUT_WR)
        first, _, _ = select.select([silent, gone], [], [], 15)
        assert first == [gone]


def test_slow_uploads_leave_half_of_the_threads_to_others(port: int) -> None:
    head = POST + b"Content-Length: 900000\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(_connect(port)).sendall(head + b"{")
        assert max(_get(port) for _ in range(3)) < 0.5


def test_a_large_body_for_which_no_thread_gets_free_is_told_to_come_back() -> None:
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port), "0.05"])
    _until_listening(port)
    _get(port)
    head = POST + b"Content-Length: 900000\r\n\r\n"
    try:
        with _connect(port) as first, _connect(port) as second:
            first.sendall(head + b"{")
            _get(port)  # the only thread for large bodies reads the first one now
            second.sendall(head + b"{")
            while not select.select([second], [], [], 0.05)[0]:
                _get(port)
            second.sendall(b" " * 500_000)  # as a client does that looks at the answer only when all is sent
            status, headers, body = _answer(second)
            assert (status, json.loads(body)["error"]["code"]) == (503, "unavailable")
            assert int(headers["retry-after"]) > 0
            assert second.recv(1) == b""
            assert _answer(first)[0] == 408
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_more_than_can_be_done_in_time_is_told_to_come_back_at_once_and_the_rest_is_answered(port: int) -> None:
    # Two threads do twenty a second, so in the 0.3 s that a request waits at most, six of the line get through.
    with ExitStack() as stack:
        asking = [stack.enter_context(_connect(port)) for _ in range(60)]
        for sock in asking:
            sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        health = stack.enter_context(_connect(port))
        health.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _answer(health)[2] == b"alive"
        answers = [_answer(sock) for sock in asking]
    refused = [(headers["retry-after"], json.loads(body)) for status, headers, body in answers if status == 503]
    assert len(refused) > 30
    assert {(after, body["error"]["code"]) for after, body in refused} == {("5", "unavailable")}
    assert {body for status, _, body in answers if status == 200} == {b"done"}
    assert len(refused) + [status for status, _, _ in answers].count(200) == len(asking)
    _get(port)


def test_idle_connections_do_not_hold_up_a_stop() -> None:
    port = _free_port()
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)])
    _until_listening(port)
    with _connect(port) as sock:
        _get(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(4.5) == 0
        assert sock.recv(1) == b""
