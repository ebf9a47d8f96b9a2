"""A worker that dies between any two writes: another one brings every video to one end, and pays once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db.engine import Database
from gateway.db.tables import deliveries, jobs, objects, submissions
from gateway.jobs.job import FINAL, Job, Source, Status
from gateway.upstreams.port import Failed, KeyRefused, NotAccepted, Refused, SubmitOutcome
from tests.worker_remotes import EVENTS, FILM, HOOK, SAID
from tests.worker_world import LIMITS, Died, MortalDatabase, Worker

Make = Callable[..., Worker]


@pytest.fixture
def mortal(database: Database, make_worker: Make) -> Any:
    """Make a worker that dies at its n-th write, before or after it, and one that lives on."""
    opened: list[Database] = []

    def make(**when: int) -> tuple[Worker, Worker]:
        doomed = MortalDatabase(database.url.render_as_string(hide_password=False), synchronous="off")
        for name, value in when.items():
            setattr(doomed, name, value)
        opened.append(doomed)
        survivor = make_worker()
        return survivor.again(database=doomed, name="doomed"), survivor

    yield make
    for doomed in opened:
        doomed.close()


def until_death(worker: Worker, *, ticks: int = 60) -> bool:
    """Whether it died."""
    try:
        for _ in range(ticks):
            worker.tick()
            worker.housekeeping.tick(worker.time())
            worker.time.on(5)
    except Died:
        return True
    return False


def lives_on(worker: Worker, job: Job) -> Job:
    for _ in range(200):
        worker.tick()
        worker.housekeeping.tick(worker.time())
        worker.housekeeping.sweep(worker.time())
        worker.time.on(30)
        if worker.now(job).status in FINAL and not worker.world.rows(deliveries, status="pending"):
            break
    worker.live(3900, every_s=1200)
    return worker.now(job)


FAILED = Failed(code="upstream_error", message="no", answer=SAID)


def with_a_known_video(worker: Worker) -> None:
    """A video that is known to have been accepted, so that the upstream's list can prove something."""
    known = worker.posted(prompt="known")
    worker.run(worker.submit)
    worker.time.on(30)
    worker.upstream.polls.append(FAILED)
    worker.run(worker.poll)
    assert worker.now(known).status is Status.FAILED


def made(worker: Worker) -> int:
    """How many videos of this test's request were accepted upstream, and paid for."""
    return sum(video.request.prompt == "a cat" for video in worker.upstream.made.values())


GAPS = [{gap: number} for number in range(12) for gap in ("dies_before", "dies_after")]


@pytest.mark.parametrize("when", GAPS, ids=lambda when: "-".join(f"{gap}-{number}" for gap, number in when.items()))
def test_a_video_is_made_once_stored_once_and_told_whichever_write_its_worker_dies_at(
    mortal: Any, when: dict[str, int]
) -> None:
    doomed, survivor = mortal(**when)
    survivor.upstream.unfinished_polls = 1
    with_a_known_video(survivor)
    job = survivor.posted(callback_url=HOOK, callback_events=EVENTS)
    died = until_death(doomed)
    assert died == (when.get("dies_after") != 0)
    done = lives_on(survivor, job)
    assert done.status is Status.COMPLETED
    assert done.stored is not None
    assert made(survivor) == 1
    assert len(survivor.upstream.posts) == 2
    assert survivor.bucket.objects == {done.stored.object_key: FILM}
    assert [row.state for row in survivor.world.rows(objects)] == ["kept"]
    assert survivor.slots() == 0
    told = survivor.world.rows(deliveries, type="video.completed")
    assert [row.status for row in told] == ["delivered"]
    sent = [sent for sent in survivor.receiver.sent if sent.webhook_id == told[0].event_id]
    assert [one.attempt for one in sent] == list(range(1, len(sent) + 1))


on_one_engine = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""The gaps between a step's writes are the same on both; the whole life above was tried on each."""


LATE_GAPS = [{gap: number} for number in range(8, 20) for gap in ("dies_before", "dies_after")]


@on_one_engine
@pytest.mark.parametrize(
    "when", LATE_GAPS, ids=lambda when: "-".join(f"{gap}-{number}" for gap, number in when.items())
)
def test_what_lies_beside_a_video_is_kept_or_swept_whichever_write_its_worker_dies_at(
    mortal: Any, when: dict[str, int]
) -> None:
    doomed, survivor = (worker.again(variants=("thumbnail", "spritesheet")) for worker in mortal(**when))
    survivor.upstream.unfinished_polls = 1
    job = survivor.posted()
    until_death(doomed)
    done = lives_on(survivor, job)
    assert done.status is Status.COMPLETED
    assert sorted(done.variants) == ["spritesheet", "thumbnail"]
    assert survivor.bucket.objects.keys() == set(done.objects)
    assert {row.key for row in survivor.world.rows(objects, state="kept")} == set(done.objects)
    assert len(survivor.world.rows(objects)) == 3


@on_one_engine
@pytest.mark.parametrize("when", GAPS, ids=lambda when: "-".join(f"{gap}-{number}" for gap, number in when.items()))
def test_a_remix_is_made_once_whichever_write_its_worker_dies_at(mortal: Any, when: dict[str, int]) -> None:
    doomed, survivor = mortal(**when)
    survivor.upstream.unfinished_polls = 1
    with_a_known_video(survivor)
    job = survivor.posted(source=Source(upstream_job_id="up_1", key_fingerprint="f1"), remixed_from="video_known")
    until_death(doomed)
    done = lives_on(survivor, job)
    assert (done.status, done.source, done.remixed_from) == (Status.COMPLETED, job.source, "video_known")
    assert made(survivor) == 1
    assert [post.remix_of for post in survivor.upstream.posts] == [None, "up_1"]
    assert survivor.slots() == 0


