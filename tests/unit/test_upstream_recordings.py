"""The tolerant reader on what real servers were recorded to answer."""

from __future__ import annotations

import pytest

from gateway.upstreams import decide
from gateway.upstreams.cleaning import Cleaner
from gateway.upstreams.dialects import DIALECTS
from gateway.upstreams.port import (
    Accepted,
    ContentMissing,
    Failed,
    Finished,
    KeyRefused,
    Missing,
    NotAccepted,
    Refused,
    Unfinished,
    Unknown,
)
from tests.recordings import DIALECT_OF, recorded

CLEAN = Cleaner(secrets=("sk-secret-in-use",), names=("video_names",))

SUBMITS = [
    ("vllm-omni-0.30.txt", "1 create multipart", Accepted),
    ("vllm-omni-0.30.txt", "8 create JSON body", Refused),
    ("vllm-omni-0.30.txt", "9 wrong model", Refused),
    ("vllm-omni-0.30.txt", "10 no prompt", Refused),
    ("vllm-omni-0.30.txt", "13b bad input_reference", Refused),
    ("litellm-client-side.txt", "1 create multipart", Accepted),
    ("litellm-client-side.txt", "9 create RATELIMIT", NotAccepted),
    ("litellm-client-side.txt", "9 create MODERATE400", Refused),
    ("litellm-client-side.txt", "9 create QUOTA403", KeyRefused),
    ("litellm-client-side.txt", "9 create BOOM500", Unknown),
    ("litellm-client-side.txt", "9 create UNAUTH401", KeyRefused),
    ("litellm-client-side.txt", "11 create status=submitted upstream", Accepted),
    ("litellm-client-side.txt", "15 unknown model", Refused),
    ("litellm-client-side.txt", "17 weird id (base64 slash/plus)", Accepted),
]


@pytest.mark.parametrize(("name", "title", "kind"), SUBMITS)
def test_recorded_submit_is_understood(name: str, title: str, kind: type) -> None:
    assert isinstance(decide.submit(recorded(name, title), clean=CLEAN), kind)


POLLS = [
    ("vllm-omni-0.30.txt", "2 retrieve at once", Unfinished),
    ("vllm-omni-0.30.txt", "3 retrieve while running", Unfinished),
    ("vllm-omni-0.30.txt", "5 retrieve done", Finished),
    ("vllm-omni-0.30.txt", "7b retrieve FAIL500", Failed),
    ("vllm-omni-0.30.txt", "7b retrieve FAIL400", Failed),
    ("vllm-omni-0.30.txt", "7b retrieve FAILENGINE", Failed),
    ("vllm-omni-0.30.txt", "15 retrieve unknown id", Missing),
    ("litellm-client-side.txt", "2 retrieve (1st poll)", Unfinished),
    ("litellm-client-side.txt", "4 retrieve (2nd poll)", Finished),
    ("litellm-client-side.txt", "10.1 retrieve failing", Failed),
    ("litellm-client-side.txt", "17c retrieve quoted", Missing),
]


@pytest.mark.parametrize(("name", "title", "kind"), POLLS)
def test_recorded_poll_is_understood(name: str, title: str, kind: type) -> None:
    assert isinstance(decide.poll(recorded(name, title), dialect=DIALECTS[DIALECT_OF[name]], clean=CLEAN), kind)


def test_recorded_refusals_get_the_codes_of_ours() -> None:
    litellm, vllm = "litellm-client-side.txt", "vllm-omni-0.30.txt"
    expected = {
        (litellm, "9 create MODERATE400"): "content_policy_violation",
        (litellm, "15 unknown model"): "model_not_found",
        (litellm, "16 no prompt"): "invalid_request",
        (vllm, "9 wrong model"): "model_not_found",
        (vllm, "13b bad input_reference"): "invalid_reference",
        (vllm, "11 bad seconds"): "invalid_request",
    }
    found = {where: decide.submit(recorded(*where), clean=CLEAN) for where in expected}
    assert {where: outcome.code for where, outcome in found.items() if isinstance(outcome, Refused)} == expected


def test_recorded_moderation_shows_the_provider_s_words_alone() -> None:
    outcome = decide.submit(recorded("litellm-client-side.txt", "9 create MODERATE400"), clean=CLEAN)
    assert isinstance(outcome, Refused)
    assert outcome.message == "Your request was blocked by our moderation system."


def test_recorded_rate_limit_keeps_the_wait_that_litellm_hides() -> None:
    outcome = decide.submit(recorded("litellm-client-side.txt", "9 create RATELIMIT"), clean=CLEAN)
    assert isinstance(outcome, NotAccepted)
    assert outcome.retry_after_s == 7.0


@pytest.mark.parametrize("title", ["4 content while running", "7c content FAIL500"])
def test_recorded_content_is_not_ready_when_the_video_is_unfinished(title: str) -> None:
    outcome = decide.content(recorded("vllm-omni-0.30.txt", title), own=True, clean=CLEAN)
    assert not isinstance(outcome, ContentMissing | KeyRefused)


def test_recorded_content_of_an_unknown_video_is_missing() -> None:
    outcome = decide.content(recorded("vllm-omni-0.30.txt", "16 content unknown"), own=True, clean=CLEAN)
    assert isinstance(outcome, ContentMissing)
