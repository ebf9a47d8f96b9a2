"""The tolerant reader and the scalars: every spelling met in the field, and never an exception whatever the JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from gateway.outbound.session import Reply
from gateway.upstreams import decide, reading, scalars
from gateway.upstreams.cleaning import BODY_MAX, MESSAGE_MAX, Cleaner
from gateway.upstreams.dialects import DIALECTS
from gateway.upstreams.port import (
    Accepted,
    Answer,
    Finished,
    Unknown,
)
from gateway.upstreams.problems import find_problem

CLEAN = Cleaner(secrets=("sk-secret-in-use",), names=("video_names",))


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("queued", "queued"),
        ("PENDING", "queued"),
        ("NOT_START", "queued"),
        ("in queue", "queued"),
        ("Initializing", "queued"),
        ("generating", "in_progress"),
        ("In-Progress", "in_progress"),
        ("succeeded", "completed"),
        ("finished", "completed"),
        ("failure", "failed"),
        ("canceled", "failed"),
        ("expired", "failed"),
        ("quite done", None),
    ],
)
def test_status_word_is_normalised_when_read(word: str, state: str | None) -> None:
    job = reading.read_job({"id": "v", "status": word})
    assert job is not None
    assert job.state == state


def test_status_word_of_a_dialect_wins_over_the_common_table() -> None:
    job = reading.read_job({"id": "v", "status": "Unknown"}, {"unknown": "failed"})
    assert job is not None
    assert job.state == "failed"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (45, 45),
        (45.99, 45),
        ("45", 45),
        (" 45% ", 45),
        (-1, 0),
        (1e300, 100),
        (None, None),
        (True, None),
        ("half", None),
        (math.nan, None),
        (math.inf, None),
        ("1e999", None),
        ([45], None),
        (10**400, None),
    ],
)
def test_percent_is_a_whole_number_from_0_to_100_or_none(value: object, expected: int | None) -> None:
    assert scalars.percent(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1764347090, 1764347090.0),
        (1764347090922, 1764347090.922),
        (1764347090922000, 1764347090.922),
        ("1764347090", 1764347090.0),
        ("2026-11-22T18:00:00Z", 1795370400.0),
        ("2026-11-22T19:00:00+01:00", 1795370400.0),
        ("2026-11-22T18:00:00", 1795370400.0),
        ("", None),
        ("tomorrow", None),
        (0, None),
        (-5, None),
        (None, None),
        (False, None),
        (1e308, pytest.approx(1e308 / 10**297, rel=1)),
    ],
)
def test_instant_is_in_seconds_whatever_unit_it_came_in(value: object, expected: float | None) -> None:
    assert scalars.instant(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("8", 8), (8, 8), (8.0, 8), ("8s", 8), (8.5, None), (0, None), ("x", None)]
)
def test_whole_is_a_length_in_seconds_or_none(value: object, expected: int | None) -> None:
    assert scalars.whole(value) == expected


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        ({"error": "plain"}, "upstream_error", "plain"),
        ({"error": {"message": "m"}}, "upstream_error", "m"),
        ({"error": {"code": 500, "message": "m"}}, "500", "m"),
        ({"code": "fail", "message": "m", "data": None}, "fail", "m"),
        ({"detail": "m"}, "upstream_error", "m"),
        ({"detail": [{"loc": ["body"], "msg": "m"}]}, "upstream_error", "m"),
        ({"errors": [{"code": "c", "message": "m"}]}, "c", "m"),
        ({"error": {"message": 'X - {"error": {"code": "c", "message": "m"}} tail'}}, "c", "m"),
        ({"error": {"message": 'Broken { brace, then {"error": {"code": "c", "message": "m"}}'}}, "c", "m"),
        ({"error": '{"error": {"code": "c", "message": "m"}}'}, "c", "m"),
        ({"error": {"message": "braces {of} no object"}}, "upstream_error", "braces {of} no object"),
        ({"error": {"error": {"code": "c", "message": "m"}}}, "c", "m"),
        ({"error": True, "message": "m"}, "upstream_error", "m"),
    ],
)
def test_problem_is_found_in_every_shape(answer: object, code: str, message: str) -> None:
    found = find_problem(answer)
    assert found is not None
    assert (found.code, found.message) == (code, message)


@pytest.mark.parametrize("answer", [None, [], {}, {"error": None}, {"error": {}}, {"error": ""}, "", {"message": "ok"}])
def test_no_problem_is_found_when_there_is_none(answer: object) -> None:
    assert find_problem(answer) is None


WORDS = st.sampled_from([*reading.STATES, "id", "video_1", "", "{", '{"error":{"message":"x"}}', "45%", "\ud800", "\0"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | WORDS
NAMES = st.sampled_from(
    [
        "id",
        "task_id",
        "status",
        "state",
        "data",
        "error",
        "message",
        "code",
        "type",
        "detail",
        "errors",
        "progress",
        "created_at",
        "expires_at",
        "url",
        "urls",
        "video",
        "metadata",
        "content",
        "task_result",
        "videos",
        "output",
        "fail_reason",
        "request_id",
        "has_more",
        "last_id",
        "seconds",
        "prompt",
    ]
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=3), inner, max_size=8),
    max_leaves=20,
)


@given(answer=JSON, status=st.sampled_from([200, 302, 400, 401, 403, 404, 429, 500, 503]))
def test_decisions_never_raise_whatever_the_json(answer: object, status: int) -> None:
    reply = _reply(status, json.dumps(answer).encode())
    openai = DIALECTS["openai"]
    outcomes = (
        decide.submit(reply, clean=CLEAN),
        decide.poll(reply, dialect=openai, clean=CLEAN),
        decide.page(reply, dialect=openai, after=None, clean=CLEAN),
        decide.content(reply, own=True, clean=CLEAN),
    )
    for outcome in outcomes:
        repr(outcome).encode()
        kept: Answer = getattr(outcome, "answer", Answer(status=None))
        assert len(kept.body.encode()) <= BODY_MAX
        assert len(getattr(outcome, "message", "")) <= MESSAGE_MAX


@given(body=st.binary(max_size=300))
def test_decisions_never_raise_whatever_the_bytes(body: bytes) -> None:
    assert isinstance(decide.submit(_reply(200, body), clean=CLEAN), Accepted | Unknown)
    assert not isinstance(decide.poll(_reply(500, body), dialect=DIALECTS["openai"], clean=CLEAN), Finished)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"id":' + b"9" * 5000 + b"}", b"\xff\xfe\x00"])
def test_decode_gives_none_when_an_answer_is_built_to_hurt(body: bytes) -> None:
    assert scalars.decode(body) is None


def test_problem_is_found_quickly_when_a_message_is_built_to_hurt_the_patterns() -> None:
    hurt = "violat" * 100_000 + "quota " * 10_000 + "model " * 10_000 + "{" * 1000
    found = find_problem({"error": {"message": hurt}})
    assert found is not None
    assert not found.is_moderation


def _reply(status: int, body: bytes, headers: dict[str, str] | None = None) -> Reply:
    return Reply(
        status=status,
        headers=CaseInsensitiveDict(headers or {}),
        body=body,
        truncated=False,
        elapsed_s=0.0,
        peer=None,
    )
