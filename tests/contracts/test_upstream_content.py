"""What every dialect must do about a finished video's content: find it, prove it, and notice when it breaks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.outbound.session import Outbound
from gateway.upstreams import port
from gateway.upstreams.content import REDIRECTS_MAX, Limits
from gateway.upstreams.dialects import DIALECTS, named
from tests.servers import Conversation, RawServer, Request, head, trap
from tests.upstreams import (
    API,
    CDN,
    KEY,
    MP4,
    ODD_ID,
    SECRET,
    WAIT_S,
    WEBM,
    Bench,
    Handler,
    cut_after,
    each,
    leads_to,
    read_all,
    resets,
    says,
    then_silence,
)


@pytest.fixture(params=DIALECTS)
def bench(request: pytest.FixtureRequest, outbounds: dict[str, Outbound]) -> Bench:
    return Bench(dialect=DIALECTS[request.param], **outbounds)


@pytest.fixture
def openai(outbounds: dict[str, Outbound]) -> Bench:
    return Bench(dialect=DIALECTS["openai"], **outbounds)


def test_content_gives_every_byte_when_all_is_well(bench: Bench) -> None:
    with (
        RawServer(each(says(200, MP4, content_type="application/octet-stream"))) as server,
        bench.at(server).content(ODD_ID, KEY, urls=()) as content,
    ):
        assert isinstance(content, port.Content)
        assert (content.length, content.content_type) == (len(MP4), "video/mp4")
        assert read_all(content) == MP4
        assert content.readinto(memoryview(bytearray(10))) == 0
        sent = server.request()
    assert sent.target == bench.target(f"/v1/videos/video_bGl0%2FPn4%3D{bench.dialect.content_path}")
    name, value = bench.key_header
    assert sent.headers[name] == value


@pytest.mark.parametrize("block", [1, 5, 12, 13, 100_000])
def test_content_is_whole_whatever_the_buffer_s_size(openai: Bench, block: int) -> None:
    with (
        RawServer(each(says(200, MP4[:600]))) as server,
        openai.at(server).content("v", KEY, urls=()) as content,
    ):
        assert isinstance(content, port.Content)
        assert read_all(content, block) == MP4[:600]


def test_content_has_no_length_when_it_comes_in_chunks(bench: Bench) -> None:
    def chunked(conversation: Conversation, _: Request) -> None:
        conversation.send(head(200, {"transfer-encoding": "chunked"}))
        for start in range(0, len(WEBM), 7):
            piece = WEBM[start : start + 7]
            conversation.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        conversation.send(b"0\r\n\r\n")

    with RawServer(each(chunked)) as server, bench.at(server).content("v", KEY, urls=()) as content:
        assert isinstance(content, port.Content)
        assert (content.length, content.content_type) == (None, "video/webm")
        assert read_all(content) == WEBM


@pytest.mark.parametrize(
    "body", [b"<html>Welcome</html>", b'{"error": {"message": "x"}}', b"", b"\0\0\0", b"\x89PNG\r\n\x1a\n" + b"\0" * 50]
)
def test_content_is_invalid_when_200_brings_no_video(bench: Bench, body: bytes) -> None:
    with (
        RawServer(each(says(200, body, content_type="video/mp4"))) as server,
        bench.at(server).content("v", KEY, urls=()) as outcome,
    ):
        assert isinstance(outcome, port.ContentNotReady)
        assert outcome.invalid


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (cut_after(MP4[:5000], of=len(MP4)), "short"),
        (
            lambda conversation, _: (
                conversation.send(head(200, {"content-length": str(len(MP4))}) + MP4[:5000]),
                conversation.wait_until_closed(),
            ),
            "timeout",
        ),
    ],
    ids=["cut", "stalled"],
)
def test_content_breaks_when_the_download_does(bench: Bench, handler: Handler, said: str) -> None:
    limits = Limits(stall_s=WAIT_S)
    with RawServer(each(handler)) as server, bench.at(server, limits=limits).content("v", KEY, urls=()) as content:
        assert isinstance(content, port.Content)
        with pytest.raises(port.ContentBroken, match=f"after 5000 bytes: {said}"):
            read_all(content)


def test_content_breaks_when_it_outlasts_its_deadline(openai: Bench) -> None:
    def slow(conversation: Conversation, _: Request) -> None:
        conversation.send(head(200, {"content-length": str(len(MP4))}) + MP4[:100])
        conversation.drip(MP4[100:], every_s=WAIT_S / 8)

    limits = Limits(deadline_s=WAIT_S)
    with RawServer(each(slow)) as server, openai.at(server, limits=limits).content("v", KEY, urls=()) as content:
        assert isinstance(content, port.Content)
        with pytest.raises(port.ContentBroken, match="timeout"):
            read_all(content)


def test_content_breaks_when_it_is_larger_than_any_video(openai: Bench) -> None:
    limits = Limits(size=5000)
    with (
        RawServer(each(says(200, MP4))) as server,
        openai.at(server, limits=limits).content("v", KEY, urls=()) as content,
    ):
        assert isinstance(content, port.Content)
        with pytest.raises(port.ContentBroken, match="larger than 5000 bytes"):
            read_all(content)


def test_content_is_not_ready_when_its_first_bytes_do_not_come(openai: Bench) -> None:
    limits = Limits(first_byte_s=WAIT_S, stall_s=WAIT_S)
    silent = then_silence(head(200, {"content-length": "5000"}) + MP4[:4])
    with RawServer(each(silent)) as server, openai.at(server, limits=limits).content("v", KEY, urls=()) as outcome:
        assert isinstance(outcome, port.ContentNotReady)
        assert (outcome.reason, outcome.invalid) == ("timeout", False)


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (says(404, {"error": {"message": "Video not found"}}), port.ContentMissing),
        (says(410), port.ContentMissing),
        (says(404, {"detail": "Generation is still in-progress"}), port.ContentNotReady),
        (says(400, {"error": {"message": "not completed"}}), port.ContentNotReady),
        (says(502, b"<html>"), port.ContentNotReady),
        (says(401, b"{}"), port.KeyRefused),
        (resets, port.ContentNotReady),
    ],
    ids=["404", "410", "404 unfinished", "400", "502", "401", "reset"],
)
def test_content_tells_what_stands_in_the_way(bench: Bench, handler: Handler, kind: type) -> None:
    with RawServer(each(handler)) as server, bench.at(server).content("v", KEY, urls=()) as outcome:
        assert isinstance(outcome, kind)


def test_content_follows_a_redirect_of_its_own_origin_with_the_key(bench: Bench) -> None:
    with (
        RawServer(each(leads_to("/files/1.mp4"), says(200, MP4))) as server,
        bench.at(server).content("v", KEY, urls=()) as content,
    ):
        assert isinstance(content, port.Content)
        server.request()
        name, value = bench.key_header
        assert server.request().headers[name] == value


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_content_follows_a_redirect_elsewhere_without_the_key(bench: Bench, status: int) -> None:
    with RawServer(each(says(200, MP4))) as cdn:
        elsewhere = leads_to(f"http://{CDN}:{cdn.port}/v.mp4?sig=1", status)
        dialect = named(bench.dialect.facts.name, auth="header:api-key")
        with (
            RawServer(each(elsewhere)) as server,
            bench.at(server, dialect=dialect).content("v", KEY, urls=()) as content,
        ):
            assert isinstance(content, port.Content)
            assert read_all(content) == MP4
            sent = cdn.request()
    assert sent.target == "/v.mp4?sig=1"
    assert SECRET not in repr(sent)


def test_content_sends_no_key_to_another_port_of_the_upstream_s_host(openai: Bench) -> None:
    with (
        RawServer(each(says(200, MP4))) as other,
        RawServer(each(leads_to(f"http://{API}:{other.port}/v.mp4"))) as server,
        openai.at(server).content("v", KEY, urls=()) as outcome,
    ):
        # Not on the list of the guarded session, so nothing is sent there at all.
        assert isinstance(outcome, port.ContentNotReady)
        assert other.connections == 0


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/v.mp4", "http://127.0.0.1:{port}\\@api.upstream.test/"])
def test_content_goes_nowhere_when_a_public_upstream_points_into_our_network(bench: Bench, target: str) -> None:
    with RawServer(trap) as inside, RawServer(each(leads_to(target.format(port=inside.port)))) as server:
        with bench.at(server).content("v", KEY, urls=()) as outcome:
            assert isinstance(outcome, port.ContentNotReady)
            assert outcome.reason == "blocked"
        assert inside.connections == 0


def test_content_may_lie_on_our_network_when_the_upstream_does(bench: Bench) -> None:
    with (
        RawServer(each(says(200, MP4))) as store,
        RawServer(each(leads_to(f"{store.url}/v.mp4"))) as server,
        bench.at(url=f"{server.url}/v1").content("v", KEY, urls=()) as content,
    ):
        assert isinstance(content, port.Content)
        assert bench.key_header[0] not in store.request().headers


def test_content_is_not_ready_when_redirects_go_in_circles(bench: Bench) -> None:
    with RawServer(each(leads_to("/again"))) as server:
        with bench.at(server).content("v", KEY, urls=()) as outcome:
            assert isinstance(outcome, port.ContentNotReady)
            assert outcome.reason == "too many redirects"
        assert server.requests.qsize() == REDIRECTS_MAX + 1


def test_content_comes_from_the_job_s_own_link_when_the_path_has_none(bench: Bench) -> None:
    with RawServer(each(says(200, MP4))) as cdn, RawServer(each(says(400, b"{}"))) as server:
        urls = [f"http://{CDN}:{cdn.port}/v.mp4?sig=1"]
        with bench.at(server).content("v", KEY, urls=urls) as content:
            assert isinstance(content, port.Content)
            assert bench.key_header[0] not in cdn.request().headers


def test_content_looks_at_the_links_first_when_the_dialect_says_so(openai: Bench) -> None:
    dialect = replace(openai.dialect, content_first="urls")
    with RawServer(each(says(200, MP4))) as cdn, RawServer(trap) as server:
        urls = [f"http://{CDN}:{cdn.port}/v.mp4"]
        with openai.at(server, dialect=dialect).content("v", KEY, urls=urls) as content:
            assert isinstance(content, port.Content)
        assert server.connections == 0


@pytest.mark.parametrize(
    ("path", "link", "kind"),
    [
        (says(404), says(404), port.ContentMissing),
        (says(404), says(403), port.ContentNotReady),
        (says(404), says(503), port.ContentNotReady),
        (says(503), says(404), port.ContentNotReady),
        (says(401), says(503), port.KeyRefused),
    ],
    ids=["both missing", "link expired", "link busy", "path busy", "key refused"],
)
def test_content_is_missing_only_when_every_place_says_so(
    bench: Bench, path: Handler, link: Handler, kind: type
) -> None:
    with (
        RawServer(each(link)) as cdn,
        RawServer(each(path)) as server,
        bench.at(server).content("v", KEY, urls=[f"http://{CDN}:{cdn.port}/v.mp4"]) as outcome,
    ):
        assert isinstance(outcome, kind)


def test_content_hangs_up_when_it_is_left_unread(bench: Bench) -> None:
    closed: list[bool] = []

    def watched(conversation: Conversation, _: Request) -> None:
        conversation.send(head(200, {"content-length": str(1 << 30)}) + MP4)
        closed.append(conversation.wait_until_closed())

    with RawServer(each(watched)) as server:
        with bench.at(server).content("v", KEY, urls=()) as content:
            assert isinstance(content, port.Content)
        server.request()
        for thread in server._threads:
            thread.join(10)
    assert closed == [True]


def test_content_hangs_up_when_the_reader_fails(openai: Bench) -> None:
    with (
        RawServer(each(says(200, MP4))) as server,
        pytest.raises(RuntimeError, match="the bucket is full"),
        openai.at(server).content("v", KEY, urls=()),
    ):
        raise RuntimeError("the bucket is full")
