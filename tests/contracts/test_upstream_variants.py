"""Pictures beside a finished video: asked for by name, known by their first bytes, and never waited for long."""

from __future__ import annotations

import time

import pytest

from gateway.outbound.session import Outbound
from gateway.upstreams import port
from gateway.upstreams.content import picture
from gateway.upstreams.dialects import DIALECTS
from tests.servers import RawServer, head
from tests.upstreams import (
    CDN,
    KEY,
    MP4,
    ODD_ID,
    WAIT_S,
    Bench,
    dripping,
    each,
    leads_to,
    read_all,
    resets,
    says,
    then_silence,
)

WEBP = b"RIFF\x24\0\0\0WEBPVP8 " + b"small" * 20
JPEG = b"\xff\xd8\xff\xe0" + b"sheet" * 30
PNG = b"\x89PNG\r\n\x1a\n" + b"other" * 10
ABLE = [name for name, dialect in DIALECTS.items() if dialect.facts.variants]


@pytest.fixture(params=ABLE)
def bench(request: pytest.FixtureRequest, outbounds: dict[str, Outbound]) -> Bench:
    return Bench(dialect=DIALECTS[request.param], **outbounds)


def test_the_dialects_that_keep_openai_s_spelling_have_both() -> None:
    assert {name: DIALECTS[name].facts.variants for name in sorted(ABLE)} == {
        "azure": ("thumbnail", "spritesheet"),
        "openai": ("thumbnail", "spritesheet"),
    }


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [("thumbnail", WEBP, "image/webp"), ("spritesheet", JPEG, "image/jpeg"), ("thumbnail", PNG, "image/png")],
)
def test_a_variant_is_asked_for_by_name_and_is_what_its_bytes_are(
    bench: Bench, name: str, data: bytes, kind: str
) -> None:
    with (
        RawServer(each(says(200, data, content_type="application/octet-stream"))) as server,
        bench.at(server).variant(ODD_ID, KEY, name, within_s=10) as outcome,
    ):
        assert isinstance(outcome, port.Content)
        assert (outcome.length, outcome.content_type) == (len(data), kind)
        assert read_all(outcome) == data
        sent = server.request()
    path, _, query = sent.target.partition("?")
    assert path == "/v1/videos/video_bGl0%2FPn4%3D/content"
    expected = {**dict(bench.dialect.query), "variant": name}
    assert dict(pair.split("=") for pair in query.split("&")) == expected
    assert sent.headers[bench.key_header[0]] == bench.key_header[1]


def test_the_video_itself_is_never_asked_for_as_a_variant(bench: Bench) -> None:
    with RawServer(each(says(200, MP4))) as server, bench.at(server).content("v", KEY, urls=()):
        assert "variant" not in server.request().target


def test_an_upstream_that_sends_the_whole_video_all_the_same_has_no_picture(bench: Bench) -> None:
    with RawServer(each(says(200, MP4))) as server, bench.at(server).variant("v", KEY, "thumbnail", within_s=10) as it:
        assert isinstance(it, port.ContentNotReady)
        assert (it.reason, it.invalid) == ("not a picture", True)


def test_a_redirect_to_another_host_is_followed_without_the_key(bench: Bench) -> None:
    name, _ = bench.key_header
    with RawServer(each(says(200, WEBP))) as cdn:
        with (
            RawServer(each(leads_to(f"http://{CDN}:{cdn.port}/t.webp?sig=1"))) as server,
            bench.at(server).variant("v", KEY, "thumbnail", within_s=10) as outcome,
        ):
            assert isinstance(outcome, port.Content)
            assert read_all(outcome) == WEBP
        assert name not in cdn.request().headers


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (says(404, {"error": {"message": "no such variant"}}), port.ContentMissing),
        (says(400, {"error": {"message": "Invalid variant"}}), port.ContentNotReady),
        (says(500), port.ContentNotReady),
        (says(401, {"error": {"code": "invalid_api_key"}}), port.KeyRefused),
        (resets, port.ContentNotReady),
    ],
)
def test_what_is_no_picture_is_told_by_what_was_answered(bench: Bench, handler: object, kind: type) -> None:
    with (
        RawServer(each(handler)) as server,  # type: ignore[arg-type]
        bench.at(server).variant("v", KEY, "thumbnail", within_s=10) as outcome,
    ):
        assert isinstance(outcome, kind)


def test_one_that_does_not_come_in_time_is_given_up_then(bench: Bench) -> None:
    began = time.monotonic()
    with (
        RawServer(each(then_silence(b""))) as server,
        bench.at(server).variant("v", KEY, "thumbnail", within_s=WAIT_S) as outcome,
    ):
        assert isinstance(outcome, port.ContentNotReady)
    with (
        RawServer(each(dripping(head(200, {"content-length": "9999"}) + WEBP * 99))) as server,
        bench.at(server).variant("v", KEY, "thumbnail", within_s=WAIT_S) as outcome,
    ):
        if isinstance(outcome, port.Content):
            with pytest.raises(port.ContentBroken):
                read_all(outcome)
    assert time.monotonic() - began < 30


def test_a_picture_is_known_by_its_first_bytes_alone() -> None:
    assert [picture(data[:12]) for data in (WEBP, JPEG, PNG, MP4, b"RIFF....AVI ", b"")] == [
        "image/webp", "image/jpeg", "image/png", None, None, None,
    ]  # fmt: skip
