"""Every row of the submit's decision table, as a fault of the upstream, and what the client sees of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest

from tests.service.ground import Ground, open_ground
from tests.service.rig import Rig

DIALECTS = ("openai", "apiyi", "openrouter")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture
def rig(ground: Ground, dialect: str) -> Rig:
    return ground.shared(dialect=dialect)


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def proven(rig: Rig) -> Rig:
    """Let the upstream's list show something that this key is known to have accepted."""
    rig.play(rig.final(rig.post("an earlier one")))
    return rig


# -- surely not accepted -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "waits_s"),
    [
        ("429 rate, Retry-After", ("submit-429=40", 40)),
        ("503 overloaded, Retry-After", ("submit-503=40", 40)),
        ("429 rate", ("submit-429-bare", 0)),
        ("429 slow_down", ("submit-slow-down", 0)),
        ("429 rate, again and again", ("submit-429-bare*4", 0)),
        ("409", ("submit-409", 0)),
        ("425", ("submit-425", 0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_video_waits_and_is_submitted_again_when_it_was_surely_not_accepted(
    rig: Rig, row: str, waits_s: tuple[str, float]
) -> None:
    word, least_s = waits_s
    prompt = rig.prompt(word)
    video_id = rig.post(prompt)
    rig.tick()
    assert rig.status(video_id) == "queued"

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="not_accepted")
    assert len(rig.made(prompt)) == 1
    first, second, *_ = (note.received_at for note in rig.submits(prompt))
    assert second - first >= least_s


def test_a_video_waits_for_an_upstream_that_refuses_the_connection(ground: Ground, dialect: str) -> None:
    with ground.rig(dialect=dialect) as rig:
        port = int(rig.simulator.url.rsplit(":", 1)[1])
        rig.simulator.stop()
        prompt = rig.prompt()
        video_id = rig.post(prompt)
        for _ in range(3):
            rig.tick()
            rig.leap(60)
        assert rig.status(video_id) == "queued"

        with ground.simulator(rig.time, dialect=dialect, port=port) as rig.simulator:
            rig.play(rig.final(video_id))

            rig.ends(video_id, "completed", event="not_accepted")
            assert len(rig.made(prompt)) == len(rig.submits(prompt)) == 1


# -- the key -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Key:
    """How an upstream refuses a key."""

    word: str
    reason: str


KEYS = {
    "quota: insufficient_quota": Key(word="submit-quota", reason="quota"),
    "quota: credit_balance_exhausted": Key(word="submit-credit", reason="quota"),
    "quota: 402": Key(word="submit-402", reason="quota"),
    "401": Key(word="submit-401", reason="auth"),
    "403": Key(word="submit-403", reason="auth"),
}


@pytest.mark.parametrize("row", KEYS)
def test_a_refused_key_pauses_and_fails_no_video(rig: Rig, row: str, caplog: pytest.LogCaptureFixture) -> None:
    refused, other = rig.prompt(KEYS[row].word), rig.prompt()
    video_id = rig.post(refused)
    rig.tick()
    later = rig.post(other)
    rig.tick()

    assert rig.status(video_id) == rig.status(later) == "queued"
    assert rig.video(video_id)["error"] is None
    assert [(key["key"], key["reason"]) for key in rig.paused()] == [("1", KEYS[row].reason)]
    assert rig.gauge("gateway_upstream_key_paused") == 1
    assert [record.levelno for record in caplog.records if "refuses key" in record.getMessage()] == [logging.ERROR]
    assert len(rig.submits(other)) == 0

    assert rig.resume() == 1
    rig.play(rig.final(video_id, later), longest_s=200)

    rig.ends(video_id, "completed", event="key_refused")
    assert len(rig.made(refused)) == len(rig.made(other)) == 1
    assert rig.paused() == []
    assert rig.gauge("gateway_upstream_key_paused") == 0


@pytest.mark.parametrize("word", ["submit-quota*3", "submit-401*3"])
def test_a_refused_key_is_probed_by_one_submit_at_a_time_until_it_is_taken(rig: Rig, word: str) -> None:
    prompts = [rig.prompt() for _ in range(3)]
    rig.simulator.faults(word)
    first = rig.post(prompts[0])
    rig.tick()
    videos = [first, *(rig.post(prompt) for prompt in prompts[1:])]

    rig.play(rig.final(*videos))

    for video_id in videos:
        rig.ends(video_id, "completed")
    notes = sorted((note for prompt in prompts for note in rig.submits(prompt)), key=lambda note: note.received_at)
    refused = [note.received_at for note in notes if note.answer != "200"]
    waits = [after - before for before, after in pairwise([*refused, notes[3].received_at])]
    assert [round(wait / 30) for wait in waits] == [1, 2, 4]
    assert [len(rig.made(prompt)) for prompt in prompts] == [1, 1, 1]


@pytest.mark.parametrize(
    ("word", "code"), [("submit-quota*all", "insufficient_quota"), ("submit-401*all", "upstream_auth")]
)
def test_a_video_fails_for_its_key_only_when_it_has_waited_as_long_as_it_may(
    ground: Ground, dialect: str, word: str, code: str
) -> None:
    rig = ground.shared(dialect=dialect, queue_timeout_s=300)
    prompt = rig.prompt(word)
    video_id = rig.post(prompt)
    began = rig.time.wall()

    rig.play(rig.final(video_id))

    assert rig.time.wall() - began >= 300
    rig.ends(video_id, "failed", code=code, event="key_refused")
    assert rig.made(prompt) == []


# -- refused -----------------------------------------------------------------------------------------------------------

REFUSED = {
    "400": ("submit-400", "invalid_request", "The request is not valid."),
    "400 moderation": ("submit-moderation", "content_policy_violation", None),
    "404": ("submit-404", "model_not_found", "The model does not exist or you do not have access to it."),
    "413": ("submit-413", "invalid_request", "Request body too large."),
    "415": ("submit-415", "invalid_request", "Unsupported media type."),
    "422": ("submit-422", "invalid_request", "The request is not processable."),
}
MODERATED = {
    "openai": "Your request was blocked by our moderation system.",
    "apiyi": "Content policy violation",
    "openrouter": "The model requires moderation and your input was flagged.",
}


@pytest.mark.parametrize("row", REFUSED)
def test_a_refused_video_fails_with_the_reason_and_is_not_submitted_again(rig: Rig, row: str, dialect: str) -> None:
    word, code, message = REFUSED[row]
    prompt = rig.prompt(f"{word}*all")
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    video = rig.ends(video_id, "failed", code=code, event="failed")
    assert video["error"]["message"] == (message or MODERATED[dialect])
    assert len(rig.submits(prompt)) == 1
    assert rig.made(prompt) == []
    assert rig.paused() == []


# -- accepted, spelled otherwise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["task_id", "request_id", "data.id", "data.task_id"])
def test_the_id_of_an_accepted_video_is_found_wherever_it_stands(rig: Rig, path: str) -> None:
    prompt = rig.prompt(f"submit-id-as={path}")
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="accepted")
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1


# -- the answer is lost ------------------------------------------------------------------------------------------------

MADE = {
    "2xx without any id": "submit-no-id",
    "2xx HTML, made": "submit-html-after",
    "2xx broken JSON": "submit-broken",
    "2xx empty": "submit-blank",
    "2xx JSON array": "submit-array",
    "2xx oversized": "submit-huge=2000000",
    "cut in the middle": "submit-cut",
    "reset, made": "submit-reset-after",
    "500, made": "submit-500-after",
    "502, made": "submit-502-after",
    "503 plain, made": "submit-503-plain-after",
    "504, made": "submit-504-after",
    "time-out": "submit-slow=5",
}
ABSENT = {
    "2xx HTML": "submit-html",
    "reset": "submit-reset",
    "408": "submit-408",
    "500": "submit-500",
    "502": "submit-502",
    "503 plain": "submit-503-plain",
    "504": "submit-504",
}


@pytest.mark.parametrize("row", MADE)
def test_a_video_whose_answer_was_lost_is_adopted_from_the_list(ground: Ground, row: str) -> None:
    settings = {"submit_timeout_s": 1} if row == "time-out" else {}
    rig = ground.shared(**settings)
    prompt = rig.prompt(MADE[row])
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="submit_unanswered")
    assert [event["detail"]["how"] for event in rig.events(video_id) if event["event"] == "accepted"] == ["adopted"]
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1