def the_gaps(*, writes: int) -> list[dict[str, int]]:
    return [{gap: number} for number in range(1, writes) for gap in ("dies_before", "dies_after")]


@on_one_engine
@pytest.mark.parametrize("when", the_gaps(writes=6), ids=str)
@pytest.mark.parametrize(
    ("answer", "posts"),
    [
        (Refused(code="invalid_request", message="no", answer=SAID), 2),
        (NotAccepted(reason="rate", answer=SAID), 3),
        (KeyRefused(reason="auth", message="no", answer=SAID), 3),
    ],
    ids=["refused", "not-accepted", "key-refused"],
)
def test_an_answer_that_makes_nothing_ends_well_whichever_write_its_worker_dies_at(
    mortal: Any, when: dict[str, int], answer: SubmitOutcome, posts: int
) -> None:
    doomed, survivor = mortal(**when)
    with_a_known_video(survivor)
    survivor.upstream.submits.extend([answer] * 2 if isinstance(answer, Refused) else [answer])
    job = survivor.posted()
    until_death(doomed, ticks=10)
    done = lives_on(survivor, job)
    assert done.status is (Status.FAILED if isinstance(answer, Refused) else Status.COMPLETED)
    assert (done.error.code if done.error else None) in {None, "invalid_request"}
    assert made(survivor) <= 1
    assert len(survivor.upstream.posts) <= posts + 1
    assert survivor.slots() == 0


@on_one_engine
@pytest.mark.parametrize("when", the_gaps(writes=6), ids=str)
def test_an_answer_lost_twice_is_paid_once_whichever_write_its_worker_dies_at(
    mortal: Any, when: dict[str, int]
) -> None:
    """The first submit never arrives, so it is proven absent; the second arrives, and its answer is lost."""
    doomed, survivor = mortal(**when)
    with_a_known_video(survivor)
    job = survivor.lost()
    survivor.upstream.loses_the_answer = True
    until_death(doomed, ticks=30)
    done = lives_on(survivor, job)
    assert done.status is Status.COMPLETED
    assert made(survivor) == 1
    assert survivor.slots() == 0


@on_one_engine
@pytest.mark.parametrize("when", the_gaps(writes=8), ids=str)
def test_a_failed_video_is_told_and_its_slot_freed_whichever_write_its_worker_dies_at(
    mortal: Any, when: dict[str, int]
) -> None:
    doomed, survivor = mortal(**when)
    with_a_known_video(survivor)
    survivor.upstream.polls.extend([FAILED] * 3)
    job = survivor.posted(callback_url=HOOK, callback_events=EVENTS)
    until_death(doomed)
    done = lives_on(survivor, job)
    assert done.status is Status.FAILED
    assert done.error is not None
    assert done.error.code == "upstream_error"
    assert made(survivor) == 1
    assert [row.status for row in survivor.world.rows(deliveries)] == ["delivered"]
    assert survivor.slots() == 0


@on_one_engine
@pytest.mark.parametrize("when", the_gaps(writes=8), ids=str)
def test_a_cancelled_video_stays_cancelled_and_frees_its_slot_whichever_write_its_worker_dies_at(
    mortal: Any, when: dict[str, int]
) -> None:
    doomed, survivor = mortal(**when)
    survivor.upstream.facts = replace(survivor.upstream.facts, can_cancel=True)
    job = survivor.posted()
    survivor.upstream.in_flight = lambda: survivor.world.recorder.cancel(job.id, client="ann", now=survivor.time())
    until_death(doomed)
    survivor.upstream.in_flight = lambda: None
    if not survivor.now(job).final:
        survivor.world.recorder.cancel(job.id, client="ann", now=survivor.time())
    done = lives_on(survivor, job)
    assert done.status is Status.CANCELLED
    assert len(survivor.upstream.made) <= 1
    assert survivor.bucket.objects == {}
    assert survivor.slots() == 0


def test_a_worker_that_is_proven_dead_costs_no_wait(make_worker: Make) -> None:
    survivor = make_worker()
    dead = survivor.again(name="dead")
    job = survivor.posted()
    dead.upstream.in_flight = die
    with pytest.raises(Died):
        dead.run(dead.submit)
    survivor.upstream.in_flight = lambda: None
    with survivor.database.write() as connection:
        connection.execute(sa.text("INSERT INTO workers (id, started_at, beat_at) VALUES ('dead', 0, 0)"))
    survivor.live(15, every_s=1)
    assert survivor.now(job).status is Status.COMPLETED
    assert len(survivor.upstream.posts) == 1


def die() -> None:
    raise Died


def test_every_write_of_a_whole_life_is_among_those_that_were_died_at(mortal: Any) -> None:
    immortal, survivor = mortal()
    survivor.upstream.unfinished_polls = 1
    survivor.posted(callback_url=HOOK, callback_events=EVENTS)
    until_death(immortal)
    assert survivor.world.row(jobs).status == Status.COMPLETED
    assert survivor.world.row(submissions).outcome == "accepted"
    assert immortal.database.writes <= 24


LIMITS_OF_THE_SETTING = replace(LIMITS, resubmit_unknown=True)


def test_an_unproven_submit_that_is_sent_again_by_the_settings_will_is_sent_once_more_only(make_worker: Make) -> None:
    worker = make_worker(limits=LIMITS_OF_THE_SETTING)
    worker.upstream.facts = replace(worker.upstream.facts, can_list=False)
    job = worker.lost()
    done = lives_on(worker, job)
    assert done.status is Status.COMPLETED
    assert len(worker.upstream.posts) == 2
