"""Every row of the poll's decision table, as a fault of the upstream, and what the client sees of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.service.ground import Ground, open_ground
from tests.service.rig import Rig


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture(params=("openai", "apiyi", "openrouter"))
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(ground: Ground, dialect: str) -> Rig:
    return ground.shared(dialect=dialect)


HICCUPS = {
    "408": "poll-408",
    "409": "poll-409",
    "425": "poll-425",
    "429": "poll-429-bare",
    "500": "poll-500",
    "502": "poll-502",
    "503 overloaded": "poll-503=1",
    "503 plain": "poll-503-plain",
    "504": "poll-504",
    "HTML": "poll-html",
    "reset": "poll-reset",
    "cut in the middle": "poll-cut",
    "broken JSON": "poll-broken",
    "empty": "poll-blank",
    "JSON array": "poll-array",
    "oversized": "poll-huge=2000000",
    "unknown status word": "poll-status=thinking",
}


@pytest.mark.parametrize("row", HICCUPS)
def test_a_video_outlives_a_hiccup_of_its_polls(rig: Rig, row: str) -> None:
    prompt = rig.prompt(f"{HICCUPS[row]}*3")
    video_id = rig.post(prompt)
    # A GET that is reset on a kept-alive connection is sent once more at once, so three resets may be two polls.
    rig.play(lambda: rig.happened(video_id).count("poll_unanswered") >= 2)
    assert (rig.video(video_id)["status"], rig.video(video_id)["error"]) == ("in_progress", None)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="poll_unanswered")
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1


def test_a_video_outlives_a_poll_that_does_not_answer_in_time(ground: Ground, dialect: str) -> None:
    rig = ground.shared(dialect=dialect, poll_timeout_s=0.3)
    video_id = rig.post(rig.prompt("poll-slow=5"))

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="poll_unanswered")


@pytest.mark.parametrize("word", ["poll-429=100", "poll-503=100"])
def test_the_next_poll_waits_as_long_as_the_upstream_asks(ground: Ground, dialect: str, word: str) -> None:
    rig = ground.shared(dialect=dialect, max_wait_s=600)
    video_id = rig.post(rig.prompt(word))

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed")
    times = {event["event"]: event["at"] for event in rig.events(video_id)}
    assert times["rendered"] - times["poll_unanswered"] >= 100


@pytest.mark.parametrize("word", ["poll-503-plain*all", "poll-html*all", "poll-status=thinking*all"])
def test_a_video_times_out_when_no_poll_is_ever_answered(rig: Rig, word: str) -> None:
    prompt = rig.prompt(word)
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "failed", code="upstream_timeout", event="poll_unanswered")
    times = {event["event"]: event["at"] for event in rig.events(video_id)}
    assert times["failed"] - times["accepted"] >= 3 * rig.installation.settings.max_wait_s
    assert len(rig.submits(prompt)) == 1


# -- 404 ---------------------------------------------------------------------------------------------------------------


def test_a_video_that_is_not_visible_yet_is_not_lost(rig: Rig) -> None:
    video_id = rig.post(rig.prompt("poll-404*2"))

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="poll_not_found")


def test_a_video_that_its_upstream_does_not_know_any_more_fails_and_is_not_submitted_again(rig: Rig) -> None:
    prompt = rig.prompt("poll-404*all")
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "failed", code="upstream_job_lost", event="poll_not_found")
    assert rig.made(prompt)[0].polls == 4
    assert len(rig.submits(prompt)) == 1


# -- the key -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "reason"), [("poll-401", "auth"), ("poll-403", "auth"), ("poll-quota", "quota")])
def test_a_key_that_is_refused_at_a_poll_pauses_and_fails_no_video(
    rig: Rig, word: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    # For far longer than the video may take, which is unfinished still: its own clock stands still meanwhile.
    prompt = rig.prompt(f"{word}*20 sim:render=660")
    video_id = rig.post(prompt)
    rig.play(lambda: rig.happened(video_id).count("poll_key_refused") == 10)

    assert (rig.video(video_id)["status"], rig.video(video_id)["error"]) == ("in_progress", None)
    assert [(key["key"], key["reason"]) for key in rig.paused()] == [("1", reason)]
    assert rig.gauge("gateway_upstream_key_paused") == 1
    assert logging.ERROR in {record.levelno for record in caplog.records if "refuses key" in record.getMessage()}

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="poll_key_refused")
    times = {event["event"]: event["at"] for event in rig.events(video_id)}
    assert times["rendered"] - times["accepted"] > 3 * rig.installation.settings.max_wait_s
    rig.play(rig.final(rig.post(rig.prompt())))
    assert rig.paused() == []


# -- how it ends -------------------------------------------------------------------------------------------------------

FATES = {
    "failed, error object": ("fail-error", "upstream_error", "The model failed to make the video."),
    "failed, error text": ("fail-string", "upstream_error", "Content generation failed"),
    "failed, no error": ("fail-null", "upstream_error", "The upstream ended the video as failed and gave no reason."),
    "failed by moderation": ("fail-moderation", "content_policy_violation", None),
    "HTTP 500 with a failed job": ("fail-http=500", "upstream_error", "CUDA out of memory"),
    "HTTP 422 with a failed job": ("fail-http=422", "upstream_error", "CUDA out of memory"),
    "completed with an error": ("completed-error", "content_policy_violation", "The result was blocked by moderation."),
    "expired": ("expired", "upstream_expired", "The upstream ended the video as expired and gave no reason."),
    "cancelled": ("cancelled", "upstream_cancelled", "The upstream ended the video as cancelled and gave no reason."),
}
MODERATED = {
    "openai": "Your request was blocked by our moderation system.",
    "apiyi": "Content policy violation",
    "openrouter": "The model requires moderation and your input was flagged.",
}


@pytest.mark.parametrize("row", FATES)
def test_a_video_that_fails_upstream_fails_with_the_reason(rig: Rig, row: str, dialect: str) -> None:
    word, code, message = FATES[row]
    prompt = rig.prompt(word)
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    video = rig.ends(video_id, "failed", code=code, event="failed")
    assert video["error"]["message"] == (message or MODERATED[dialect])
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1
    assert rig.made(prompt)[0].content_requests == 0


@pytest.mark.parametrize("word", ["synonyms", "synonyms sim:fail-error"])
def test_other_words_for_a_status_are_understood(rig: Rig, word: str) -> None:
    video_id = rig.post(rig.prompt(word))

    rig.play(rig.final(video_id))

    failed = "fail" in word
    rig.ends(video_id, "failed" if failed else "completed", code="upstream_error" if failed else None)


@pytest.mark.parametrize("word", ["millis", "no-progress", "no-expiry"])
def test_a_video_completes_however_its_times_and_progress_are_spelled(rig: Rig, word: str) -> None:
    video_id = rig.post(rig.prompt(word))

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed")


def test_a_video_that_is_stuck_times_out_and_gives_its_slot_back(rig: Rig, dialect: str) -> None:
    prompt = rig.prompt("stuck=99")
    video_id = rig.post(prompt)
    # OpenRouter tells no progress.
    rig.play(lambda: rig.video(video_id)["progress"] == (0 if dialect == "openrouter" else 99))
    rig.play(lambda: rig.status(video_id) == "in_progress")

    rig.play(rig.final(video_id))

    times = {event["event"]: event["at"] for event in rig.events(video_id)}
    assert times["failed"] - times["accepted"] >= rig.installation.settings.max_wait_s
    rig.ends(video_id, "failed", code="upstream_timeout")
    assert rig.slots() == 0
    assert [video.cancelled for video in rig.made(prompt)] == [dialect == "openai"]
