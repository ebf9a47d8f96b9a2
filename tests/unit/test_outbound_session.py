from __future__ import annotations

import gc
import io
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.outbound.deadline import Deadlines
from gateway.outbound.session import AnswerLost, NotSent, Outbound, Reply, Stream
from tests.servers import Conversation, RawServer, Script, allow_only_loopback, answering, head, self_signed, trap


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_only_loopback(monkeypatch)


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    made = Deadlines()
    yield made
    made.close()


@pytest.fixture
def outbound(deadlines: Deadlines) -> Iterator[Outbound]:
    made = Outbound(pool_size=4, deadlines=deadlines)
    yield made
    made.close()


def get(outbound: Outbound, url: str, *, deadline_s: float = 10, max_body: int = 1 << 20) -> Reply:
    return outbound.exchange("GET", url, deadline_s=deadline_s, max_body=max_body)


# -- whole answers -----------------------------------------------------------------------------------------------------


def test_exchange_returns_status_headers_body_and_peer(outbound: Outbound) -> None:
    with RawServer(answering(201, b"made", X_Kind="one")) as server:
        reply = get(outbound, server.url)
    assert (reply.status, reply.body, reply.truncated, reply.peer) == (201, b"made", False, "127.0.0.1")
    assert reply.headers["x-kind"] == reply.headers["X-KIND"] == "one"
    assert 0 < reply.elapsed_s < 10


def test_exchange_says_nothing_of_itself_but_its_name_and_wants_no_compression(outbound: Outbound) -> None:
    with RawServer(answering()) as server:
        get(outbound, server.url)
        sent = server.request().headers
    assert sent["accept-encoding"] == "identity"
    assert sent["user-agent"] == "Sora-Gateway"
    assert "cookie" not in sent


