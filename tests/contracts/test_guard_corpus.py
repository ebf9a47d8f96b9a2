"""The corpus of tests/data/ssrf_examples.json against the guard: at the intake, and on the very connection.

Names resolve by the corpus. A connection to one of its public addresses ends at a stand-in on loopback, any other at a
trap, so whatever the guard lets through is seen and no packet leaves.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from gateway.outbound.allow_list import AllowList
from gateway.outbound.deadline import Deadlines
from gateway.outbound.guard import Guard
from gateway.outbound.session import AnswerLost, Blocked, NotSent, Outbound
from tests.servers import Conversation, RawServer, trap

CORPUS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "ssrf_examples.json").read_text())
TARGETS: Sequence[dict[str, str]] = CORPUS["targets"]
REFUSED = {"block", "policy"}


def public_stand_in(conversation: Conversation) -> None:
    """Answers 200, or on /r/CODE/BASE64 redirects there; hangs up on TLS."""
    if conversation.starts_with(b"\x16"):
        return
    while (request := conversation.read_request()) is not None:
        if not request.target.startswith("/r/"):
            conversation.answer(200, b"public")
            continue
        _, _, code, location = request.target.split("/")
        conversation.answer(int(code), b"", Location=base64.urlsafe_b64decode(location).decode())


@dataclass(kw_only=True)
class Net:
    """The corpus's internet."""

    public: RawServer
    trap: RawServer
    answers: dict[str, list[list[str]]]
    asked: Counter[str] = field(default_factory=Counter)
    connected: list[str] = field(default_factory=list)
    peers: dict[int, tuple[str, int]] = field(default_factory=dict)

    def getaddrinfo(self, host: str, port: int, *_args: object, **_kw: object) -> list[Any]:
        ips = self._resolve(host)
        if not ips:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [_info(ip, port) for ip in ips]

    def _resolve(self, host: str) -> list[str]:
        with contextlib.suppress(OSError):
            # As glibc does: 127.1, 0x7f000001 and 2130706433 are addresses to it.
            return [socket.inet_ntoa(socket.inet_aton(host))]
        name = host.rstrip(".").lower()
        if name not in self.answers:
            return []
        nth, self.asked[name] = self.asked[name], self.asked[name] + 1
        return self.answers[name][min(nth, len(self.answers[name]) - 1)]

    @property
    def internal(self) -> list[str]:
        """The addresses that were connected to and are none of the corpus's public ones."""
        public = {ip_address(ip) for ip in CORPUS["public_ips"]}
        addresses = [ip_address(ip) for ip in self.connected]
        return [str(ip) for ip in addresses if (getattr(ip, "ipv4_mapped", None) or ip) not in public]


def _info(ip: str, port: int) -> Any:
    bare, _, zone = ip.partition("%")
    if ":" in ip:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (bare, port, 0, int(zone or 0)))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[RawServer, RawServer]]:
    with RawServer(public_stand_in) as public, RawServer(trap) as trapped:
        yield public, trapped


