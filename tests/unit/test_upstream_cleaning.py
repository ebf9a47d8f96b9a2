"""Cleaning: what of an upstream's words reaches a client, and what an event keeps."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.cleaning import BODY_MAX, MESSAGE_MAX, Cleaner

KEY = "a-key-without-any-known-form"
CLEAN = Cleaner(secrets=(KEY,), names=("api.provider.example", "video_abc"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Your prompt was refused.", "Your prompt was refused."),
        ("Size must be 1280x720 or 720x1280, seconds 4/8/12.", "Size must be 1280x720 or 720x1280, seconds 4/8/12."),
        ("Expected an image/png and/or a prompt", "Expected an image/png and/or a prompt"),
        ("The model sora-2-2025-10-06 is gone", "The model sora-2-2025-10-06 is gone"),
        ("Model Wan-AI/Wan2.2-T2V-A14B-Diffusers", "Model Wan-AI/Wan2.2-T2V-A14B-Diffusers"),
        ("two\nlines\tand \x00\x1b[31mred", "two lines and [31mred"),
        ("see https://u:p@h.example/a/b?sig=1#x now", "see [link] now"),
        ("use s3://bucket/key?x=1", "use [link]"),
        (f"bad key {KEY}!", "bad key [hidden]!"),
        ("Incorrect API key provided: sk-abcdef1234567890", "Incorrect API key provided: [key]"),
        ("header was Bearer abcdefgh12345", "header was Bearer [key]"),
        ("video_abc failed at api.provider.example", "[hidden] failed at [hidden]"),
        ("video_68d7512d07848190b3e45da0ecbebcde failed", "[id] failed"),
        ("request req_011CSbLxkf and 3d1608a6-9bbc-4d04-ac47-f63574c5242b", "request [id] and [id]"),
        ("could not write /data/outputs/out.mp4", "could not write [path]"),
        (r"could not write C:\models\wan\x.bin", "could not write [path]"),
        ("cannot connect to 10.0.0.7:8091", "cannot connect to [host]"),
        ("cannot connect to engine.internal:8091", "cannot connect to [host]"),
        ("<Engine object at 0x7f0b30102600> died", "<Engine object> died"),
        ("image data:image/png;base64,iVBORw0KGgo= is bad", "image [data] is bad"),
        ("right \u202eleft", "right left"),
        ("half \ud800 pair", "half ? pair"),
        ("", ""),
    ],
)
def test_message_shows_a_client_nothing_that_names_the_upstream(words: str, expected: str) -> None:
    assert CLEAN.message(words) == expected


def test_message_is_capped_when_the_upstream_talks_on() -> None:
    message = CLEAN.message("a word " * 10_000)
    assert MESSAGE_MAX - 10 < len(message) <= MESSAGE_MAX
    assert message.endswith("…")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"url": "https://h.example/v.mp4?X-Amz-Signature=abc&x=1"}, {"url": "https://h.example/v.mp4?…"}),
        ({"url": "https://u:p@h.example:8443/v#frag"}, {"url": "https://…@h.example:8443/v#…"}),
        ({"a": [{"b": "go to http://h.example/?q=1 or https://i.example/?r=2"}]}, None),
        ({"https://h.example/?sig=1": 1}, {"https://h.example/?…": 1}),
        ({"id": "video_abc", "error": {"code": 500}}, {"id": "video_abc", "error": {"code": 500}}),
        ({"prompt": "a cat", "revised_prompt": "a big cat"}, {"prompt": "…", "revised_prompt": "…"}),
        ({"prompt": None}, {"prompt": None}),
        ({"message": f"key {KEY}"}, {"message": "key [hidden]"}),
        ({"img": "data:image/png;base64,iVBORw0KGgo="}, {"img": "data:image/png;base64,…"}),
        ({"m": "see token=abc123def and sig=zzz"}, {"m": "see token=… and sig=…"}),
    ],
)
def test_body_keeps_the_json_without_its_secrets(body: object, expected: object) -> None:
    kept = CLEAN.body(json.dumps(body).encode())
    if expected is None:
        assert "q=1" not in kept
        assert "r=2" not in kept
    else:
        assert json.loads(kept) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"url": "https:\\/\\/u:hidden-word@h.example\\/v?sig=hidden-word"',
        b'{"url": "https://h.example/v?a=1\\u0026sig=hidden-word"',
        b'{"url": "https://h.example/v\\u003fsig=hidden-word"',
        b'{"m": "{\\"url\\": \\"https://h.example/v?sig=hidden-word\\"}"}',
        b'{"m": "{\\"url\\": \\"https:\\\\/\\\\/u:hidden-word@h.example\\\\/v?a=hidden-word\\"}"}',
        b"<a href='https://h.example/v?a=1&amp;sig=hidden-word'>",
        b"authorization: Bearer hidden-word",
        b"X-Amz-Signature=hidden-word",
    ],
)
def test_body_hides_a_link_s_secrets_when_it_is_escaped_cut_or_no_json(body: bytes) -> None:
    assert "hidden-word" not in CLEAN.body(body)


def test_body_is_capped_at_4_kilobytes_when_it_is_long() -> None:
    kept = CLEAN.body(json.dumps({"message": "é" * 10_000}).encode())
    assert BODY_MAX - 8 <= len(kept.encode()) <= BODY_MAX
    assert kept.endswith("…")


def test_body_is_capped_when_it_is_too_large_to_parse() -> None:
    assert len(CLEAN.body(b'{"a": "' + b"x" * 1_000_000 + b'"}').encode()) <= BODY_MAX


def test_body_says_how_much_there_was_when_it_is_no_text() -> None:
    assert CLEAN.body(b"\0\0\0\x18ftypmp42") == "[12 bytes that are no text]"


def test_cleaner_shows_no_secret_when_it_is_printed() -> None:
    assert KEY not in repr(CLEAN)


@given(
    secret=st.from_regex(r"[A-Za-z0-9]{8,40}", fullmatch=True), before=st.text(max_size=30), after=st.text(max_size=30)
)
def test_no_query_survives_whatever_stands_around_the_link(secret: str, before: str, after: str) -> None:
    words = f"{before} https://h.example/v?sig=Q{secret}Q {after}"
    assert f"Q{secret}Q" not in Cleaner().message(words)
    assert f"Q{secret}Q" not in Cleaner().body(json.dumps({"m": words}).encode())
    assert f"Q{secret}Q" not in Cleaner().body(words.encode("utf-8", "replace"))