def test_exchange_reads_a_chunked_body_whole(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        while conversation.read_request():
            conversation.send(head(200, {"transfer-encoding": "chunked"}) + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")

    with RawServer(script) as server:
        assert [get(outbound, server.url).body for _ in range(3)] == [b"abcdefg"] * 3
        assert server.connections == 1


def test_exchange_reads_to_the_end_of_the_connection_when_the_answer_names_no_length(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000)

    with RawServer(script) as server:
        assert len(get(outbound, server.url).body) == 100_000


def test_exchange_cuts_a_body_at_the_limit_and_closes_the_connection(outbound: Outbound) -> None:
    closed: list[bool] = []

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(200, {"content-length": "1000000000"}) + b"x" * 5000)
        closed.append(conversation.wait_until_closed())

    with RawServer(script) as server:
        reply = get(outbound, server.url, max_body=100)
        server.wait_until_served()
    assert (len(reply.body), reply.truncated) == (100, True)
    assert closed == [True]


def test_exchange_is_not_truncated_when_the_body_is_as_long_as_the_limit(outbound: Outbound) -> None:
    with RawServer(answering(200, b"x" * 100)) as server:
        replies = [get(outbound, server.url, max_body=100) for _ in range(2)]
        assert [(len(reply.body), reply.truncated) for reply in replies] == [(100, False)] * 2
        assert server.connections == 1


def test_exchange_keeps_no_cookies(outbound: Outbound) -> None:
    with RawServer(answering(200, b"", Set_Cookie="a=b; Path=/")) as server:
        get(outbound, server.url)
        get(outbound, server.url)
        server.request()
        assert "cookie" not in server.request().headers


def test_exchange_gives_back_a_redirect_without_following_or_preparing_it(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(302, {"location": target.url, "content-length": "1000000000"}) + b"x" * 5000)
        conversation.wait_until_closed()

    with RawServer(trap) as target, RawServer(script) as server:
        reply = get(outbound, server.url, max_body=100)
        assert (reply.status, reply.truncated) == (302, True)
        assert target.connections == 0


def test_exchange_ignores_proxies_of_the_environment(outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(trap) as proxy, RawServer(answering(200, b"direct")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert get(outbound, server.url).body == b"direct"
        assert proxy.connections == 0


@pytest.mark.parametrize("block_size", [1000, 65536])
def test_exchange_streams_a_sized_source_with_its_length(deadlines: Deadlines, block_size: int) -> None:
    class Source:
        def __init__(self) -> None:
            self.reads: list[int] = []
            self.inner = io.BytesIO(b"z" * 200_000)

        def __len__(self) -> int:
            return 200_000

        def read(self, size: int) -> bytes:
            self.reads.append(size)
            return self.inner.read(size)

    source = Source()
    outbound = Outbound(pool_size=1, deadlines=deadlines, block_size=block_size)
    with RawServer(answering()) as server:
        outbound.exchange("PUT", server.url, deadline_s=10, max_body=10, data=source)
        request = server.request()
    outbound.close()
    assert (request.headers["content-length"], len(request.body)) == ("200000", 200_000)
    assert set(source.reads) == {block_size}


def test_exchange_passes_through_what_a_source_raises_and_the_connection_is_closed(outbound: Outbound) -> None:
    class Broken(Exception):
        pass

    class Source:
        def __len__(self) -> int:
            return 1000

        def read(self, size: int) -> bytes:
            raise Broken

    heads: list[bool] = []

    def script(conversation: Conversation) -> None:
        heads.append(conversation.read_head() is not None)
        conversation.wait_until_closed()

    with RawServer(script) as server:
        with pytest.raises(Broken):
            outbound.exchange("PUT", server.url, deadline_s=10, max_body=10, data=Source())
        server.wait_until_served()
        assert heads == [True]


def test_exchange_reads_an_early_answer_when_the_server_refuses_the_body(outbound: Outbound) -> None:
    class Endless:
        def __len__(self) -> int:
            return 1 << 30

        def read(self, size: int) -> bytes:
            return b"x" * size

    def script(conversation: Conversation) -> None:
        conversation.read_head()
        conversation.answer(413, b"too much")
        conversation.sock.shutdown(socket.SHUT_WR)
        # Reading on for a moment, as servers do, so that the answer is not lost to a reset.
        for _ in range(64):
            conversation.sock.recv(65536)

    with RawServer(script) as server:
        try:
            status = outbound.exchange("PUT", server.url, deadline_s=10, max_body=10, data=Endless()).status
        except AnswerLost as lost:
            status = lost.reason
    assert status in {413, "reset"}


# -- deadlines ---------------------------------------------------------------------------------------------------------


def dripping_head(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.drip(b"HTTP/1.1 200 OK\r\nx-slow: " + b"y" * 10_000, every_s=0.02)


def dripping_body(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(head(200, {"content-length": "10000"}))
    conversation.drip(b"y" * 10_000, every_s=0.02)


def dripping_unsized_body(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(head(200, {"connection": "close"}))
    conversation.drip(b"y" * 10_000, every_s=0.02)


def dripping_chunks(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(head(200, {"transfer-encoding": "chunked"}))
    conversation.drip(b"1\r\ny\r\n" * 10_000, every_s=0.02)


def silent(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.wait_until_closed()


SLOW = [dripping_head, dripping_body, dripping_unsized_body, dripping_chunks, silent]


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


# -- sent or not -------------------------------------------------------------------------------------------------------


def test_exchange_was_not_sent_when_the_connection_is_refused(outbound: Outbound) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSent, match="refused"):
        get(outbound, f"http://127.0.0.1:{port}/")


def test_exchange_was_not_sent_when_the_name_does_not_exist(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*args: object, **kw: object) -> list:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(NotSent, match="dns"):
        get(outbound, "http://nowhere.example/")


def test_exchange_was_not_sent_when_the_certificate_is_nobodys(outbound: Outbound, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    with RawServer(answering(), tls=certificate.server) as server:
        with pytest.raises(NotSent, match="tls"):
            get(outbound, server.url)
        assert server.requests.empty()


def test_exchange_was_not_sent_when_the_certificate_names_another_host(deadlines: Deadlines, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "elsewhere.example")
    outbound = Outbound(pool_size=1, deadlines=deadlines, tls=certificate.trusting)
    with RawServer(answering(), tls=certificate.server) as server, pytest.raises(NotSent, match="tls"):
        get(outbound, server.url)
    outbound.close()


def test_exchange_works_over_tls_with_kept_connections(deadlines: Deadlines, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path, "localhost", "127.0.0.1")
    outbound = Outbound(pool_size=1, deadlines=deadlines, tls=certificate.trusting)
    with RawServer(answering(200, b"safe"), tls=certificate.server) as server:
        assert [get(outbound, server.url).body for _ in range(3)] == [b"safe"] * 3
        assert server.connections == 1
    outbound.close()


def test_exchange_was_not_sent_when_the_scheme_is_unknown(outbound: Outbound) -> None:
    with pytest.raises(NotSent, match="invalid"):
        get(outbound, "ftp://127.0.0.1/")


def test_exchange_was_not_sent_when_a_header_would_break_the_request(outbound: Outbound) -> None:
    with RawServer(answering()) as server:
        with pytest.raises(NotSent, match="invalid"):
            outbound.exchange("GET", server.url, deadline_s=5, max_body=1, headers={"x": "a\r\nevil: 1"})
        assert server.requests.empty()


def test_exchange_asks_once_after_connecting_and_sends_nothing_when_told_not_to(outbound: Outbound) -> None:
    asked: list[int] = []
    heard: list[bytes] = []

    def script(conversation: Conversation) -> None:
        heard.append(conversation.sock.recv(65536))

    def before_send() -> bool:
        asked.append(server.connections)
        return False

    with RawServer(script) as server:
        with pytest.raises(NotSent) as refused:
            outbound.exchange("POST", server.url, deadline_s=10, max_body=10, data=b"x", before_send=before_send)
        server.wait_until_served()
    assert refused.value.declined
    assert len(asked) == 1
    assert heard == [b""]


def test_exchange_asks_once_when_the_body_goes_out_in_many_blocks(outbound: Outbound) -> None:
    asked: list[bool] = []
    with RawServer(answering()) as server:
        outbound.exchange(
            "POST",
            server.url,
            deadline_s=10,
            max_body=10,
            data=b"x" * 500_000,
            before_send=lambda: asked.append(True) is None,
        )
    assert asked == [True]


def test_exchange_sends_nothing_when_the_deadline_passed_while_it_was_asked(outbound: Outbound) -> None:
    heard: list[bytes] = []

    def script(conversation: Conversation) -> None:
        heard.append(conversation.sock.recv(65536))

    def before_send() -> bool:
        return not threading.Event().wait(0.2)

    with RawServer(script) as server:
        with pytest.raises(NotSent, match="timeout"):
            outbound.exchange("POST", server.url, deadline_s=0.1, max_body=10, before_send=before_send)
        server.wait_until_served()
    assert heard == [b""]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "reset"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", "short"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\nabc", "malformed"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", "short"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab", "short"),
    ],
)
def test_exchange_loses_the_answer_when_it_is_not_whole(outbound: Outbound, said: bytes, reason: str) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(said)

    with RawServer(script) as server, pytest.raises(AnswerLost) as lost:
        outbound.exchange("POST", server.url, deadline_s=10, max_body=1000, data=b"x")
    assert lost.value.reason == reason


def test_exchange_loses_the_answer_when_the_peer_resets(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.reset()

    with RawServer(script) as server, pytest.raises(AnswerLost, match="reset"):
        get(outbound, server.url)


# -- kept connections --------------------------------------------------------------------------------------------------


def closes_on_the_second(conversation: Conversation) -> None:
    """Answers one request; takes a second one on the same connection and hangs up."""
    conversation.read_request()
    conversation.answer(200, b"ok")
    conversation.read_request()


def test_get_is_sent_again_when_a_kept_connection_turns_out_to_be_closed(outbound: Outbound) -> None:
    with RawServer(closes_on_the_second) as server:
        assert get(outbound, server.url).body == b"ok"
        assert get(outbound, server.url).body == b"ok"
        assert server.connections == 2
        assert server.requests.qsize() == 3


def test_get_is_not_sent_again_when_a_new_connection_brings_no_answer(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()

    with RawServer(script) as server:
        with pytest.raises(AnswerLost, match="reset"):
            get(outbound, server.url)
        assert server.connections == 1


def test_post_is_never_sent_again_when_a_kept_connection_turns_out_to_be_closed(outbound: Outbound) -> None:
    with RawServer(closes_on_the_second) as server:
        outbound.exchange("POST", server.url, deadline_s=10, max_body=10, data=b"1")
        with pytest.raises(AnswerLost, match="reset"):
            outbound.exchange("POST", server.url, deadline_s=10, max_body=10, data=b"2")
        assert server.connections == 1
        assert server.requests.qsize() == 2


def test_every_call_has_a_connection_of_its_own_without_reuse(deadlines: Deadlines) -> None:
    outbound = Outbound(pool_size=2, deadlines=deadlines, reuse=False)
    with RawServer(answering(200, b"ok")) as server:
        for _ in range(3):
            outbound.exchange("POST", server.url, deadline_s=10, max_body=10, data=b"1")
        assert server.connections == 3
        assert server.request().headers["connection"] == "close"
    outbound.close()


@pytest.mark.parametrize("reuse", [True, False])
def test_no_descriptor_is_left_open_whatever_became_of_the_calls(deadlines: Deadlines, reuse: bool) -> None:
    def script(conversation: Conversation) -> None:
        while request := conversation.read_request():
            if request.target == "/reset":
                conversation.reset()
                return
            if request.target == "/short":
                conversation.send(head(200, {"content-length": "10"}))
                return
            conversation.answer(200, b"x" * 50_000)

    outbound = Outbound(pool_size=2, deadlines=deadlines, reuse=reuse)
    with RawServer(script) as server:
        before = open_descriptors()
        for path in ("/", "/reset", "/short", "/") * 5:
            try:
                outbound.exchange("POST", server.url + path, deadline_s=10, max_body=100 if path == "/" else 1 << 20)
            except AnswerLost:
                continue
        outbound.close()
        for thread in server._threads:
            thread.join(10)
        gc.collect()
        assert open_descriptors() <= before


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_threads_share_one_outbound(outbound: Outbound) -> None:
    with RawServer(answering(200, b"ok")) as server:
        bodies: list[bytes] = []

        def work() -> None:
            bodies.extend(get(outbound, server.url).body for _ in range(10))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert bodies == [b"ok"] * 40
        assert server.connections <= 4


# -- addresses ---------------------------------------------------------------------------------------------------------


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[socket.AddressFamily, str, int]) -> None:
    def getaddrinfo(host: str, port: int, *args: object, **kw: object) -> list:
        return [(family, socket.SOCK_STREAM, 6, "", (ip, at)) for family, ip, at in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_the_next_address_is_tried_when_the_first_refuses(outbound: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(answering(200, b"second")) as server:
        with socket.create_server(("127.0.0.2", 0)) as listener:
            dead = listener.getsockname()[1]
        resolving_to(monkeypatch, (socket.AF_INET, "127.0.0.2", dead), (socket.AF_INET, "127.0.0.1", server.port))
        reply = get(outbound, f"http://two.example:{server.port}/")
    assert (reply.body, reply.peer) == (b"second", "127.0.0.1")


def test_an_ipv4_address_is_tried_when_four_ipv6_addresses_come_first_and_are_dead(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(answering(200, b"four")) as server:
        dead = [(socket.AF_INET6, "::1", 1)] * 4
        distinct = [(family, ip, 1 + index) for index, (family, ip, _) in enumerate(dead)]
        resolving_to(monkeypatch, *distinct, (socket.AF_INET, "127.0.0.1", server.port))
        assert get(outbound, f"http://both.example:{server.port}/").body == b"four"


def test_an_ipv6_address_is_reached_by_name_and_in_brackets(
    outbound: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        server = RawServer(answering(200, b"six"), host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with server:
        reply = get(outbound, server.url)
        assert (reply.body, reply.peer) == (b"six", "::1")
        assert server.request().headers["host"] == f"[::1]:{server.port}"


# -- streams -----------------------------------------------------------------------------------------------------------


def read_all(stream: Stream) -> bytes:
    block = memoryview(bytearray(65536))
    return b"".join(iter(lambda: bytes(block[: stream.readinto(block)]), b""))


def test_stream_gives_the_body_in_pieces_as_they_come(outbound: Outbound) -> None:
    go_on = threading.Event()

    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(200, {"content-length": "6"}) + b"abc")
        go_on.wait(10)
        conversation.send(b"def")

    with (
        RawServer(script) as server,
        outbound.stream("GET", server.url, first_byte_s=10, stall_s=10, deadline_s=None) as stream,
    ):
        block = memoryview(bytearray(100))
        assert stream.length == 6
        assert bytes(block[: stream.readinto(block)]) == b"abc"
        go_on.set()
        assert stream.read_up_to(100) == b"def"
        assert stream.readinto(block) == 0


def test_stream_keeps_the_connection_when_read_to_its_end_and_closes_it_when_not(outbound: Outbound) -> None:
    with RawServer(answering(200, b"x" * 100_000)) as server:
        for read, connections in ((True, 1), (True, 1), (False, 1), (True, 2)):
            with outbound.stream("GET", server.url, first_byte_s=10, stall_s=10, deadline_s=None) as stream:
                assert not read or len(read_all(stream)) == 100_000
            assert server.connections == connections


def test_stream_goes_on_past_the_limit_of_its_first_byte(outbound: Outbound) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(200, {"content-length": "30"}))
        conversation.drip(b"y" * 30, every_s=0.02)

    with (
        RawServer(script) as server,
        outbound.stream("GET", server.url, first_byte_s=0.3, stall_s=5, deadline_s=None) as stream,
    ):
        assert len(read_all(stream)) == 30


@pytest.mark.parametrize(("stall_s", "deadline_s"), [(0.2, None), (10, 0.3)])
def test_stream_is_lost_when_it_stalls_or_its_deadline_passes(
    outbound: Outbound, stall_s: float, deadline_s: float | None
) -> None:
    def script(conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(head(200, {"content-length": "10"}) + b"abc")
        conversation.wait_until_closed()

    started = time.monotonic()
    with (
        RawServer(script) as server,
        pytest.raises(AnswerLost, match="timeout"),
        outbound.stream("GET", server.url, first_byte_s=10, stall_s=stall_s, deadline_s=deadline_s) as stream,
    ):
        read_all(stream)
    assert time.monotonic() - started < 3


def test_stream_is_lost_when_its_deadline_passes_while_it_drips(outbound: Outbound) -> None:
    with (
        RawServer(dripping_unsized_body) as server,
        pytest.raises(AnswerLost, match="timeout"),
        outbound.stream("GET", server.url, first_byte_s=10, stall_s=10, deadline_s=0.3) as stream,
    ):
        read_all(stream)


def test_stream_is_lost_when_the_head_is_late(outbound: Outbound) -> None:
    with (
        RawServer(silent) as server,
        pytest.raises(AnswerLost, match="timeout"),
        outbound.stream("GET", server.url, first_byte_s=0.2, stall_s=10, deadline_s=None),
    ):
        pytest.fail("there was no answer")


def test_a_stream_can_be_the_body_of_another_request(outbound: Outbound) -> None:
    class Source:
        def __init__(self, stream: Stream) -> None:
            self.stream = stream

        def __len__(self) -> int:
            return self.stream.length

        def read(self, size: int) -> bytes:
            return self.stream.read_up_to(size)

    with RawServer(answering(200, b"v" * 300_000)) as upstream, RawServer(answering(200, b"kept")) as store:
        with outbound.stream("GET", upstream.url, first_byte_s=10, stall_s=10, deadline_s=None) as stream:
            reply = outbound.exchange("PUT", store.url, deadline_s=10, max_body=10, data=Source(stream))
        assert reply.body == b"kept"
        assert store.request().body == b"v" * 300_000