@pytest.fixture
def net(servers: tuple[RawServer, RawServer], monkeypatch: pytest.MonkeyPatch) -> Net:
    public, trapped = servers
    made = Net(public=public, trap=trapped, answers=CORPUS["dns"])
    really = socket.socket.connect
    peer_of = socket.socket.getpeername

    def connect(sock: socket.socket, address: Any) -> None:
        made.connected.append(address[0])
        target = trapped if made.internal else public
        if sock.family == socket.AF_INET6:
            # A socket of the other family under the same number: there may be no IPv6 here.
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
                timeout = sock.gettimeout()
                sock.detach()
                sock.__init__(socket.AF_INET, socket.SOCK_STREAM, 0, other.detach())  # type: ignore[misc]
                sock.settimeout(timeout)
        made.peers[sock.fileno()] = address
        really(sock, ("127.0.0.1", target.port))

    def getpeername(sock: socket.socket) -> Any:
        return made.peers.get(sock.fileno()) or peer_of(sock)

    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "getpeername", getpeername)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://10.0.0.1:{trapped.port}")
    return made


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = Guard(allow=AllowList(), cache_s=0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def deadlines() -> Iterator[Deadlines]:
    made = Deadlines()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@pytest.fixture
def outbound(guard: Guard, deadlines: Deadlines, tls: ssl.SSLContext) -> Iterator[Outbound]:
    made = Outbound(pool_size=1, deadlines=deadlines, reuse=False, guard=guard, tls=tls)
    yield made
    made.close()


def attempt(outbound: Outbound, url: str) -> int | NotSent | AnswerLost:
    try:
        return outbound.exchange("POST", url, deadline_s=5, max_body=1000, data=b"{}").status
    except (NotSent, AnswerLost) as error:
        return error


def each(*expectations: str) -> pytest.MarkDecorator:
    chosen = [target for target in TARGETS if target["expect"] in expectations]
    return pytest.mark.parametrize("target", chosen, ids=[target["id"] for target in chosen])


@each("block", "policy")
def test_guard_refuses_a_forbidden_target_at_the_intake(guard: Guard, net: Net, target: dict[str, str]) -> None:
    late = target["group"] == "rebinding" and len(net.answers.get(_host(target), [])) > 1
    assert late or guard.check(target["url"])
    assert net.connected == []


@each("block", "policy")
def test_guard_stops_a_forbidden_target_before_any_connection(
    outbound: Outbound, net: Net, target: dict[str, str]
) -> None:
    outcome = attempt(outbound, target["url"])
    assert isinstance(outcome, Blocked) or (isinstance(outcome, NotSent) and outcome.reason == "dns")
    assert net.connected == []


@each("no-internal-connect")
def test_guard_lets_no_connection_in_whatever_a_name_or_redirect_says_later(
    guard: Guard, outbound: Outbound, net: Net, target: dict[str, str]
) -> None:
    before = net.trap.connections
    guard.check(target["url"])
    for _ in range(4):
        attempt(outbound, target["url"])
    assert net.internal == []
    assert net.trap.connections == before


@each("no-internal-connect", "block", "policy")
def test_guard_lets_no_connection_in_when_the_intake_did_not_look(
    outbound: Outbound, net: Net, target: dict[str, str]
) -> None:
    for _ in range(2):
        attempt(outbound, target["url"])
    assert net.internal == []


@each("allow")
def test_guard_lets_a_public_target_through(guard: Guard, outbound: Outbound, net: Net, target: dict[str, str]) -> None:
    assert guard.check(target["url"]) is None
    outcome = attempt(outbound, target["url"])
    if target["url"].lower().startswith("https:"):
        # The stand-in speaks no TLS; that it was connected to is what counts here.
        assert isinstance(outcome, NotSent)
        assert outcome.reason == "tls"
    else:
        assert outcome == 200
    assert len(net.connected) == 1
    assert net.internal == []


def test_the_corpus_catches_an_outbound_without_a_guard(deadlines: Deadlines, tls: ssl.SSLContext, net: Net) -> None:
    outbound = Outbound(pool_size=1, deadlines=deadlines, reuse=False, tls=tls)
    before = net.trap.connections
    for target in TARGETS:
        if target["expect"] in REFUSED and target["group"] in {"ipv4-literal", "ipv4-spelling", "hostname"}:
            attempt(outbound, target["url"])
    outbound.close()
    assert len(net.internal) > 50
    assert net.trap.connections > before


def test_the_guard_blocks_a_peer_that_is_not_the_address_it_checked(
    outbound: Outbound, net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket.socket, "getpeername", lambda sock: ("10.0.0.1", 80))
    assert isinstance(attempt(outbound, "http://hooks.rcv-a.com/ok"), Blocked)
    assert net.public.requests.empty() or net.public.requests.get().target != "/ok"


def test_the_reply_names_the_address_that_was_connected_to(outbound: Outbound, net: Net) -> None:
    reply = outbound.exchange("POST", "http://hooks.rcv-a.com/ok", deadline_s=5, max_body=100)
    assert reply.peer == "93.184.216.34"


def test_the_corpus_is_large_and_names_each_target_once() -> None:
    assert len(TARGETS) > 350
    assert len({target["id"] for target in TARGETS}) == len(TARGETS)


def _host(target: dict[str, str]) -> str:
    return target["url"].split("/")[2] if "//" in target["url"] else ""
