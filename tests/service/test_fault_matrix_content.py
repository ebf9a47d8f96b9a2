"""Every row of the download's decision table, as a fault of the upstream, and what the client sees of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise

import pytest

from gateway.upstreams.content import Limits as DownloadLimits
from tests.service.ground import Ground, open_ground
from tests.service.rig import Rig

IMPATIENT = DownloadLimits(first_byte_s=0.5, stall_s=0.3, size=4 << 20)


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


@pytest.fixture
def impatient(ground: Ground, dialect: str) -> Rig:
    """A gateway that waits for no byte longer than half a second, and takes no more than 4 MiB."""
    return ground.shared(dialect=dialect, downloads=IMPATIENT)


# -- a download that fails is repeated ---------------------------------------------------------------------------------

AGAIN = {
    "400 right after completed": ("content-400*2", "content_not_ready"),
    "404 right after completed": ("content-404*3", "content_not_found"),
    "408": ("content-408*2", "content_not_ready"),
    "409": ("content-409*2", "content_not_ready"),
    "425": ("content-425*2", "content_not_ready"),
    "429": ("content-429-bare*2", "content_not_ready"),
    "500": ("content-500*2", "content_not_ready"),
    "502": ("content-502*2", "content_not_ready"),
    "503 overloaded": ("content-503=1*2", "content_not_ready"),
    "503 plain": ("content-503-plain*2", "content_not_ready"),
    "504": ("content-504*2", "content_not_ready"),
    "HTML": ("content-html*2", "content_not_ready"),
    "JSON": ("content-json*2", "content_not_ready"),
    "bytes that are no video": ("content-wrong*2", "content_not_ready"),
    "no bytes": ("content-blank*2", "content_not_ready"),
    "reset": ("content-reset*4", "content_not_ready"),
    "reset in the middle": ("content-reset-late*2", "content_broken"),
    "shorter than Content-Length": ("content-cut*2", "content_broken"),
}


@pytest.mark.parametrize("row", AGAIN)
def test_a_download_that_fails_is_repeated(rig: Rig, row: str) -> None:
    word, event = AGAIN[row]
    prompt = rig.prompt(word)
    video_id = rig.post(prompt)
    rig.play(lambda: event in rig.happened(video_id))
    seen = rig.video(video_id)
    assert (seen["status"], seen["url"], seen["error"], rig.callbacks(video_id)) == ("in_progress", None, None, [])

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event=event)
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1


@pytest.mark.parametrize(
    ("word", "event"),
    [
        ("content-stall*2", "content_broken"),
        ("content-slow=5", "content_not_ready"),
        ("content-endless", "content_broken"),
    ],
)
def test_a_download_that_does_not_get_on_is_broken_off_and_repeated(impatient: Rig, word: str, event: str) -> None:
    video_id = impatient.post(impatient.prompt(word))

    impatient.play(impatient.final(video_id))

    impatient.ends(video_id, "completed", event=event)


@pytest.mark.parametrize("word", ["content-429=100", "content-503=100"])
def test_the_next_download_waits_as_long_as_the_upstream_asks(rig: Rig, word: str) -> None:
    video_id = rig.post(rig.prompt(word))

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="content_not_ready")
    times = {event["event"]: event["at"] for event in rig.events(video_id)}
    assert times["completed"] - times["rendered"] >= 100


def test_downloads_that_fail_are_repeated_after_4_10_and_30_seconds(ground: Ground) -> None:
    rig = ground.shared()
    video_id = rig.post(rig.prompt("content-502*4"))

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed")
    tries = [event["at"] for event in rig.events(video_id) if event["event"] in {"content_not_ready", "completed"}]
    assert [round(after - before) for before, after in pairwise(tries)] == [4, 10, 30, 30]


# -- the key -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "reason"), [("content-401", "auth"), ("content-403", "auth"), ("content-quota", "quota")]
)
def test_a_key_that_is_refused_at_a_download_pauses_and_fails_no_video(
    rig: Rig, word: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    video_id = rig.post(rig.prompt(f"{word}*3"))
    rig.play(lambda: "content_key_refused" in rig.happened(video_id))

    assert (rig.video(video_id)["status"], rig.video(video_id)["error"]) == ("in_progress", None)
    assert [(key["key"], key["reason"]) for key in rig.paused()] == [("1", reason)]
    assert rig.gauge("gateway_upstream_key_paused") == 1
    assert logging.ERROR in {record.levelno for record in caplog.records if "refuses key" in record.getMessage()}

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="content_key_refused")
    rig.play(rig.final(rig.post(rig.prompt())))
    assert rig.paused() == []


# -- a whole video, however it is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["content-chunked", "content-close", "content-drip=20000", "content-redirect"])
def test_a_whole_video_is_stored_however_it_is_sent(rig: Rig, word: str) -> None:
    prompt = rig.prompt(f"{word} sim:bytes=10000")
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed")
    assert "content_broken" not in rig.happened(video_id)
    assert rig.made(prompt)[0].downloads == 1


def test_a_redirect_to_another_origin_is_followed_without_the_key(ground: Ground, dialect: str) -> None:
    with ground.rig(dialect=dialect) as rig:
        elsewhere = rig.simulator.url.replace("127.0.0.1", "localhost")
        prompt = rig.prompt(f"content-redirect={elsewhere}")
        video_id = rig.post(prompt)

        rig.play(rig.final(video_id))

        rig.ends(video_id, "completed")
        assert rig.simulator.books().count("files") == rig.made(prompt)[0].downloads == 1
        assert rig.simulator.books().count("files_with_key") == 0


# -- no video is to be had ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "word"), [("404", "content-404*all"), ("410", "content-410*all")])
def test_content_that_is_gone_fails_the_video_only_after_four_tries_over_30_seconds(
    rig: Rig, row: str, word: str
) -> None:
    prompt = rig.prompt(word)
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "failed", code="content_expired", event="content_not_found")
    times = [event["at"] for event in rig.events(video_id) if event["event"] in {"content_not_found", "failed"}]
    assert len(times) == 4
    assert times[-1] - times[0] >= 30
    assert len(rig.submits(prompt)) == 1


def test_content_that_expires_while_its_upstream_is_in_trouble_fails_the_video(rig: Rig) -> None:
    video_id = rig.post(rig.prompt("expires=90 sim:content-502*5"))

    rig.play(rig.final(video_id))

    rig.ends(video_id, "failed", code="content_expired")


ENDLESS = {
    "400": ("content-400*all", "content_expired"),
    "409": ("content-409*all", "content_expired"),
    "429": ("content-429-bare*all", "content_expired"),
    "5xx": ("content-502*all", "content_expired"),
    "reset": ("content-reset*all", "content_expired"),
    "shorter than Content-Length": ("content-cut*all", "content_expired"),
    "HTML": ("content-html*all", "content_invalid"),
    "JSON": ("content-json*all", "content_invalid"),
    "bytes that are no video": ("content-wrong*all", "content_invalid"),
    "no bytes": ("content-blank*all", "content_invalid"),
}


@pytest.mark.parametrize("row", ENDLESS)
def test_a_video_fails_for_its_content_only_when_its_time_is_over(ground: Ground, dialect: str, row: str) -> None:
    rig = ground.shared(dialect=dialect, content_wait_s=200)
    word, code = ENDLESS[row]
    prompt = rig.prompt(f"{word} sim:no-expiry")
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "failed", code=code)
    times = {event["event"]: event["at"] for event in rig.events(video_id)}
    assert times["failed"] - times["rendered"] >= 200
    assert len(rig.submits(prompt)) == 1


@pytest.mark.parametrize("word", ["content-endless*all", "content-stall*all"])
def test_a_video_whose_content_never_ends_fails_and_leaves_nothing_in_the_bucket(
    ground: Ground, dialect: str, word: str
) -> None:
    rig = ground.shared(dialect=dialect, downloads=IMPATIENT, content_wait_s=61)
    video_id = rig.post(rig.prompt(f"{word} sim:no-expiry"))

    rig.play(rig.final(video_id))

    rig.ends(video_id, "failed", code="content_expired", event="content_broken")
    assert ground.objects(video_id) == []
