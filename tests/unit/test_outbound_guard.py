from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.outbound.allow_list import AllowList
from gateway.outbound.deadline import Deadlines
from gateway.outbound.errors import Blocked, NotSent
from gateway.outbound.guard import BAD_PORT, NOT_PUBLIC, Guard
from gateway.outbound.resolve import Resolver, Unresolved
from gateway.outbound.session import Outbound
from tests.servers import RawServer, allow_only_loopback, answering


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_only_loopback(monkeypatch)


class Late(threading.Event):
    """A lookup that has no answer before this is set."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str] | int | Late]]:
    """Names and what becomes of their lookups: addresses, a resolver's error, or an event to wait for."""
    table: dict[str, list[str] | int | Late] = {}
    asked: list[str] = []
    table["asked"] = asked

    def getaddrinfo(host: str, port: int, *_args: object, **_kw: object) -> list[Any]:
        asked.append(host)
        found = table.get(host, socket.EAI_NONAME)
        if isinstance(found, Late):
            found.asked.set()
            found.wait(10)
            found = socket.EAI_AGAIN
        if isinstance(found, int):
            raise socket.gaierror(found, "made up")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield table
    for found in table.values():
        if isinstance(found, Late):
            found.set()


def test_check_takes_a_public_name(names: dict[str, Any]) -> None:
    names["a.example"] = ["93.184.216.34"]
    assert Guard(allow=AllowList()).check("https://a.example/hook") is None


def test_check_says_the_same_of_a_private_name_and_of_one_that_does_not_exist(names: dict[str, Any]) -> None:
    names["private.example"] = ["10.0.0.1"]
    guard = Guard(allow=AllowList())
    assert guard.check("http://private.example/") == guard.check("http://nowhere.example/") == NOT_PUBLIC


@pytest.mark.parametrize("error", [socket.EAI_AGAIN, socket.EAI_FAIL])
def test_check_takes_a_name_when_the_resolver_has_no_answer(names: dict[str, Any], error: int) -> None:
    names["a.example"] = error
    assert Guard(allow=AllowList()).check("http://a.example/") is None


def test_check_takes_a_name_when_the_resolver_does_not_answer_in_time(names: dict[str, Any]) -> None:
    names["slow.example"] = Late()
    assert Guard(allow=AllowList(), check_timeout_s=0.05).check("http://slow.example/") is None


def test_check_lets_others_pass_when_slow_names_take_every_turn(names: dict[str, Any]) -> None:
    names["slow.example"] = Late()
    names["quick.example"] = ["10.0.0.1"]
    guard = Guard(allow=AllowList(), check_timeout_s=5, checks_at_once=1)
    slow = threading.Thread(target=guard.check, args=("http://slow.example/",))
    slow.start()
    assert names["slow.example"].asked.wait(10)
    assert guard.check("http://quick.example/") is None
    names["slow.example"].set()
    slow.join(10)
    assert guard.check("http://quick.example/") == NOT_PUBLIC


def test_check_names_the_ports_that_may_be_used(names: dict[str, Any]) -> None:
    names["a.example"] = ["93.184.216.34"]
    assert Guard(allow=AllowList()).check("http://a.example:25/") == BAD_PORT


def test_check_remembers_a_name_for_a_few_seconds(names: dict[str, Any]) -> None:
    now = [100.0]
    names["a.example"] = ["93.184.216.34"]
    guard = Guard(allow=AllowList(), cache_s=5, clock=lambda: now[0])
    assert guard.check("http://a.example/1") is None
    names["a.example"] = ["10.0.0.1"]
    now[0] = 104.9
    assert guard.check("http://a.example/2") is None
    now[0] = 105.1
    assert guard.check("http://a.example/3") == NOT_PUBLIC


def test_check_remembers_a_bounded_number_of_names(names: dict[str, Any]) -> None:
    guard = Guard(allow=AllowList())
    for port in range(2000, 4000):
        guard.check(f"http://93.184.216.34:{port}/")
    assert len(guard._verdicts) <= 1024


def test_addresses_are_resolved_afresh_whatever_the_intake_remembers(names: dict[str, Any]) -> None:
    names["a.example"] = ["93.184.216.34"]
    guard = Guard(allow=AllowList(), cache_s=3600)
    assert guard.check("http://a.example/") is None
    names["a.example"] = ["10.0.0.1"]
    with pytest.raises(Blocked):
        guard.addresses("a.example", 80, timeout_s=5)


