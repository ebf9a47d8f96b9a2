"""Schemas, hashes and keys without a database: whatever comes, it is understood or refused by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.bodies import parse_json
from gateway.api.data_urls import from_data_url
from gateway.api.loading import load
from gateway.api.patient import missing
from gateway.api.schemas import NewVideoSchema, Posted, VideoListQuery
from gateway.jobs.errors import InvalidField
from gateway.jobs.intake import NewVideo, ReferenceImage, object_folder, request_hash
from gateway.jobs.ports import VideoFilter

FIELDS = st.sampled_from([*NewVideoSchema().fields, "n", "", "prompt[x]"])
TEXT = st.text(st.characters(exclude_categories=[]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def _outcome(read: Callable[[], Any]) -> Any:
    """Return what reading gave, or the refusal; anything else that is raised fails the test."""
    try:
        return read()
    except InvalidField as refused:
        return refused


@given(st.dictionaries(FIELDS, JSON))
def test_any_json_is_understood_or_refused_by_field(fields: dict[str, Any]) -> None:
    found = _outcome(lambda: load(NewVideoSchema(), {"prompt": "p", **fields}))
    if isinstance(found, Posted):
        assert found.request.prompt.strip()
        assert json.dumps(dataclasses.asdict(found.request)).encode()
    else:
        assert found.param is not None
        assert found.message


@given(st.dictionaries(st.sampled_from(["limit", "after", "order", "status", "model", "x"]), TEXT))
def test_any_query_is_understood_or_refused_by_parameter(query: dict[str, Any]) -> None:
    found = _outcome(lambda: load(VideoListQuery(), query))
    assert 0 <= found.limit <= 100 if isinstance(found, VideoFilter) else found.param is not None


@given(st.text(max_size=60))
def test_any_text_after_data_is_bytes_or_refused(text: str) -> None:
    found = _outcome(lambda: from_data_url(f"data:{text}"))
    assert isinstance(found, bytes) or found.param == "input_reference"


def test_left_out_fields_stay_left_out() -> None:
    posted: Posted = load(NewVideoSchema(), {"prompt": "p"})
    assert posted == Posted(request=NewVideo(prompt="p"), data_url=None)


def test_a_callback_is_told_of_both_ends_unless_asked_otherwise() -> None:
    posted: Posted = load(NewVideoSchema(), {"prompt": "p", "callback_url": "http://localhost:1/x"})
    assert posted.request.callback_events == ("video.completed", "video.failed")


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', "NaN", "-Infinity", "1e999", "{'a':1}", "", "[1,]"])
def test_json_that_databases_would_mind_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_the_hash_of_a_request_depends_on_what_is_asked_and_on_nothing_else() -> None:
    image = ReferenceImage(data=b"x", content_type="image/png", width=1, height=1, sent_sha256="ab")
    request = NewVideo(prompt="p", metadata={"a": "1", "b": "2"}, callback_events=("video.failed",))
    turned = NewVideo(prompt="p", metadata={"b": "2", "a": "1"}, callback_events=("video.failed",))
    others = [
        dataclasses.replace(request, **change)
        for change in (
            {"prompt": "q"}, {"model": "m"}, {"size": "1x1"}, {"seconds": 4}, {"metadata": {}}, {"extra": {"a": 1}},
            {"callback_url": "u"}, {"callback_events": ()}, {"reference_url": "u"},
        )
    ]  # fmt: skip
    assert len(others) == len(dataclasses.fields(NewVideo))
    assert request_hash(request, None) == request_hash(turned, None)
    hashes = [request_hash(other, None) for other in others] + [
        request_hash(request, image),
        request_hash(request, None),
    ]
    assert len(set(hashes)) == len(hashes)


@given(st.text(min_size=1, max_size=80))
def test_any_client_has_a_folder_that_any_store_takes(client: str) -> None:
    folder = object_folder(client, "video_1", 1_796_000_000.0)
    assert folder.endswith("/2026/11/30/video_1")
    assert set(folder) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/")
    assert folder.count("/") == 4


def test_clients_that_look_alike_once_cleaned_have_folders_apart() -> None:
    assert len({object_folder(client, "video_1", 0.0) for client in ("a.b", "a:b", "a-b", "x" * 41, "x" * 42)}) == 5


@pytest.mark.parametrize(
    ("seen", "needed"),
    [
        (b"", 1), (b"GET / HTTP/1.1\r\n", 1), (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 5), (b"POST / HTTP/1.1\r\nContent-Length:5\r\n\r\nab", 3),
        (b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nab", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", None), (b"x" * 61_440, None),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 0),
    ],
)  # fmt: skip
def test_the_loop_waits_for_what_is_missing_of_a_small_request(seen: bytes, needed: int | None) -> None:
    assert missing(seen) == needed
