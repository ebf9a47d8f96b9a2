"""The decision table of a submit, row by row: accepted, refused, surely not accepted, or unknown."""

from __future__ import annotations

import pytest

from gateway.jobs.codes import CODES
from gateway.outbound.session import Reply
from gateway.upstreams import decide, replies
from gateway.upstreams.port import (
    Accepted,
    KeyRefused,
    NotAccepted,
    Refused,
    Unknown,
)
from tests.answers import BLOCKED, CLEAN, HTML, JOB, POLICY, QUOTA_403, error, litellm, reply, submit

ACCEPTED = {
    "id": (JOB, "video_1"),
    "a 202": (JOB, "video_1"),
    "the create answer of the provider's manual": (
        {"id": "video_abc", "status": "submitted", "url": None},
        "video_abc",
    ),
    "id beside the same task_id": ({"id": "task_1", "task_id": "task_1"}, "task_1"),
    "task_id": ({"task_id": "task_2", "status": "pending"}, "task_2"),
    "data.id": ({"code": 0, "data": {"id": "d1"}, "request_id": "req_9"}, "d1"),
    "data.task_id": ({"code": "success", "data": {"task_id": "d2"}}, "d2"),
    "request_id, as xAI has it": ({"request_id": "xai-1"}, "xai-1"),
    "a number": ({"id": 4711}, "4711"),
    "base64 with a slash": ({"id": "video_bGl0/Pn4="}, "video_bGl0/Pn4="),
    "failed from the start": (JOB | {"status": "failed", "error": {"code": "x", "message": "y"}}, "video_1"),
}


