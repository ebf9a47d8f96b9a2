"""Submits whose answer was lost: adopted, submitted again or given up, and never another's video."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests
from PIL import Image

from gateway.settings import ONLY
from tests.service.ground import Ground, migrated, open_ground
from tests.service.rig import SIZE, UPSTREAM_KEY, Rig


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture
def rig(ground: Ground) -> Iterator[Rig]:
    with ground.rig(reconcile_after_s=20) as rig:
        yield rig


@pytest.fixture(params=["sqlite", "postgresql"])
def on_either(ground: Ground, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A gateway on SQLite, and one on PostgreSQL."""
    with ExitStack() as stack:
        url = ""
        if request.param == "postgresql":
            url = stack.enter_context(request.getfixturevalue("postgres_server").database(migrated))
        yield stack.enter_context(ground.rig(reconcile_after_s=20, database_url=url))


def picture(colour: str) -> bytes:
    """A picture of one colour, of the video's own dimensions."""
    width, height = SIZE.split("x")
    file = io.BytesIO()
    Image.new("RGB", (int(width), int(height)), colour).save(file, "PNG")
    return file.getvalue()


def posted_with_pictures(rig: Rig, prompt: str) -> dict[str, bytes]:
    """Alice and Bob post the same prompt with a picture each."""
    pictures = {"alice": picture("red"), "bob": picture("blue")}
    return {
        rig.post(prompt, client=client, picture=io.BytesIO(data), callback_url=rig.inbox.url): data
        for client, data in pictures.items()
    }


# -- nobody gets another's ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "submit-reset-after*2",
        "submit-reset sim:submit-reset-after",
        "submit-reset-after sim:submit-reset",
        "submit-reset*2",
        "submit-reset-after*3",
    ],
)
def test_nobody_gets_anothers_picture_when_both_answers_were_lost(on_either: Rig, words: str) -> None:
    rig = on_either
    rig.play(rig.final(rig.post("an earlier one")))
    prompt = rig.prompt(words)
    videos = posted_with_pictures(rig, prompt)

    rig.play(rig.final(*videos))

    for video_id, data in videos.items():
        rig.ends(video_id, "completed")
        assert rig.picture(video_id) == hashlib.sha256(data).hexdigest()
    made = [video.id for video in rig.made(prompt)]
    assert sorted(made) == sorted(str(rig.upstream_id(video_id)) for video_id in videos)


def test_an_equal_video_waits_until_a_lost_one_is_settled(rig: Rig) -> None:
    rig.simulator.faults("list-503-plain*4")
    prompt = rig.prompt("submit-reset-after")
    both = list(posted_with_pictures(rig, prompt))
    # Whichever of the two was submitted first.
    rig.play(lambda: sum(rig.happened(video_id).count("list_unanswered") for video_id in both) == 4)
    assert len(rig.submits(prompt)) == 1

    rig.play(rig.final(*both))

    assert all("accepted" in rig.happened(video_id) for video_id in both)
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 2


def test_a_video_is_never_guessed_when_two_could_be_it(rig: Rig) -> None:
    # Somebody else uses the key, which the README asks not to.
    prompt = rig.prompt("submit-reset-after@2")
    stranger = requests.post(
        f"{rig.simulator.base_url}/videos",
        json={"prompt": prompt, "size": SIZE},
        headers={"Authorization": f"Bearer {UPSTREAM_KEY}"},
        timeout=10,
    )
    assert stranger.status_code == 200
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "failed", code="submission_unknown")
    assert rig.upstream_id(video_id) is None
    assert len(rig.submits(prompt)) == 2


def test_nobody_adopts_what_was_made_for_an_equal_video_that_was_given_up(ground: Ground) -> None:
    with ground.rig(resubmit_unknown="true") as rig:
        # Alice's first is made, but nobody can see it; she gets her second. Then Bob's is lost and was not made.
        rig.simulator.faults("list-hide")
        prompt = rig.prompt("submit-reset-after sim:submit-reset@3")
        alice = rig.post(prompt, picture=io.BytesIO(picture("red")), callback_url=rig.inbox.url)
        rig.play(rig.final(alice))
        rig.ends(alice, "completed", event="submitted_again_unproven")
        rig.simulator.faults()
        bob = rig.post(prompt, client="bob", picture=io.BytesIO(picture("blue")), callback_url=rig.inbox.url)

        rig.play(rig.final(bob))

        rig.ends(bob, "failed", code="submission_unknown")
        assert rig.upstream_id(bob) is None


# -- lists that are long, late or empty --------------------------------------------------------------------------------


def test_a_lost_video_is_found_on_a_later_page(rig: Rig) -> None:
    # The list fails once, so that five others are made before it is walked, and stand before the lost one.
    rig.simulator.faults("list-502", "list-pages=2")
    prompt = rig.prompt("submit-reset-after")
    lost = rig.post(prompt)
    rig.tick()
    others = [rig.post(rig.prompt()) for _ in range(4)]
    rig.play(lambda: len(rig.simulator.books().videos) == 5)
    lists = rig.simulator.books().count("lists")
    assert rig.status(lost) == "queued"

    rig.play(rig.final(lost, *others))

    rig.ends(lost, "completed", event="list_unanswered")
    assert rig.simulator.books().count("lists") >= lists + 3
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1


def test_a_video_is_proven_absent_only_by_walks_through_every_page(rig: Rig) -> None:
    rig.play(rig.final(*(rig.post(rig.prompt()) for _ in range(5))))
    polled_by_list = rig.simulator.books().count("lists")
    rig.simulator.faults("list-pages=2")
    prompt = rig.prompt("submit-reset")
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="proven_absent")
    assert rig.simulator.books().count("lists") - polled_by_list == 6
    assert (len(rig.submits(prompt)), len(rig.made(prompt))) == (2, 1)


def test_a_lost_video_is_adopted_when_the_list_shows_it_late(rig: Rig) -> None:
    rig.play(rig.final(rig.post("an earlier one")))
    prompt = rig.prompt("submit-reset-after sim:list-lag=15")
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="not_in_list")
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1


@pytest.mark.parametrize("word", ["submit-reset-after", "submit-reset"])
def test_a_list_that_is_always_empty_proves_nothing(rig: Rig, word: str) -> None:
    rig.play(rig.final(rig.post("an earlier one")))
    rig.simulator.faults("list-hide")
    prompt = rig.prompt(word)
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "failed", code="submission_unknown", event="not_in_list")
    assert len(rig.submits(prompt)) == 1


def test_a_list_that_is_always_empty_lets_the_operator_decide(ground: Ground) -> None:
    rig = ground.shared(resubmit_unknown="true")
    rig.simulator.faults("list-hide")
    prompt = rig.prompt("submit-reset")
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="submitted_again_unproven")
    assert (len(rig.submits(prompt)), len(rig.made(prompt))) == (2, 1)


# -- what is not sent is not lost --------------------------------------------------------------------------------------


def test_a_video_that_is_cancelled_between_its_intent_and_the_first_byte_is_never_sent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    submits = rig.installation.upstreams[ONLY].adapter._submits
    really = submits.exchange
    prompt = rig.prompt()
    video_id = rig.post(prompt)

    def exchange(*args: object, **options: object) -> object:
        assert rig.api.cancel(video_id).status_code == 200
        return really(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(submits, "exchange", exchange)

    rig.play(lambda: rig.status(video_id) == "cancelled" and rig.slots() == 0)

    assert rig.submits(prompt) == []
