"""Room upstream: never more than there is, shared among the clients, and a queue that has an end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.ground import Ground, open_ground
from tests.service.rig import Rig

MOST = 5


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture(params=("openai", "apiyi"))
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(ground: Ground, dialect: str) -> Iterator[Rig]:
    """A gateway whose upstream refuses a sixth video."""
    with ground.rig(dialect=dialect, simulator={"max_concurrent": MOST}) as rig:
        yield rig


def assert_full_and_never_over(rig: Rig) -> None:
    books = rig.simulator.books()
    assert books.count("refused_concurrency") == 0
    assert [note.answer for note in books.submissions if note.answer != "200"] == []
    assert books.most_in_progress == {"1": MOST}


# -- cancel 5 of 5, then post 5 more -----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "delete-500", "delete-reset*all", "delete-503-plain*all"])
def test_an_upstream_refuses_none_of_five_more_when_five_of_five_are_cancelled(
    rig: Rig, dialect: str, word: str
) -> None:
    first = [rig.post(rig.prompt(word)) for _ in range(MOST)]
    rig.play(lambda: rig.simulator.books().count("accepted") == MOST)

    assert [rig.api.cancel(video_id).json["status"] for video_id in first] == ["cancelled"] * MOST
    more = [rig.post(rig.prompt()) for _ in range(MOST)]
    rig.play(rig.final(*more))

    for video_id in more:
        rig.ends(video_id, "completed")
    assert_full_and_never_over(rig)
    assert rig.simulator.books().count("accepted") == 2 * MOST
    # Where it can be told to stop, it is; else its place is taken until it is seen to be done.
    assert rig.simulator.books().count("cancels") == (MOST if dialect == "openai" and word == "" else 0)
    assert [rig.status(video_id) for video_id in first] == ["cancelled"] * MOST


def test_an_upstream_refuses_none_when_five_of_five_are_cancelled_while_they_are_submitted(rig: Rig) -> None:
    prompts = [rig.prompt("submit-hold-after") for _ in range(MOST)]
    first = [rig.post(prompt) for prompt in prompts]
    rig.workers[0].begin()
    assert rig.simulator.wait_for(lambda books: len(books.holding) == MOST)

    assert [rig.api.cancel(video_id).json["status"] for video_id in first] == ["cancelled"] * MOST
    more = [rig.post(rig.prompt()) for _ in range(MOST)]
    rig.workers[0].begin()
    rig.simulator.release()
    rig.workers[0].finish()
    rig.play(rig.final(*more))

    for video_id in more:
        rig.ends(video_id, "completed")
    assert_full_and_never_over(rig)
    assert [len(rig.made(prompt)) for prompt in prompts] == [1] * MOST


def test_a_cancelled_video_whose_answer_was_lost_keeps_its_place_for_as_long_as_it_may_take(rig: Rig) -> None:
    prompt = rig.prompt("submit-reset-after sim:stuck=50")
    lost = rig.post(prompt)
    rig.simulator.faults("list-503-plain*all")
    rig.tick()
    rig.api.cancel(lost)
    cancelled_at = rig.time.wall()
    assert rig.slots() == 1

    rig.play(lambda: rig.slots() == 0)

    assert rig.time.wall() - cancelled_at >= rig.installation.settings.max_wait_s - 1
    assert len(rig.submits(prompt)) == 1


def test_videos_wait_when_their_upstream_takes_fewer_than_it_is_said_to(ground: Ground) -> None:
    with ground.rig(simulator={"max_concurrent": 2}) as rig:
        videos = [rig.post(rig.prompt()) for _ in range(6)]

        rig.play(rig.final(*videos))

        for video_id in videos:
            rig.ends(video_id, "completed")
        books = rig.simulator.books()
        assert (books.count("accepted"), books.most_in_progress) == (6, {"1": 2})


# -- fair share --------------------------------------------------------------------------------------------------------


def test_a_single_video_is_among_the_next_ten_when_another_client_has_500_queued(ground: Ground) -> None:
    with ground.rig(simulator={"max_concurrent": MOST}) as rig:
        for number in range(500):
            rig.post(f"one of many {number}")
        rig.play(lambda: rig.simulator.books().count("accepted") == 20)
        before = len(rig.simulator.books().submissions)
        single = rig.post("a single one", client="bob")

        rig.play(lambda: len(rig.submits("a single one")) == 1)

        note = rig.submits("a single one")[0]
        assert note.number - before <= 10
        rig.play(rig.final(single))
        assert rig.status(single) == "completed"
        assert_full_and_never_over(rig)


def test_clients_take_turns_when_both_have_many_queued(ground: Ground) -> None:
    with ground.rig(simulator={"max_concurrent": MOST}) as rig:
        many = [rig.post(f"alice {number}") for number in range(20)]
        few = [rig.post(f"bob {number}", client="bob") for number in range(10)]

        rig.play(rig.final(*few, *many))

        order = [note.prompt.split()[0] for note in rig.simulator.books().submissions]
        assert [order[start : start + 10].count("bob") for start in (0, 10)] == [5, 5]


# -- back-pressure -----------------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_its_own_client_and_nobody_else(ground: Ground) -> None:
    with ground.rig(client_max_unfinished=3) as rig:
        videos = [rig.post(rig.prompt()) for _ in range(3)]

        refused = rig.api.post(prompt="one too many")

        assert (refused.status_code, refused.json["error"]["code"]) == (429, "queue_full")
        assert int(refused.headers["Retry-After"]) > 0
        bobs = rig.post("for bob", client="bob")
        rig.play(rig.final(*videos, bobs))
        again = rig.post("in its place")
        rig.play(rig.final(again))
        rig.ends(again, "completed")
        assert rig.submits("one too many") == []
