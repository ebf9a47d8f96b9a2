"""The read side: pages without gaps, filters that take any text, and what happened in its order."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest

from gateway.jobs import lifecycle
from gateway.jobs.errors import NotFound
from gateway.jobs.ports import Made, VideoFilter, WorkerBeat
from tests.contracts.world import ALL_EVENTS, FAILURE, HOOK, LANE, NO, NOW, YES, World, claimed_singly

ROOMY = replace(LANE, max_concurrent=999)


def listed(world: World, client: str = "ann", **wanted: object) -> list[str]:
    jobs, _ = world.queries.jobs(client, VideoFilter(**wanted))  # type: ignore[arg-type]
    return [job.id for job in jobs]


def pages(world: World, *, limit: int, newest_first: bool) -> list[list[str]]:
    """Every page up to the one that says there are no more."""
    found, after, more = [], None, True
    while more:
        wanted = VideoFilter(limit=limit, after=after, newest_first=newest_first)
        jobs, more = world.queries.jobs("ann", wanted)
        found.append([job.id for job in jobs])
        after = found[-1][-1] if jobs else None
    return found


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 4, 12, 100])
def test_pages_show_every_video_once_and_in_order_also_when_all_were_made_at_once(
    world: World, limit: int, newest_first: bool
) -> None:
    made = [world.queued(at=NOW).id for _ in range(7)] + [world.queued(at=NOW + 1).id for _ in range(5)]
    world.queued("bob")
    found = pages(world, limit=limit, newest_first=newest_first)
    expected = sorted(made[:7]) + sorted(made[7:])
    assert [job_id for page in found for job_id in page] == (expected[::-1] if newest_first else expected)
    assert all(len(page) == limit for page in found[:-1])
    assert found[-1]


def test_an_empty_list_has_no_more(world: World) -> None:
    assert world.queries.jobs("ann", VideoFilter()) == ([], False)


def test_a_page_after_another_clients_video_is_not_found(world: World) -> None:
    job = world.queued("bob")
    for after in (job.id, "video_none", ""):
        with pytest.raises(NotFound):
            world.queries.jobs("ann", VideoFilter(after=after))


def test_whoever_deletes_page_by_page_can_go_on_after_what_is_gone(world: World) -> None:
    made = [world.queued(at=NOW + number).id for number in range(4)]
    (last,) = listed(world, limit=1)
    world.recorder.erase(last, client="ann", now=NOW)
    assert listed(world, after=last) == made[2::-1]


def test_deleted_videos_are_not_listed(world: World) -> None:
    world.recorder.erase(world.queued().id, client="ann", now=NOW)
    assert listed(world) == []


# -- filters -----------------------------------------------------------------------------------------------------------


def test_a_status_is_the_protocols_word(world: World) -> None:
    made = {
        "queued": [world.queued(at=NOW - 1).id],
        "failed": [world.failed().id],
        "completed": [],
        "cancelled": [],
        "in_progress": [],
    }
    world.recorder.cancel(made["queued"].pop(), client="ann", now=NOW)
    made["cancelled"] = listed(world, status="cancelled")
    made["completed"] = [world.completed(lane=LANE).id]
    made["in_progress"] = [world.rendering(lane=LANE)[0].id, world.storing(lane=LANE).id]
    made["queued"] = [world.submitting(lane=LANE)[0].id, world.queued(at=NOW + 1).id]
    assert len(made["cancelled"]) == 1
    for word, ids in made.items():
        assert sorted(listed(world, status=word)) == sorted(ids)
    assert listed(world, status="rendering") == []


def test_a_model_picks_its_own(world: World) -> None:
    world.queued(model="other")
    assert listed(world, model="sora-2") == []
    assert len(listed(world, model="other")) == 1


ODD = [
    "a.b",
    'say "hi"',
    "it's",
    "[0]",
    "$",
    "*",
    "",
    " ",
    "käse",
    "日本",
    "🎬",
    "back\\slash",
    "a\nb",
    "#",
    "a%b",
    ":x",
]


@pytest.mark.parametrize("key", ODD)
def test_any_metadata_key_and_value_can_be_searched_for(world: World, key: str) -> None:
    wanted = world.queued(metadata={key: f"v{key}", "other": "x"})
    world.queued(metadata={key: "different"})
    world.queued(metadata={"value": key})
    world.queued()
    assert listed(world, metadata={key: f"v{key}"}) == [wanted.id]


def test_metadata_pairs_must_all_match_and_only_as_whole_texts(world: World) -> None:
    both = world.queued(metadata={"a": "1", "b": "2"})
    world.queued(metadata={"a": "1"})
    world.queued(metadata={"a": "10", "b": "2"})
    assert listed(world, metadata={"a": "1", "b": "2"}) == [both.id]
    assert listed(world, metadata={"A": "1"}) == []


# -- one video ---------------------------------------------------------------------------------------------------------


def test_a_video_is_found_by_its_client_and_by_nobody_else(world: World) -> None:
    job = world.queued()
    assert world.queries.job(job.id, client="ann") == job
    assert world.queries.job(job.id, client=None) == job
    for job_id, client in ((job.id, "bob"), ("video_none", "ann"), ("video_none", None)):
        with pytest.raises(NotFound):
            world.queries.job(job_id, client=client)


@pytest.mark.parametrize("seed", range(4))
def test_the_place_in_the_queue_is_the_order_in_which_videos_are_submitted(world: World, seed: int) -> None:
    chance = random.Random(seed)
    made = [world.queued(chance.choice(["ann", "ann", "bob", "cid"]), at=NOW + n, due_at=NOW) for n in range(12)]
    world.queued("bob", model="other", at=NOW - 5, due_at=NOW + 900)
    taken: list[str] = []
    while len(taken) < len(made):
        waiting = [job for job in made if job.id not in taken]
        places = {world.queries.queue_position(job): job.id for job in waiting}
        assert sorted(places) == list(range(1, len(waiting) + 1))
        (job,) = world.submissions.take_turn(ROOMY, worker="w", limit=1, lease_s=60, now=NOW)
        assert job.id == places[1]
        world.recorder.cancel(job.id, client=job.client, now=NOW)
        taken.append(job.id)
        if len(taken) == 1:
            # Nobody else comes between, so the first look told the whole order.
            expected = [places[place] for place in sorted(places)]
    assert taken == expected


def test_one_video_does_not_stand_behind_the_many_of_another_client(world: World) -> None:
    many = [world.queued("ann", at=NOW + number) for number in range(20)]
    one = world.queued("bob", at=NOW + 50)
    assert world.queries.queue_position(one) == 2
    assert [world.queries.queue_position(job) for job in many[:3]] == [1, 3, 4]


def test_events_tell_what_happened_in_its_order_with_each_attempt_in_its_place(world: World) -> None:
    job, _ = world.rendering(callback_url=HOOK, callback_events=ALL_EVENTS)
    job = world.recorder.record(lifecycle.progress(job, percent=40, due_at=NOW + 30, at=NOW + 10, detail={"a": [1]}))
    (delivery,) = claimed_singly(world.outbox, worker="w", limit=9, per_receiver=4, lease_s=20, now=NOW + 11)
    world.outbox.failed(delivery, NO, due_at=NOW + 16, held_until=None, now=NOW + 12)
    world.recorder.record(lifecycle.fail(job, FAILURE, at=NOW + 20, upstream_done=True))
    events = world.queries.events(job.id)
    assert [(event.event, event.at - NOW) for event in events] == [
        ("queued", 0), ("submitting", 0), ("accepted", 0), ("progressed", 10), ("callback", 12), ("failed", 20),
    ]  # fmt: skip
    assert events[3].detail == {"a": [1]}
    assert (events[4].detail["status"], events[4].detail["number"], events[4].detail["outcome"]) == (500, 1, "failed")
    assert (events[5].status_before, events[5].status) == ("rendering", "failed")
    assert world.queries.events("video_none") == []


def test_events_keep_their_order_when_the_clock_was_set_back_between_them(world: World) -> None:
    job = world.queued(at=NOW)
    world.recorder.cancel(job.id, client="ann", now=NOW - 500)
    assert [(event.event, event.at) for event in world.queries.events(job.id)] == [("queued", NOW), ("cancelled", NOW)]


def test_an_attempt_during_which_the_process_died_is_told_as_begun(world: World) -> None:
    job = world.told()
    claimed_singly(world.outbox, now=NOW + 1)
    last = world.queries.events(job.id)[-1]
    assert (last.event, last.at, last.detail["outcome"], last.detail["status"]) == (
        "callback",
        NOW + 1,
        "started",
        None,
    )


def test_a_first_attempt_is_told_once_it_is_over(world: World) -> None:
    job = world.told()
    (delivery,) = claimed_singly(world.outbox, now=NOW + 1)
    ids = [delivery.id, "del_none"]
    assert (list(world.queries.attempted(ids)), world.queries.first_attempt(delivery.id)) == ([], None)
    world.outbox.failed(delivery, NO, due_at=NOW + 5, held_until=None, now=NOW + 2)
    first = world.queries.first_attempt(delivery.id)
    assert first is not None
    assert (list(world.queries.attempted(ids)), first.status, first.outcome) == ([delivery.id], 500, "failed")
    (again,) = claimed_singly(world.outbox, now=NOW + 6)
    world.outbox.delivered([Made(again, YES, NOW + 7)], now=NOW + 7)
    assert world.queries.first_attempt(delivery.id) == first
    assert world.queries.deliveries(job.id)[0].attempts[0] == first


def test_nobody_waits_for_an_attempt_at_what_is_not_pending_any_more(world: World) -> None:
    job = world.told()
    (delivery,) = world.queries.deliveries(job.id)
    world.recorder.erase(job.id, client="ann", now=NOW + 1)
    assert list(world.queries.attempted([delivery.id])) == [delivery.id]
    assert world.queries.first_attempt(delivery.id) is None


def test_deliveries_come_oldest_first_each_with_its_attempts_in_order(world: World) -> None:
    job, _ = world.rendering(callback_url=HOOK, callback_events=ALL_EVENTS)
    job = world.recorder.record(lifecycle.progress(job, percent=40, due_at=NOW + 30, at=NOW + 1, detail={}))
    world.recorder.record(lifecycle.fail(job, FAILURE, at=NOW + 2, upstream_done=True))
    for now in (NOW + 3, NOW + 9):
        claimed = claimed_singly(world.outbox, worker="w", limit=2, per_receiver=2, lease_s=5, now=now)
        (delivery,) = (one for one in claimed if one.type == "video.in_progress")
        world.outbox.put_back([one for one in claimed if one is not delivery], due_at=now)
        if now == NOW + 3:
            world.outbox.failed(delivery, NO, due_at=now + 1, held_until=None, now=now)
        else:
            world.outbox.delivered([Made(delivery, YES, now)], now=now)
    first, second = world.queries.deliveries(job.id)
    assert (first.type, first.status, first.due_at) == ("video.in_progress", "delivered", None)
    assert [(a.number, a.outcome, a.status, a.answer) for a in first.attempts] == [
        (1, "failed", 500, "no"), (2, "delivered", 200, "ok"),
    ]  # fmt: skip
    assert (second.type, second.status, second.attempts, second.video_id) == ("video.failed", "pending", [], job.id)
    assert world.queries.deliveries("video_none") == []


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_the_usual_duration_is_the_median_of_the_latest_once_there_are_five(world: World) -> None:
    def finish(took: float) -> None:
        job, _ = world.rendering()
        job = world.recorder.record(lifecycle.begin_transfer(job, expires_at=None, at=NOW + took, detail={}))
        stored = world.stored(job, lease_s=9999)
        world.recorder.record(lifecycle.complete(job, stored=stored, at=NOW + took, detail={}))

    def usual(**other: object) -> float | None:
        same: dict[str, object] = {"model": "sora-2", "size": "720x1280", "seconds": 4}
        return world.queries.usual_duration_s(**(same | other))  # type: ignore[arg-type]

    for took in (10, 20, 90, 30):
        finish(took)
    assert usual() is None
    finish(1000)
    assert usual() == 30
    assert usual(seconds=8) is None
    assert usual(size="1x1") is None


def test_unfinished_jobs_are_counted_by_status(world: World) -> None:
    world.queued(at=NOW + 1)
    world.rendering(at=NOW - 9)
    world.failed()
    assert world.queries.counts() == {"queued": 1, "submitting": 0, "rendering": 1, "storing": 0}


def test_lateness_is_that_of_the_job_that_waits_longest(world: World) -> None:
    world.rendering()
    world.queued(at=NOW + 10)
    world.queued(at=NOW + 40)
    assert world.queries.lateness(NOW + 50) == {"queued": 40, "submitting": 0, "rendering": 20, "storing": 0}


def test_pending_deliveries_are_counted_with_the_lateness_of_the_first(world: World) -> None:
    assert world.queries.deliveries_due(NOW) == (0, None)
    world.told(now=NOW)
    world.told(now=NOW + 5)
    assert world.queries.deliveries_due(NOW + 7) == (2, 7)
    assert world.queries.deliveries_due(NOW - 7) == (2, 0)


def test_workers_are_shown_with_the_newest_beat_first(world: World) -> None:
    world.workers.join("a", now=NOW)
    world.workers.join("b", now=NOW + 1)
    world.workers.beat("a", now=NOW + 2)
    assert world.queries.workers() == [WorkerBeat(id="a", beat_at=NOW + 2), WorkerBeat(id="b", beat_at=NOW + 1)]


def test_the_databases_clock_goes_on_and_is_near_our_own_on_one_machine(world: World) -> None:
    before = world.queries.now()
    assert world.queries.now() >= before
    assert abs(before - time.time()) < 60


def test_the_last_submit_of_a_key_is_the_latest_that_was_answered(world: World) -> None:
    assert world.queries.last_submit("main", "one") is None
    _, refused = world.submitting(now=NOW)
    world.submissions.refused(refused, absent=False, now=NOW + 1)
    assert world.queries.last_submit("main", "one") == (NOW + 1, "refused")
    world.rendering(now=NOW + 2)
    world.submitting(now=NOW + 3)
    assert world.queries.last_submit("main", "one") == (NOW + 2, "accepted")
    assert world.queries.last_submit("main", "two") is None
