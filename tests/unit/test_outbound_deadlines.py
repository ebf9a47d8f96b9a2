"""Total deadlines: every way a peer can be slow, and the watchdog that ends it."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from gateway.outbound.deadline import Deadlines
from gateway.outbound.session import AnswerLost, NotSent, Outbound
from tests.servers import Conversation, RawServer, Script, self_signed
from tests.unit.outbound_peers import SLOW, get

pytestmark = pytest.mark.usefixtures("only_loopback")


@pytest.mark.parametrize("script", SLOW)
def test_exchange_ends_at_the_total_deadline_when_the_peer_drips(outbound: Outbound, script: Script) -> None:
    with RawServer(script) as server:
        started = time.monotonic()
        with pytest.raises(AnswerLost, match="timeout"):
            get(outbound, server.url, deadline_s=0.3)
        assert 0.25 < time.monotonic() - started < 2


@pytest.mark.parametrize("script", SLOW)
def test_exchange_ends_at_the_total_deadline_when_the_peer_drips_over_tls(
    deadlines: Deadlines, script: Script, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    outbound = Outbound(pool_size=1, deadlines=deadlines, tls=certificate.trusting)
    with RawServer(script, tls=certificate.server) as server:
        started = time.monotonic()
        with pytest.raises(AnswerLost, match="timeout"):
            get(outbound, server.url, deadline_s=0.5)
        assert 0.4 < time.monotonic() - started < 3
    outbound.close()


def test_exchange_ends_at_the_total_deadline_when_the_peer_takes_no_more_bytes(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.server.stopping.wait(20)

    with RawServer(script) as server:
        started = time.monotonic()
        with pytest.raises(AnswerLost, match="timeout"):
            outbound.exchange("POST", server.url, deadline_s=0.3, max_body=10, data=b"x" * (64 << 20))
        assert time.monotonic() - started < 3


def test_exchange_ends_at_the_deadline_when_the_tls_handshake_hangs(outbound: Outbound) -> None:
    with RawServer(Conversation.wait_until_closed) as server:
        started = time.monotonic()
        with pytest.raises(NotSent, match="timeout"):
            get(outbound, server.url.replace("http:", "https:"), deadline_s=0.3)
        assert time.monotonic() - started < 2


def test_exchange_ends_at_the_deadline_when_the_resolver_hangs(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def getaddrinfo(*args: object, **kw: object) -> list:
        release.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "late")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    started = time.monotonic()
    with pytest.raises(NotSent, match="dns"):
        get(outbound, "http://slow.example/", deadline_s=0.3)
    assert time.monotonic() - started < 2
    release.set()


def test_deadlines_leave_a_disarmed_socket_alone_and_shut_the_late_one_down(deadlines: Deadlines) -> None:
    ours, theirs = socket.socketpair()
    kept, _kept_peer = socket.socketpair()
    now = time.monotonic()
    calm = deadlines.arm(kept, at=now + 0.05)
    deadlines.disarm(calm)
    late = deadlines.arm(ours, at=now + 0.1)
    theirs.settimeout(5)
    assert theirs.recv(1) == b""
    assert (late.fired, calm.fired) == (True, False)
    kept.sendall(b"still open")
    for sock in (ours, theirs, kept, _kept_peer):
        sock.close()


def test_deadlines_fire_in_order_of_time_when_armed_out_of_order(deadlines: Deadlines) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    now = time.monotonic()
    tickets = [deadlines.arm(pair[0], at=now + delay) for pair, delay in zip(pairs, (30, 0.05, 20), strict=True)]
    pairs[1][1].settimeout(5)
    assert pairs[1][1].recv(1) == b""
    assert [ticket.fired for ticket in tickets] == [False, True, False]
    for pair in pairs:
        pair[0].close()
        pair[1].close()


def test_deadlines_forget_disarmed_sockets_when_there_are_many(deadlines: Deadlines) -> None:
    ours, theirs = socket.socketpair()
    for _ in range(5000):
        deadlines.disarm(deadlines.arm(ours, at=time.monotonic() + 3600))
    assert len(deadlines._heap) < 1000
    ours.close()
    theirs.close()


def test_deadlines_cost_microseconds(deadlines: Deadlines) -> None:
    ours, theirs = socket.socketpair()
    at = time.monotonic() + 3600
    started = time.process_time()
    for _ in range(10_000):
        deadlines.disarm(deadlines.arm(ours, at=at))
    assert (time.process_time() - started) / 10_000 < 100e-6
    ours.close()
    theirs.close()


def test_a_watchdog_that_could_not_be_begun_is_begun_with_the_next_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines = Deadlines()
    ours, theirs = socket.socketpair()

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with ours, theirs:
        with monkeypatch.context() as short:
            short.setattr(threading.Thread, "start", none_left)
            with pytest.raises(RuntimeError):
                deadlines.arm(ours, at=time.monotonic())
        deadlines.arm(ours, at=time.monotonic())
        theirs.settimeout(5)
        assert theirs.recv(1) == b""
    deadlines.close()