@pytest.mark.parametrize(("body", "expected"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_submit_is_accepted_when_a_2xx_names_an_id(body: object, expected: str) -> None:
    outcome = submit(reply(200, body))
    assert isinstance(outcome, Accepted)
    assert outcome.upstream_job_id == expected
    assert outcome.answer.status == 200


UNKNOWN = {
    "2xx without an id": (reply(200, {"status": "queued"}), "no id"),
    "2xx with only the id of the request, in an error": (reply(200, error("x", "y") | {"request_id": "r"}), "no id"),
    "2xx with an empty id": (reply(200, {"id": ""}), "no id"),
    "2xx whose id is a step up": (reply(200, {"id": ".."}), "no id"),
    "2xx whose id has control characters": (reply(200, {"id": "a\nb"}), "no id"),
    "2xx whose id is endless": (reply(200, {"id": "v" * 5000}), "no id"),
    "2xx of HTML": (reply(200, HTML), "not JSON"),
    "2xx empty": (reply(204, b""), "not JSON"),
    "2xx with broken JSON": (reply(200, b'{"id": "video_'), "not JSON"),
    "2xx oversized": (reply(200, JOB, truncated=True), "oversized"),
    "redirect": (reply(307, b"", {"Location": "https://elsewhere.example/"}), "redirect"),
    "408": (reply(408, error()), "HTTP 408"),
    "500": (reply(500, error("server_error", "The server had an error")), "HTTP 500"),
    "500 of HTML": (reply(500, HTML), "HTTP 500"),
    "502": (reply(502, HTML), "HTTP 502"),
    "502 of new-api": (reply(502, error("bad_response_status_code", "", "shell_api_error", "502")), "HTTP 502"),
    "503 without more": (reply(503, b"Service Unavailable"), "HTTP 503"),
    "504": (reply(504, HTML), "HTTP 504"),
    "524": (reply(524, HTML), "HTTP 524"),
    "500 that speaks of a rate": (reply(500, error("rate_limit_exceeded", "slow")), "HTTP 500"),
}


@pytest.mark.parametrize(("answer", "reason"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_submit_is_unknown_when_the_upstream_may_have_accepted(answer: Reply, reason: str) -> None:
    outcome = submit(answer)
    assert isinstance(outcome, Unknown)
    assert outcome.reason == reason


NOT_ACCEPTED = {
    "429": (reply(429, error("rate_limit_exceeded", "Rate limit reached")), "rate limit", None),
    "429 with Retry-After": (reply(429, error(), {"Retry-After": "7"}), "rate limit", 7.0),
    "429 with retry-after-ms": (reply(429, error(), {"retry-after-ms": "1500", "retry-after": "2"}), "rate limit", 1.5),
    "429 through LiteLLM": (reply(429, error(), {"llm_provider-retry-after": "7"}), "rate limit", 7.0),
    "429 with a date": (
        reply(429, b"", {"Date": "Sun, 22 Nov 2026 18:00:00 GMT", "Retry-After": "Sun, 22 Nov 2026 18:01:00 GMT"}),
        "rate limit",
        60.0,
    ),
    "429 with a date in the past": (
        reply(429, b"", {"Date": "Sun, 22 Nov 2026 18:00:00 GMT", "Retry-After": "Sun, 22 Nov 2026 17:00:00 GMT"}),
        "rate limit",
        None,
    ),
    "429 with nonsense": (reply(429, b"", {"Retry-After": "soon"}), "rate limit", None),
    "429 with a week": (reply(429, b"", {"Retry-After": "604800"}), "rate limit", 3600.0),
    "429 slow_down": (reply(429, error("slow_down")), "rate limit", None),
    "429 whose rate is called a quota": (
        reply(429, error("rate_limit_exceeded", "You exceeded your current quota of requests per minute")),
        "rate limit",
        None,
    ),
    "429 of HTML": (reply(429, HTML), "rate limit", None),
    "503 with Retry-After": (reply(503, b"", {"Retry-After": "30"}), "overloaded", 30.0),
    "503 server_is_overloaded": (reply(503, error("server_is_overloaded")), "overloaded", None),
    "503 no channel": (reply(503, error("model_not_found", "No available channel for model x")), "overloaded", None),
    "503 no healthy upstream": (reply(503, {"detail": "no healthy upstream"}), "overloaded", None),
    "409": (reply(409, error()), "HTTP 409", None),
    "423": (reply(423, error()), "HTTP 423", None),
    "425": (reply(425, b""), "HTTP 425", None),
}


@pytest.mark.parametrize(("answer", "reason", "wait"), NOT_ACCEPTED.values(), ids=NOT_ACCEPTED.keys())
def test_submit_is_tried_again_when_it_was_surely_not_accepted(answer: Reply, reason: str, wait: float | None) -> None:
    outcome = submit(answer)
    assert isinstance(outcome, NotAccepted)
    assert (outcome.reason, outcome.retry_after_s) == (reason, wait)


KEY_REFUSED = {
    "429 insufficient_quota": (reply(429, error("insufficient_quota", "You exceeded your current quota")), "quota"),
    "429 credit_balance_exhausted": (reply(429, error("credit_balance_exhausted")), "quota"),
    "429 whose type tells": (reply(429, error(None, "", "insufficient_quota")), "quota"),
    "429 in Chinese": (reply(429, {"code": "fail", "message": "账户余额不足", "data": None}), "quota"),
    "403 by code": (reply(403, QUOTA_403), "quota"),
    "403 by words": (reply(403, error(None, QUOTA_403["error"]["message"])), "quota"),
    "403 quota through LiteLLM": (reply(403, litellm(QUOTA_403, 403)), "quota"),
    "402": (reply(402, b""), "quota"),
    "400 by code": (reply(400, error("insufficient_quota")), "quota"),
    "401": (reply(401, error("invalid_api_key", "Incorrect API key provided")), "auth"),
    "401 of HTML": (reply(401, HTML), "auth"),
    "403": (reply(403, error(None, "Your country is not supported")), "auth"),
    "403 empty": (reply(403, b""), "auth"),
    "401 in Chinese": (reply(401, {"error": {"message": "无效的令牌", "type": "shell_api_error"}}), "auth"),
}


@pytest.mark.parametrize(("answer", "reason"), KEY_REFUSED.values(), ids=KEY_REFUSED.keys())
def test_submit_pauses_the_key_when_the_key_or_its_balance_is_refused(answer: Reply, reason: str) -> None:
    outcome = submit(answer)
    assert isinstance(outcome, KeyRefused)
    assert outcome.reason == reason
    assert outcome.message


REFUSED = {
    "400 moderation_blocked": (reply(400, error("moderation_blocked", BLOCKED)), POLICY),
    "400 content_policy_violation": (reply(400, error("content_policy_violation")), POLICY),
    "400 sentinel_block": (reply(400, error("sentinel_block")), POLICY),
    "400 by its words": (reply(400, error("400", "It violates our content policy")), POLICY),
    "400 moderation through LiteLLM": (reply(400, litellm(error("moderation_blocked", BLOCKED), 400)), POLICY),
    "403 moderation": (reply(403, error("content_policy_violation", "no")), POLICY),
    "403 moderation by its words": (reply(403, error(None, BLOCKED)), POLICY),
    "500 moderation by code": (reply(500, litellm(error("moderation_blocked", BLOCKED), 500)), POLICY),
    "404 model": (reply(404, error("model_not_found", "The model does not exist")), "model_not_found"),
    "403 model": (reply(403, error("model_not_found", "No access to model")), "model_not_found"),
    "400 model of vLLM-Omni": (
        reply(
            400, error(400, "Model mismatch: request specifies 'sora-2' but server is running 'Wan'.", "Bad Request")
        ),
        "model_not_found",
    ),
    "400 model of LiteLLM": (
        reply(400, error("400", "/videos: Invalid model name passed in model=nope. Call `/v1/models`")),
        "model_not_found",
    ),
    "400 seconds": (reply(400, error("invalid_value", "Invalid type for 'seconds'")), "invalid_request"),
    "400 picture": (
        reply(400, error(400, "Invalid input_reference: provided content is not a valid image or video.")),
        "invalid_reference",
    ),
    "400 picture by param": (reply(400, error("invalid_type", "x", "", "input_reference")), "invalid_reference"),
    "400 of HTML": (reply(400, HTML), "invalid_request"),
    "404 of a route": (reply(404, {"detail": "Not Found"}), "invalid_request"),
    "405": (reply(405, {"detail": "Method Not Allowed"}), "invalid_request"),
    "413": (reply(413, b""), "invalid_request"),
    "415": (reply(415, b""), "invalid_request"),
    "422 of FastAPI": (
        reply(422, {"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}),
        "invalid_request",
    ),
    "400 quoting a prompt about money": (
        reply(400, error("x", "prompt 'insufficient funds' is bad")),
        "invalid_request",
    ),
}


@pytest.mark.parametrize(("answer", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_submit_is_refused_for_good_when_the_request_is_at_fault(answer: Reply, code: str) -> None:
    outcome = submit(answer)
    assert isinstance(outcome, Refused)
    assert outcome.code == code
    assert outcome.code in CODES
    assert outcome.message


def test_submit_shows_the_innermost_words_when_litellm_wraps_an_error() -> None:
    outcome = submit(reply(400, litellm(litellm(error("moderation_blocked", BLOCKED), 400), 400)))
    assert isinstance(outcome, Refused)
    assert outcome.message == BLOCKED


def test_submit_names_the_status_when_a_refusal_has_no_words() -> None:
    outcome = submit(reply(413, b""))
    assert isinstance(outcome, Refused)
    assert outcome.message == "The upstream answered HTTP 413."


def test_answer_keeps_status_time_and_cleaned_words() -> None:
    outcome = submit(reply(500, error("x", "see https://u:p@h.example/a?sig=1 with sk-the-key-in-use")))
    assert isinstance(outcome, Unknown)
    assert (outcome.answer.status, outcome.answer.elapsed_s) == (500, 0.25)
    assert "https://…@h.example/a?…" in outcome.answer.body
    assert "sk-the-key-in-use" not in outcome.answer.body


@pytest.mark.parametrize(("status", "expected"), [(200, False), (404, False), (302, True), (429, True), (500, True)])
def test_a_hiccup_is_told_from_an_answer(status: int, expected: bool) -> None:
    assert replies.is_hiccup(reply(status, b"")) is expected


BLANK = {
    "of OpenAI": reply(400, litellm(error(None, "We could not parse the body of your request."), 400)),
    "of a missing prompt": reply(400, litellm(error(None, "Missing required parameter: 'prompt'."), 400)),
    "of FastAPI": reply(422, litellm({"detail": [{"loc": ["body", "prompt"], "msg": "Field required"}]}, 422)),
}


@pytest.mark.parametrize("answer", BLANK.values(), ids=BLANK.keys())
def test_submit_is_unknown_when_the_proxy_repeated_it_without_its_body(answer: Reply) -> None:
    outcome = decide.submit(answer, clean=CLEAN, repeats_blank=True)
    assert isinstance(outcome, Unknown)
    assert outcome.reason == "repeated without its body"
    assert isinstance(submit(answer), Refused)


def test_submit_is_refused_for_good_when_such_a_proxy_tells_of_something_else() -> None:
    answer = reply(400, litellm(error("invalid_value", "Invalid size for this model"), 400))
    assert isinstance(decide.submit(answer, clean=CLEAN, repeats_blank=True), Refused)