def test_addresses_are_not_to_be_had_when_the_resolver_is_late(names: dict[str, Any]) -> None:
    names["slow.example"] = Late()
    with pytest.raises(NotSent, match="dns"):
        Guard(allow=AllowList()).addresses("slow.example", 80, timeout_s=0.05)


def test_a_blocked_request_tells_the_reason_only_in_its_text(names: dict[str, Any]) -> None:
    with pytest.raises(Blocked) as blocked:
        Guard(allow=AllowList()).admit("http://user:secret@a.example/")
    assert blocked.value.reason == "blocked"
    assert "secret" not in str(blocked.value)


def test_an_allowed_receiver_on_loopback_gets_its_request_and_another_port_does_not() -> None:
    deadlines = Deadlines()
    with RawServer(answering(200, b"ours")) as ours, RawServer(answering(200, b"theirs")) as theirs:
        guard = Guard(allow=AllowList([f"127.0.0.1:{ours.port}"]))
        outbound = Outbound(pool_size=1, deadlines=deadlines, reuse=False, guard=guard)
        assert guard.check(ours.url) is None
        assert outbound.exchange("POST", ours.url, deadline_s=5, max_body=10).body == b"ours"
        assert guard.check(theirs.url) == NOT_PUBLIC
        with pytest.raises(Blocked):
            outbound.exchange("POST", theirs.url, deadline_s=5, max_body=10)
        assert theirs.connections == 0
        outbound.close()
    deadlines.close()


def test_resolver_keeps_half_of_its_threads_free_of_one_domain(names: dict[str, Any]) -> None:
    stuck = Late()
    for index in range(8):
        names[f"n{index}.evil.example"] = stuck
    names["a.good.test"] = ["93.184.216.34"]
    resolver = Resolver(threads=4)
    waiting = [threading.Thread(target=_lookup, args=(resolver, f"n{index}.evil.example")) for index in range(8)]
    for thread in waiting:
        thread.start()
    assert [address.ip for address in resolver.lookup("a.good.test", 80, timeout_s=5)] == ["93.184.216.34"]
    assert sum(host.endswith("evil.example") for host in names["asked"]) <= 2
    stuck.set()
    for thread in waiting:
        thread.join(10)
    resolver.close()


def _lookup(resolver: Resolver, host: str) -> None:
    with pytest.raises(Unresolved):
        resolver.lookup(host, 80, timeout_s=10)


def test_resolver_tells_a_name_that_does_not_exist_from_a_server_that_does_not_answer(names: dict[str, Any]) -> None:
    resolver = Resolver()
    names["again.example"] = socket.EAI_AGAIN
    with pytest.raises(Unresolved) as unknown:
        resolver.lookup("nowhere.example", 80, timeout_s=5)
    with pytest.raises(Unresolved) as unanswered:
        resolver.lookup("again.example", 80, timeout_s=5)
    assert (unknown.value.unknown, unanswered.value.unknown) == (True, False)


def test_resolver_asks_nobody_about_an_address(names: dict[str, Any]) -> None:
    resolver = Resolver()
    assert [resolver.lookup(ip, 80, timeout_s=5)[0].ip for ip in ("127.0.0.1", "::1")] == ["127.0.0.1", "::1"]
    assert names["asked"] == []


def test_closing_one_outbound_leaves_a_shared_guard_to_the_other(names: dict[str, Any]) -> None:
    deadlines = Deadlines()
    guard = Guard(allow=AllowList(["127.0.0.1"]))
    names["receiver.test"] = ["127.0.0.1"]
    first, second = (Outbound(pool_size=1, deadlines=deadlines, guard=guard) for _ in range(2))
    with RawServer(answering(200, b"ours")) as server:
        first.close()
        url = f"http://receiver.test:{server.port}/"
        assert second.exchange("GET", url, deadline_s=5, max_body=10).body == b"ours"
    second.close()
    guard.close()
    deadlines.close()


def test_resolver_answers_nobody_once_it_is_closed(names: dict[str, Any]) -> None:
    resolver = Resolver()
    resolver.close()
    with pytest.raises(Unresolved):
        resolver.lookup("a.example", 80, timeout_s=60)
