"""The decision tables, row by row: what each answer of an upstream means for a submit, a poll, a download, a list."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from requests.structures import CaseInsensitiveDict

from gateway.jobs.codes import CODES
from gateway.outbound.session import Reply
from gateway.upstreams import decide, replies
from gateway.upstreams.cleaning import Cleaner
from gateway.upstreams.dialects import DIALECTS
from gateway.upstreams.port import (
    Accepted,
    ContentMissing,
    ContentNotReady,
    Failed,
    Finished,
    KeyRefused,
    Missing,
    NoAnswer,
    NotAccepted,
    Page,
    PollOutcome,
    Refused,
    SubmitOutcome,
    Unfinished,
    Unknown,
)

CLEAN = Cleaner(secrets=("sk-the-key-in-use",))
OPENAI = DIALECTS["openai"]


def reply(
    status: int, body: object = None, headers: Mapping[str, str] | None = None, *, truncated: bool = False
) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(
        status=status,
        headers=CaseInsensitiveDict(headers or {}),
        body=raw,
        truncated=truncated,
        elapsed_s=0.25,
        peer="127.0.0.1",
    )


def error(code: object = None, message: str = "", kind: str = "", param: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def litellm(inner: object, status: int) -> dict[str, object]:
    message = f"litellm.APIError: OpenAIException - {json.dumps(inner)}\n\nLiteLLM: model group 'sora-2' failed."
    return error(code=str(status), message=message, kind="invalid_request_error")


def submit(answer: Reply) -> SubmitOutcome:
    return decide.submit(answer, clean=CLEAN)


def poll(answer: Reply) -> PollOutcome:
    return decide.poll(answer, dialect=OPENAI, clean=CLEAN)


JOB = {"id": "video_1", "object": "video", "model": "sora-2", "status": "queued", "progress": 0}
HTML = b"<html><body>502 Bad Gateway</body></html>"
QUOTA_403 = {
    "error": {
        "message": "user [1.2] quota [$0.10] preConsumedQuota [$0.15] is not enough",
        "localized_message": "Insufficient user quota",
        "type": "shell_api_error",
        "param": "",
        "code": "insufficient_user_quota",
    }
}


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
        0.0,
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


BLOCKED = "Your request was blocked by our moderation system."
POLICY = "content_policy_violation"
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


UNFINISHED = {
    "queued": (JOB, 0, False),
    "submitted": (JOB | {"status": "submitted"}, 0, False),
    "unknown of new-api, progress left out": ({"id": "t", "status": "unknown"}, None, False),
    "in progress": (JOB | {"status": "in_progress", "progress": 45}, 45, True),
    "processing": (JOB | {"status": "Processing", "progress": "45%"}, 45, True),
    "with a hyphen": (JOB | {"status": "in-progress", "progress": 45.9}, 45, True),
    "with a space": (JOB | {"status": " In Progress ", "progress": "45"}, 45, True),
    "over the top": (JOB | {"status": "running", "progress": 250}, 100, True),
    "below zero": (JOB | {"status": "running", "progress": -3}, 0, True),
    "progress is nonsense": (JOB | {"status": "running", "progress": {"x": 1}}, None, True),
    "wrapped in data": (
        {"code": "success", "data": {"task_id": "t", "status": "IN_PROGRESS", "progress": "30%"}},
        30,
        True,
    ),
    "wrapped in a status of its own": ({"status": "success", "data": {"id": "t", "status": "running"}}, None, True),
    "an empty error object": (JOB | {"error": {"code": "", "message": ""}}, 0, False),
}


@pytest.mark.parametrize(("body", "progress", "started"), UNFINISHED.values(), ids=UNFINISHED.keys())
def test_poll_says_unfinished_when_the_job_goes_on(body: object, progress: int | None, started: bool) -> None:
    outcome = poll(reply(200, body))
    assert isinstance(outcome, Unfinished)
    assert (outcome.progress, outcome.started) == (progress, started)


DONE = JOB | {"status": "completed", "progress": 100}
FINISHED = {
    "completed": (DONE, None, ()),
    "success": (JOB | {"status": "SUCCESS"}, None, ()),
    "done, without an id": (
        {"status": "done", "video": {"url": "https://v.example/1"}},
        None,
        ("https://v.example/1",),
    ),
    "expires_at": (DONE | {"expires_at": 1795377547}, 1795377547.0, ()),
    "expires_at in milliseconds": (DONE | {"expires_at": 1795377547000}, 1795377547.0, ()),
    "expires_at as text": (DONE | {"expires_at": "1795377547"}, 1795377547.0, ()),
    "expires_at as a date": (DONE | {"expires_at": "2026-11-22T19:59:07Z"}, 1795377547.0, ()),
    "expires_at left at zero": (DONE | {"expires_at": 0}, None, ()),
    "error is an object of nothing": (DONE | {"error": {"code": "", "message": "", "type": ""}}, None, ()),
    "error is empty text": (DONE | {"error": ""}, None, ()),
    "fail_reason holds the link": (DONE | {"fail_reason": "https://cdn.example/v.mp4"}, None, ()),
    "several links": (
        DONE
        | {
            "url": "https://a.example/1",
            "metadata": {"url": "https://b.example/2"},
            "video_url": "https://a.example/1",
        },
        None,
        ("https://a.example/1", "https://b.example/2"),
    ),
    "task_result": (DONE | {"task_result": {"videos": [{"url": "https://q.example/"}]}}, None, ("https://q.example/",)),
    "unsigned_urls": (
        DONE | {"unsigned_urls": ["https://o.example/c?index=0"]},
        None,
        ("https://o.example/c?index=0",),
    ),
    "links that are none": (DONE | {"url": "/tmp/out.mp4", "video_url": "file:///etc/passwd", "output": [7]}, None, ()),
}


@pytest.mark.parametrize(("body", "expires_at", "urls"), FINISHED.values(), ids=FINISHED.keys())
def test_poll_says_finished_when_the_job_is_completed(
    body: object, expires_at: float | None, urls: tuple[str, ...]
) -> None:
    outcome = poll(reply(200, body))
    assert isinstance(outcome, Finished)
    assert (outcome.expires_at, tuple(outcome.content_urls)) == (expires_at, urls)


BAD = JOB | {"status": "failed"}
OOM = BAD | {"error": {"code": 500, "message": "CUDA out of memory. Tried to allocate 20.00 GiB"}}
FAILED = {
    "failed": (200, BAD | {"error": {"code": "moderation_blocked", "message": BLOCKED}}, POLICY, BLOCKED),
    "error as text": (200, BAD | {"error": "Content policy violation"}, POLICY, "Content policy violation"),
    "error without a code": (200, BAD | {"error": {"message": "engine"}}, "upstream_error", "engine"),
    "error with a number": (200, OOM, "upstream_error", "CUDA out of memory. Tried to allocate 20.00 GiB"),
    "error 400": (
        200,
        BAD | {"error": {"code": 400, "message": "Invalid size for this model"}},
        "invalid_request",
        "Invalid size for this model",
    ),
    "fail_reason": (200, BAD | {"fail_reason": "no GPU"}, "upstream_error", "no GPU"),
    "no reason": (200, BAD, "upstream_error", "The upstream ended the video as failed and gave no reason."),
    "cancelled": (
        200,
        JOB | {"status": "Cancelled"},
        "upstream_cancelled",
        "The upstream ended the video as cancelled and gave no reason.",
    ),
    "canceled": (200, JOB | {"status": "canceled", "error": "by hand"}, "upstream_cancelled", "by hand"),
    "expired": (200, JOB | {"status": "expired", "error": "too old"}, "upstream_expired", "too old"),
    "deleted": (200, JOB | {"status": "deleted", "error": "gone"}, "upstream_cancelled", "gone"),
    "wrapped": (200, {"data": {"task_id": "t", "status": "FAILURE", "fail_reason": "x y"}}, "upstream_error", "x y"),
    "completed with an error": (
        200,
        DONE | {"error": {"code": "moderation_blocked", "message": BLOCKED}},
        POLICY,
        BLOCKED,
    ),
    "completed with an error as text": (200, DONE | {"error": "render crashed"}, "upstream_error", "render crashed"),
    "withheld by moderation": (
        200,
        {"status": "done", "video": {"respect_moderation": False}},
        POLICY,
        "The result was withheld by moderation.",
    ),
    "HTTP 500 whose body is the failed job": (500, OOM, "upstream_error", OOM["error"]["message"]),
    "HTTP 400 whose body is the failed job": (
        400,
        BAD | {"error": {"code": 400, "message": "Invalid size for this model"}},
        "invalid_request",
        "Invalid size for this model",
    ),
    "HTTP 500 of LiteLLM that embeds the failed job": (
        500,
        litellm(OOM, 500),
        "upstream_error",
        OOM["error"]["message"],
    ),
    "HTTP 404 whose body is the failed job": (404, BAD | {"error": "x"}, "upstream_error", "x"),
}


@pytest.mark.parametrize(("status", "body", "code", "message"), FAILED.values(), ids=FAILED.keys())
def test_poll_says_failed_when_the_job_itself_failed(status: int, body: object, code: str, message: str) -> None:
    outcome = poll(reply(status, body))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.message) == (code, message)
    assert outcome.code in CODES


NO_ANSWER = {
    "unknown status": (reply(200, JOB | {"status": "flabbergasted"}), "unknown status"),
    "HTML": (reply(200, HTML), "not JSON"),
    "broken JSON": (reply(200, b'{"id": "video_1", "status": "fai'), "not JSON"),
    "an empty answer": (reply(200, b""), "not JSON"),
    "JSON that is no job": (reply(200, [1, 2]), "no job"),
    "an error under 200": (reply(200, error("x", "try later")), "no job"),
    "a status that ends no job": (reply(200, {"status": "error", "message": "try later"}), "no job"),
    "a success that ends no job": (reply(200, {"status": "success", "data": None}), "no job"),
    "a status that is a number": (reply(200, {"id": "v", "status": 500}), "no job"),
    "oversized": (reply(200, DONE, truncated=True), "oversized"),
    "a redirect": (reply(302, b"", {"Location": "https://login.example/"}), "redirect"),
    "408": (reply(408, b""), "HTTP 408"),
    "409": (reply(409, error()), "HTTP 409"),
    "425": (reply(425, b""), "HTTP 425"),
    "429": (reply(429, error("rate_limit_exceeded")), "HTTP 429"),
    "400": (reply(400, error("bad")), "HTTP 400"),
    "404 of a proxy": (reply(404, HTML), "HTTP 404"),
    "500": (reply(500, error("server_error")), "HTTP 500"),
    "500 whose status is about itself": (reply(500, {"status": "error", "message": "oops"}), "HTTP 500"),
    "500 with a job that is not failed": (reply(500, JOB), "HTTP 500"),
    "502 of HTML": (reply(502, HTML), "HTTP 502"),
    "503": (reply(503, b""), "HTTP 503"),
    "504": (reply(504, HTML), "HTTP 504"),
}


@pytest.mark.parametrize(("answer", "reason"), NO_ANSWER.values(), ids=NO_ANSWER.keys())
def test_poll_says_nothing_about_the_job_when_the_answer_is_a_hiccup(answer: Reply, reason: str) -> None:
    outcome = poll(answer)
    assert isinstance(outcome, NoAnswer)
    assert outcome.reason == reason


def test_poll_passes_retry_after_on_when_the_rate_is_too_high() -> None:
    outcome = poll(reply(429, b"", {"Retry-After": "11"}))
    assert isinstance(outcome, NoAnswer)
    assert outcome.retry_after_s == 11.0


MISSING = {
    "404": reply(404, error(404, "Video not found")),
    "404 empty": reply(404, b""),
    "404 of FastAPI": reply(404, {"detail": "Video not found"}),
    "410": reply(410, b""),
    "400 of new-api": reply(400, {"code": "task_not_exist", "message": "task_not_exist", "data": None}),
}


@pytest.mark.parametrize("answer", MISSING.values(), ids=MISSING.keys())
def test_poll_says_missing_when_the_upstream_does_not_know_the_job(answer: Reply) -> None:
    assert isinstance(poll(answer), Missing)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(401, error("invalid_api_key", "no")), "auth"),
        (reply(403, b""), "auth"),
        (reply(403, QUOTA_403), "quota"),
        (reply(402, b""), "quota"),
        (reply(429, error("insufficient_quota")), "quota"),
    ],
)
def test_poll_fails_no_job_when_the_key_is_refused(answer: Reply, reason: str) -> None:
    outcome = poll(answer)
    assert isinstance(outcome, KeyRefused)
    assert outcome.reason == reason


CONTENT = {
    "404": (404, error(404, "Video not found"), True, ContentMissing),
    "410": (410, b"", True, ContentMissing),
    "404 elsewhere": (404, b"", False, ContentMissing),
    "404 not finished": (404, error(404, "Generation is still in-progress"), True, ContentNotReady),
    "404 not ready": (404, error(None, "Video is not ready yet, use GET"), True, ContentNotReady),
    "401": (401, b"", True, KeyRefused),
    "403": (403, b"", True, KeyRefused),
    "401 elsewhere": (401, b"", False, ContentNotReady),
    "403 elsewhere": (403, b"", False, ContentNotReady),
    "400": (400, {"detail": "Video has been uploaded to cloud storage."}, True, ContentNotReady),
    "408": (408, b"", True, ContentNotReady),
    "409": (409, b"", True, ContentNotReady),
    "422": (422, error(422, "Video generation failed."), True, ContentNotReady),
    "425": (425, b"", True, ContentNotReady),
    "429": (429, b"", True, ContentNotReady),
    "500": (500, b"", True, ContentNotReady),
    "502": (502, HTML, True, ContentNotReady),
    "206 that nobody asked for": (206, b"", True, ContentNotReady),
    "a redirect to nowhere": (302, b"", True, ContentNotReady),
}


@pytest.mark.parametrize(("status", "body", "own", "kind"), CONTENT.values(), ids=CONTENT.keys())
def test_content_is_judged_by_the_status_when_it_is_not_200(status: int, body: object, own: bool, kind: type) -> None:
    assert isinstance(decide.content(reply(status, body), own=own, clean=CLEAN), kind)


def test_content_passes_retry_after_on_when_it_is_not_ready() -> None:
    outcome = decide.content(reply(409, b"", {"Retry-After": "4"}), own=True, clean=CLEAN)
    assert isinstance(outcome, ContentNotReady)
    assert (outcome.retry_after_s, outcome.invalid) == (4.0, False)


ENTRY = JOB | {"prompt": "a cat", "size": "1280x720", "seconds": "8", "created_at": 1764347090922}


def listed(body: object, *, status: int = 200, after: str | None = None) -> object:
    return decide.page(reply(status, body), dialect=OPENAI, after=after, clean=CLEAN)


def test_page_shows_every_fact_when_the_list_is_whole() -> None:
    page = listed({"object": "list", "data": [ENTRY], "first_id": "video_1", "last_id": "video_1", "has_more": False})
    assert isinstance(page, Page)
    assert page.next is None
    (video,) = page.videos
    assert (video.upstream_job_id, video.prompt, video.model, video.size, video.seconds) == (
        "video_1",
        "a cat",
        "sora-2",
        "1280x720",
        8,
    )
    assert video.created_at == pytest.approx(1764347090.922)
    assert isinstance(video.poll, Unfinished)
    assert "a cat" not in video.poll.answer.body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"data": [ENTRY], "has_more": True, "last_id": "video_last"}, "video_last"),
        ({"data": [ENTRY], "has_more": True}, "video_1"),
        ({"data": [ENTRY], "has_more": True, "last_id": None}, "video_1"),
        ({"data": [ENTRY] * decide.PAGE}, "video_1"),
        ({"data": [ENTRY]}, None),
        ({"data": []}, None),
    ],
)
def test_page_tells_the_next_cursor_when_there_is_more(body: object, expected: str | None) -> None:
    page = listed(body)
    assert isinstance(page, Page)
    assert page.next == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (HTML, "no list"),
        ({"data": None}, "no list"),
        ([ENTRY], "no list"),
        (error("x", "y"), "no list"),
        ({"data": [ENTRY, {"object": "video"}]}, "unreadable entry"),
        ({"data": [ENTRY, "video_2"]}, "unreadable entry"),
        ({"data": [], "has_more": True}, "endless list"),
        ({"data": [ENTRY], "has_more": True, "last_id": "video_0"}, "endless list"),
    ],
)
def test_page_proves_nothing_when_the_list_is_broken(body: object, reason: str) -> None:
    page = listed(body, after="video_0")
    assert isinstance(page, NoAnswer)
    assert page.reason == reason


def test_page_keeps_an_entry_whose_status_is_unknown() -> None:
    page = listed({"data": [ENTRY | {"status": "flabbergasted"}]})
    assert isinstance(page, Page)
    assert isinstance(page.videos[0].poll, NoAnswer)


@pytest.mark.parametrize(("status", "kind"), [(401, KeyRefused), (404, NoAnswer), (405, NoAnswer), (500, NoAnswer)])
def test_page_is_no_page_when_the_status_is_an_error(status: int, kind: type) -> None:
    assert isinstance(listed(error(), status=status), kind)


def test_answer_keeps_status_time_and_cleaned_words() -> None:
    outcome = submit(reply(500, error("x", "see https://u:p@h.example/a?sig=1 with sk-the-key-in-use")))
    assert isinstance(outcome, Unknown)
    assert (outcome.answer.status, outcome.answer.elapsed_s) == (500, 0.25)
    assert "https://…@h.example/a?…" in outcome.answer.body
    assert "sk-the-key-in-use" not in outcome.answer.body


@pytest.mark.parametrize(("status", "expected"), [(200, False), (404, False), (302, True), (429, True), (500, True)])
def test_a_hiccup_is_told_from_an_answer(status: int, expected: bool) -> None:
    assert replies.is_hiccup(reply(status, b"")) is expected
