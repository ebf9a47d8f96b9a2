"""Rounds: many videos are asked about by one page of the upstream's list, and none is forgotten by it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from gateway.db.tables import jobs
from gateway.worker import rounds
from tests.service.ground import Ground, migrated, open_ground
from tests.service.rig import Rig


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture
def rig(ground: Ground) -> Iterator[Rig]:
    with ground.rig(simulator={"render_s": 100.0}, upstream_max_concurrent=50, max_wait_s=600) as rig:
        yield rig


def in_progress(rig: Rig, count: int, word: str = "") -> list[str]:
    """So many videos that the upstream is at."""
    videos = [rig.post(rig.prompt(word)) for _ in range(count)]
    rig.play(lambda: rig.simulator.books().count("accepted") >= count)
    return videos


def settle(rig: Rig) -> None:
    """Tick until nothing is due, at this moment of the gateway's time."""
    for _ in range(100):
        if not rig.tick():
            return
    raise AssertionError("there is always something due")


def asked(rig: Rig) -> tuple[int, int]:
    books = rig.simulator.books()
    return books.count("lists"), books.count("polls")


def test_a_few_videos_are_polled_each_by_its_own_clock(rig: Rig) -> None:
    videos = in_progress(rig, 3)
    rig.play(rig.final(*videos))
    lists, polls = asked(rig)
    assert lists == 0
    assert polls >= 9


def test_many_are_asked_about_together_and_each_gets_its_own_end(rig: Rig) -> None:
    good, bad = in_progress(rig, 9), [rig.post(rig.prompt("fail-error")), rig.post(rig.prompt("expired"))]
    rig.play(rig.final(*good, *bad))
    for video_id in good:
        rig.ends(video_id, "completed")
    rig.ends(bad[0], "failed", code="upstream_error")
    rig.ends(bad[1], "failed", code="upstream_expired")
    lists, polls = asked(rig)
    assert polls == 0
    assert lists <= 6


def test_progress_is_told_from_the_list_too(rig: Rig) -> None:
    videos = in_progress(rig, 6)
    rig.play(lambda: all(rig.video(video_id)["progress"] > 20 for video_id in videos))
    assert asked(rig)[1] == 0


def test_what_the_list_does_not_show_is_polled(rig: Rig) -> None:
    seen, hidden = in_progress(rig, 5), in_progress(rig, 2, "list-hide")
    rig.play(rig.final(*seen, *hidden))
    for video_id in [*seen, *hidden]:
        rig.ends(video_id, "completed")
    assert asked(rig)[1] > 0


@pytest.mark.parametrize("fault", ["list-404*all", "list-broken*all", "list-500*all", "list-hide", "list-html*all"])
def test_a_list_that_is_of_no_use_costs_no_video_and_no_time(rig: Rig, fault: str) -> None:
    videos = in_progress(rig, 6)
    rig.simulator.faults(fault)
    began = rig.time.wall()
    rig.play(rig.final(*videos))
    for video_id in videos:
        rig.ends(video_id, "completed")
    assert rig.time.wall() - began < 100 + 2 * 30


def test_an_upstream_that_is_down_is_not_asked_about_each_video(rig: Rig) -> None:
    videos = in_progress(rig, 30)
    before = sum(asked(rig))
    rig.simulator.faults("list-503-plain*all", "poll-503-plain*all")
    began = rig.time.wall()
    rig.play(lambda: rig.time.wall() - began > 95)
    rounds_made = 5
    assert sum(asked(rig)) - before <= 2 * rounds_made
    assert {rig.status(video_id) for video_id in videos} == {"in_progress"}
    rig.simulator.faults()
    rig.play(rig.final(*videos))
    assert {rig.status(video_id) for video_id in videos} == {"completed"}


def test_a_key_that_is_refused_fails_no_video_of_a_round(rig: Rig) -> None:
    videos = in_progress(rig, 8)
    rig.simulator.faults("list-401*all", "poll-401*all")
    rig.play(lambda: bool(rig.paused()))
    assert {rig.status(video_id) for video_id in videos} == {"in_progress"}
    rig.simulator.faults()
    rig.play(rig.final(*videos))
    assert {rig.status(video_id) for video_id in videos} == {"completed"}