@pytest.mark.parametrize("row", ABSENT)
def test_a_video_that_is_proven_absent_is_submitted_again(ground: Ground, row: str) -> None:
    rig = ground.shared()
    proven(rig)
    prompt = rig.prompt(ABSENT[row])
    video_id = rig.post(prompt)
    began = rig.time.wall()

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="proven_absent")
    assert (len(rig.submits(prompt)), len(rig.made(prompt))) == (2, 1)
    again = next(event["at"] for event in rig.events(video_id) if event["event"] == "proven_absent")
    assert again - began >= rig.installation.settings.reconcile_after_s


@pytest.mark.parametrize("row", [*MADE, *ABSENT])
def test_a_video_whose_answer_was_lost_is_never_submitted_again_when_the_upstream_has_no_list(
    ground: Ground, row: str
) -> None:
    settings = {"submit_timeout_s": 1} if row == "time-out" else {}
    rig = ground.shared(dialect="apiyi", **settings)
    prompt = rig.prompt({**MADE, **ABSENT}[row])
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "failed", code="submission_unknown", event="submit_unanswered")
    assert (len(rig.submits(prompt)), len(rig.made(prompt))) == (1, int(row in MADE))


@pytest.mark.parametrize("row", ["500, made", "500"])
def test_a_video_whose_answer_was_lost_is_submitted_again_when_the_operator_chose_so(ground: Ground, row: str) -> None:
    rig = ground.shared(dialect="apiyi", resubmit_unknown="true")
    prompt = rig.prompt({**MADE, **ABSENT}[row])
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="submitted_again_unproven")
    assert len(rig.submits(prompt)) == 2
