"""The decision tables of a poll, a download and a list, row by row: what each answer says of the job."""

from __future__ import annotations

import pytest

from gateway.jobs.codes import CODES
from gateway.outbound.session import Reply
from gateway.upstreams import decide
from gateway.upstreams.port import (
    ContentMissing,
    ContentNotReady,
    Failed,
    Finished,
    KeyRefused,
    Missing,
    NoAnswer,
    Page,
    Unfinished,
)
from tests.answers import BLOCKED, CLEAN, HTML, JOB, OPENAI, POLICY, QUOTA_403, error, litellm, poll, reply

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
NO_MEMORY = "CUDA out of memory. Tried to allocate 20.00 GiB"
OOM = BAD | {"error": {"code": 500, "message": NO_MEMORY}}
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
    "HTTP 500 whose body is the failed job": (500, OOM, "upstream_error", NO_MEMORY),
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
        NO_MEMORY,
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
    "500 that names the model": (reply(500, {"status": "failed", "model": "sora-2", "message": "oops"}), "HTTP 500"),
    "502 with an id of its own": (reply(502, {"id": "req_1", "status": "error", "message": "oops"}), "HTTP 502"),
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