def test_a_thousand_videos_in_progress_take_at_most_twelve_requests_a_round(ground: Ground) -> None:
    with ground.rig(
        simulator={"render_s": 1e6}, upstream_max_concurrent=1000, max_wait_s=1e6, client_max_unfinished=2000
    ) as rig:
        for number in range(1000):
            rig.post(f"boat {number}")
        rig.play(lambda: rig.simulator.books().count("accepted") == 1000)
        # The first round finds those that were accepted over some time.
        rig.play(lambda: asked(rig)[0] >= 10)
        rig.leap(45.0)
        settle(rig)
        for _ in range(3):
            before = sum(asked(rig))
            late_before = rig.time.wall()
            rig.leap(30.0)
            settle(rig)
            assert sum(asked(rig)) - before <= 12
            with rig.installation.database.read() as connection:
                claimed = sa.select(sa.func.min(jobs.c.claimed_at)).where(jobs.c.status == "rendering")
                assert connection.scalar(claimed) > late_before


def test_more_than_one_round_holds_are_all_found_in_the_list(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_MOST", 100)
    with ground.rig(simulator={"render_s": 1e6}, upstream_max_concurrent=1000, max_wait_s=1e6) as rig:
        in_progress(rig, 350)
        # The first rounds find those that were accepted over some time.
        rig.leap(45.0)
        settle(rig)
        for _ in range(3):
            lists, polls = asked(rig)
            rig.leap(30.0)
            settle(rig)
            # Four rounds, each of which may have to look at a page of its neighbour's.
            assert asked(rig)[0] - lists <= 8
            assert asked(rig)[1] == polls


def test_a_round_passes_over_what_is_not_due_between_its_videos(ground: Ground) -> None:
    with ground.rig(simulator={"render_s": 1e6}, upstream_max_concurrent=1000, max_wait_s=1e6) as rig:
        in_progress(rig, 400)
        rig.leap(45.0)
        settle(rig)
        with rig.installation.database.write() as connection:
            ids = connection.scalars(sa.select(jobs.c.id).order_by(jobs.c.accepted_at, jobs.c.id)).all()
            between = jobs.c.id.in_(ids[3:-3])
            connection.execute(sa.update(jobs).where(between).values(due_at=jobs.c.due_at + 1e5))
        lists, polls = asked(rig)
        rig.leap(30.0)
        settle(rig)
        # The newest and the oldest three, on the first and the last of four pages.
        assert asked(rig) == (lists + 2, polls)


# -- APIYI's published limits: ten requests a minute, five videos at once ----------------------------------------------


def test_forty_videos_within_ten_requests_a_minute_and_five_at_once_meet_no_429(
    ground: Ground, request: pytest.FixtureRequest
) -> None:
    with (
        request.getfixturevalue("postgres_server").database(migrated) as url,
        ground.rig(
            dialect="apiyi",
            database_url=url,
            simulator={"requests_per_minute": 11, "max_concurrent": 5, "render_s": 60.0},
            upstream_requests_per_minute=10,
            upstream_max_concurrent=5,
        ) as rig,
    ):
        rig.another()
        videos = [rig.post(rig.prompt(), client=("alice", "bob")[n % 2]) for n in range(40)]
        rig.play(rig.final(*videos), longest_s=7200.0, most_leap_s=2.0)
        books = rig.simulator.books()
        assert {rig.status(video_id) for video_id in videos} == {"completed"}
        assert (books.count("refused_rate"), books.count("refused_concurrency")) == (0, 0)
        assert longest_idle_slot(rig, videos) <= 30.0


def longest_idle_slot(rig: Rig, videos: list[str]) -> float:
    """The longest time that a place upstream was known to be free while a video waited for it."""
    times = [{event["event"]: event["at"] for event in rig.events(video_id)} for video_id in videos]
    freed = sorted(each["rendered"] for each in times)
    taken = sorted(each["submitting"] for each in times)
    # The first five found five places; each of the others waited for one to be freed.
    return max(begun - free for begun, free in zip(taken[5:], freed, strict=False))


def test_a_limit_that_nobody_configured_is_learned_from_a_few_429s(ground: Ground) -> None:
    with ground.rig(
        dialect="apiyi",
        simulator={"requests_per_minute": 30, "render_s": 60.0, "habits": False},
        upstream_max_concurrent=12,
        poll_interval_s=5,
        max_wait_s=900,
    ) as rig:
        videos = [rig.post(rig.prompt()) for _ in range(24)]
        rig.play(rig.final(*videos), most_leap_s=1.0)
        books = rig.simulator.books()
        assert {rig.status(video_id) for video_id in videos} == {"completed"}
        minutes = (rig.time.wall() - rig.events(videos[0])[0]["at"]) / 60
        # Twelve videos at once would be asked about 144 times a minute.
        assert 0 < books.count("refused_rate") < 6 * minutes
