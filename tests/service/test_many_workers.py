"""Several workers and API processes over one PostgreSQL: together they keep what each alone would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.demo.simulator.faults import Stage
from tests.postgres import PostgresServer
from tests.service.ground import Ground, migrated, open_ground
from tests.service.rig import Rig

MOST = 5
PER_MINUTE = 60
JITTER = 4
"""Requests a minute that the upstream lets through beside: a request may come a moment after it was granted."""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database(migrated) as url:
        yield url


@pytest.fixture
def rig(ground: Ground, database_url: str) -> Iterator[Rig]:
    simulator = {"max_concurrent": MOST, "render_s": 8.0}
    with ground.rig(database_url=database_url, simulator=simulator, poll_interval_s=10) as rig:
        yield rig


# -- claims and concurrency --------------------------------------------------------------------------------------------


def test_no_video_is_submitted_twice_when_three_workers_and_two_apis_share_them(rig: Rig) -> None:
    other, _ = rig.another()
    rig.another()

    def post(number: int) -> str:
        client = "alice" if number % 3 else "bob"
        return rig.post(f"boat {number}", client=client, api=(rig.api, other)[number % 2])

    with ThreadPoolExecutor(4) as clients:
        videos = list(clients.map(post, range(60)))

    rig.play(rig.final(*videos))

    books = rig.simulator.books()
    assert Counter(note.prompt for note in books.submissions) == {f"boat {number}": 1 for number in range(60)}
    assert {note.answer for note in books.submissions} == {"200"}
    assert books.most_in_progress == {"1": MOST}
    assert {rig.status(video_id) for video_id in videos} == {"completed"}
    assert [len(rig.callbacks(video_id)) for video_id in videos] == [1] * 60


def test_what_a_dead_worker_had_in_hand_comes_back_and_is_not_submitted_again(rig: Rig) -> None:
    _, doomed = rig.another()
    polled = [rig.post(rig.prompt("poll-hold")) for _ in range(3)]
    rig.play(lambda: rig.simulator.books().count("accepted") == 3)
    prompts = [rig.prompt("submit-hold-after") for _ in range(2)]
    submitted = [rig.post(prompt) for prompt in prompts]
    rig.leap(10)
    doomed.begin()
    assert rig.simulator.wait_for(lambda books: Counter(books.holding) == {Stage.POLL: 3, Stage.SUBMIT: 2})

    rig.kill(doomed)
    died_at = rig.time.wall()
    rig.play(rig.final(*polled, *submitted))

    for video_id in (*polled, *submitted):
        rig.ends(video_id, "completed")
    for prompt, video_id in zip(prompts, submitted, strict=True):
        assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1
        accepted = next(event for event in rig.events(video_id) if event["event"] == "accepted")
        assert accepted["detail"]["how"] == "adopted"
        assert accepted["at"] - died_at < 15

    # And what it hears too late changes nothing.
    before = {video_id: rig.happened(video_id) for video_id in (*polled, *submitted)}
    assert rig.simulator.release() == 5
    doomed.finish()
    assert {video_id: rig.happened(video_id) for video_id in (*polled, *submitted)} == before
    assert rig.slots() == 0


def test_a_slow_submit_of_a_worker_that_lives_is_left_to_it(rig: Rig) -> None:
    _, slow = rig.another()
    prompt = rig.prompt("submit-hold-after")
    video_id = rig.post(prompt)
    slow.begin()
    assert rig.simulator.wait_for(lambda books: books.holding == [Stage.SUBMIT])

    for _ in range(20):
        rig.leap(4)
        rig.workers[0].tick()
    assert rig.happened(video_id) == ["queued", "submitting"]
    rig.simulator.release()
    slow.finish()
    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed")
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1


# -- requests a minute -------------------------------------------------------------------------------------------------


@pytest.fixture
def hurried(ground: Ground, database_url: str) -> Iterator[Rig]:
    """Two workers that would ask three times as often as they may, of an upstream that has to be asked one by one."""
    with ground.rig(
        dialect="apiyi",
        database_url=database_url,
        simulator={"requests_per_minute": PER_MINUTE + JITTER, "render_s": 45.0, "habits": False},
        upstream_requests_per_minute=PER_MINUTE,
        upstream_max_concurrent=16,
        poll_interval_s=5,
        max_wait_s=600,
    ) as rig:
        rig.another()
        yield rig


def test_two_workers_together_keep_the_rate_of_a_key(hurried: Rig) -> None:
    videos = [hurried.post(hurried.prompt()) for _ in range(12)]
    began = hurried.time.wall()

    hurried.play(hurried.final(*videos), most_leap_s=1.0)

    books = hurried.simulator.books()
    assert {hurried.status(video_id) for video_id in videos} == {"completed"}
    assert books.count("refused_rate") == 0
    minutes = (hurried.time.wall() - began) / 60
    made = sum(books.count(name) for name in ("submissions", "polls", "contents"))
    assert minutes > 1
    # The rate was what held them up: they did use it.
    assert 0.6 * PER_MINUTE * minutes < made <= (PER_MINUTE + JITTER) * (minutes + 1)


def test_submits_and_downloads_come_before_polls_when_the_rate_is_used_up(hurried: Rig) -> None:
    many = [hurried.post(hurried.prompt("stuck=50")) for _ in range(14)]
    hurried.play(lambda: hurried.simulator.books().count("polls") > 20, most_leap_s=1.0)

    for _ in range(3):
        single = hurried.post(hurried.prompt("render=1"))
        posted_at = hurried.time.wall()
        hurried.play(hurried.final(single), most_leap_s=1.0)
        times = {event["event"]: event["at"] for event in hurried.events(single)}
        assert times["submitting"] - posted_at < 10
        assert times["completed"] - times["rendered"] < 10

    assert {hurried.status(video_id) for video_id in many} == {"in_progress"}
    assert hurried.simulator.books().count("refused_rate") == 0
