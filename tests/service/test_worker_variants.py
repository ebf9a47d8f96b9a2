"""What lies beside a video: stored with it where it can be had, and never at the cost of the video."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.bucket.port import BucketError
from gateway.db.tables import objects
from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Job, Status
from gateway.upstreams.port import Answer, ContentMissing, ContentNotReady, ContentOutcome, KeyRefused
from tests.worker_remotes import FILM, SAID, STILLS, film, still
from tests.worker_world import LIMITS, Worker

Make = Callable[..., Worker]
BOTH = ("thumbnail", "spritesheet")
SILENT = Answer(status=None)
LIMITED = Answer(status=429)
FAILED = Answer(status=500)


@pytest.fixture
def worker(make_worker: Make) -> Worker:
    return make_worker(variants=BOTH)


def finished(worker: Worker, *outcomes: ContentOutcome) -> Job:
    """A job whose transfer has just been tried, with these answers to what was asked beside it."""
    job = worker.storing()
    worker.upstream.variants.extend(outcomes)
    assert worker.run(worker.transfer) == 1
    return worker.now(job)


def told(worker: Worker, job: Job) -> dict[str, Any]:
    (completed,) = [event for event in worker.world.queries.events(job.id) if event.event == "completed"]
    return dict(completed.detail.get("variants", {}))  # type: ignore[call-overload]


def test_both_lie_beside_the_video_when_it_is_told_of(worker: Worker) -> None:
    job = finished(worker)
    assert job.status is Status.COMPLETED
    for name, kind, suffix in (("thumbnail", "image/webp", "webp"), ("spritesheet", "image/jpeg", "jpg")):
        stored = job.variants[name]
        assert worker.bucket.objects[stored.object_key] == STILLS[name]
        assert (stored.content_type, stored.size) == (kind, len(STILLS[name]))
        assert stored.sha256 == hashlib.sha256(STILLS[name]).hexdigest()
        assert stored.object_key.endswith(f"/{job.claim_token}-{name}.{suffix}")
    assert told(worker, job) == {"thumbnail": "stored", "spritesheet": "stored"}
    assert [(asked[0], asked[1], asked[2]) for asked in worker.upstream.variants_asked] == [
        ("up_1", "one", "thumbnail"), ("up_1", "one", "spritesheet"),
    ]  # fmt: skip
    assert worker.slots() == 0


def test_an_upstream_without_any_is_not_asked(make_worker: Make) -> None:
    worker = make_worker()
    job = finished(worker)
    assert (job.status, dict(job.variants), worker.upstream.variants_asked) == (Status.COMPLETED, {}, [])


def test_a_video_that_is_not_stored_is_not_asked_beside(worker: Worker) -> None:
    worker.upstream.contents.append(ContentMissing(answer=SAID))
    assert finished(worker).status is Status.STORING
    assert worker.upstream.variants_asked == []


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (ContentMissing(answer=Answer(status=404)), "HTTP 404"),
        (KeyRefused(reason="auth", message="no", answer=Answer(status=401)), "HTTP 401"),
        (ContentNotReady(reason="HTTP 500", answer=FAILED), "HTTP 500"),
        (ContentNotReady(reason="not a picture", answer=SAID, invalid=True), "not a picture"),
        (still("thumbnail", breaks_after=20), "broke off"),
    ],
)
def test_one_that_cannot_be_had_costs_itself_alone(worker: Worker, outcome: ContentOutcome, why: str) -> None:
    job = finished(worker, outcome)
    assert job.status is Status.COMPLETED
    assert sorted(job.variants) == ["spritesheet"]
    assert told(worker, job) == {"thumbnail": why, "spritesheet": "stored"}
    assert worker.world.queries.upstream_keys()[0].paused_at is None
    worker.live(3900, every_s=600)
    assert sorted(worker.bucket.objects) == sorted(job.objects)
    assert sorted(row.key for row in worker.world.rows(objects)) == sorted(job.objects)


@pytest.mark.parametrize("answer", [SILENT, LIMITED])
def test_an_upstream_that_limits_or_does_not_answer_is_not_asked_twice(worker: Worker, answer: Answer) -> None:
    job = finished(worker, ContentNotReady(reason="no", answer=answer))
    assert (job.status, dict(job.variants)) == (Status.COMPLETED, {})
    assert len(worker.upstream.variants_asked) == 1


def test_a_429_narrows_the_key_for_everybody(worker: Worker) -> None:
    finished(worker, ContentNotReady(reason="rate limit", answer=LIMITED, retry_after_s=7))
    assert worker.world.lanes.narrowed(since=0) != {}


def test_the_second_gets_only_the_time_that_the_first_has_left(worker: Worker) -> None:
    finished(worker, still("thumbnail", at=lambda: worker.time.on(0.5)))
    first, second = (asked[3] for asked in worker.upstream.variants_asked)
    assert first == LIMITS.variants_s
    assert second < first - 2


def test_when_the_time_is_over_the_video_is_told_of_without_the_rest(worker: Worker) -> None:
    job = finished(worker, still("thumbnail", at=lambda: worker.time.on(LIMITS.variants_s)))
    assert job.status is Status.COMPLETED
    assert told(worker, job)["spritesheet"] == "no time left"


# -- the key's rate ----------------------------------------------------------------------------------------------------


def test_they_are_counted_in_the_key_s_rate_and_wait_for_it(make_worker: Make) -> None:
    worker = make_worker(variants=BOTH, requests_per_minute=31)
    job = worker.storing()
    worker.time.on(60)
    began = worker.time()
    worker.run(worker.transfer)
    done = worker.now(job)
    assert sorted(done.variants) == ["spritesheet", "thumbnail"]
    # One request every two seconds, and the content was the first of three.
    assert 3.5 < worker.time() - began < 5


def test_where_the_rate_has_no_room_in_time_they_are_left_out(make_worker: Make) -> None:
    worker = make_worker(variants=BOTH, requests_per_minute=3)
    job = worker.storing()
    worker.time.on(60)
    began = worker.time()
    worker.run(worker.transfer)
    done = worker.now(job)
    assert (done.status, dict(done.variants), worker.upstream.variants_asked) == (Status.COMPLETED, {}, [])
    assert told(worker, done) == {"thumbnail": "no room in the key's rate"}
    assert worker.time() == began


# -- our own troubles --------------------------------------------------------------------------------------------------


def test_a_bucket_that_fails_now_does_not_cost_the_video_that_lies_in_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = worker.bucket.write

    def fails_beside(key: str, *args: Any, **options: Any) -> Any:
        if "thumbnail" in key:
            raise BucketError("full")
        return write(key, *args, **options)

    monkeypatch.setattr(worker.bucket, "write", fails_beside)
    job = finished(worker)
    assert (job.status, dict(job.variants)) == (Status.COMPLETED, {})
    assert list(worker.bucket.objects.values()) == [FILM]


def test_a_database_that_is_away_for_a_moment_does_not_cost_the_video(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = worker.world.ledger.begin

    def away_beside(key: str, **options: Any) -> None:
        if "thumbnail" in key:
            raise Unavailable("away", code="unavailable")
        begin(key, **options)

    monkeypatch.setattr(worker.world.ledger, "begin", away_beside)
    job = finished(worker)
    assert (job.status, dict(job.variants)) == (Status.COMPLETED, {})


def test_a_mistake_of_ours_does_not_cost_the_video(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    def mistaken() -> None:
        raise ZeroDivisionError

    job = finished(worker, still("thumbnail", at=mistaken))
    assert (job.status, dict(job.variants)) == (Status.COMPLETED, {})
    assert "is given up" in caplog.text
    worker.live(3900, every_s=600)
    assert list(worker.bucket.objects.values()) == [FILM]


def test_a_worker_that_is_to_stop_tells_of_the_video_it_has(worker: Worker) -> None:
    job = finished(worker, still("thumbnail", at=worker.stopping.set))
    assert (job.status, dict(job.variants)) == (Status.COMPLETED, {})
    assert list(worker.bucket.objects.values()) == [FILM]


def test_a_worker_that_is_to_stop_asks_for_no_more(worker: Worker) -> None:
    job = worker.storing()
    worker.upstream.contents.append(film(at=lambda: None, after=worker.stopping.set))
    worker.run(worker.transfer)
    assert (worker.now(job).status, worker.upstream.variants_asked) == (Status.COMPLETED, [])


@pytest.mark.parametrize("erased", [False, True])
def test_a_video_stopped_while_they_are_fetched_leaves_nothing_in_the_bucket(worker: Worker, erased: bool) -> None:
    job = worker.storing()
    stop = worker.world.recorder.erase if erased else worker.world.recorder.cancel
    stopped: list[int] = []

    def now_and_once() -> None:
        if not stopped:
            stopped.append(1)
            stop(job.id, client="ann", now=worker.time())

    worker.upstream.variants.append(still("thumbnail", at=now_and_once))
    worker.run(worker.transfer)
    assert worker.now(job).status is Status.CANCELLED
    worker.live(3900, every_s=600)
    assert worker.bucket.objects == {}
    assert worker.world.rows(objects) == []


# -- the end of them ---------------------------------------------------------------------------------------------------


def test_deleting_a_video_removes_them_too(worker: Worker) -> None:
    job = finished(worker)
    assert len(worker.bucket.objects) == 3
    worker.world.recorder.erase(job.id, client="ann", now=worker.time())
    worker.live(3900, every_s=600)
    assert worker.bucket.objects == {}
    assert worker.world.rows(objects) == []


def test_retention_removes_them_too(make_worker: Make) -> None:
    worker = make_worker(variants=BOTH, limits=replace(LIMITS, retention_s=600))
    job = finished(worker)
    worker.live(5000, every_s=600)
    assert worker.now(job).removed_at is not None
    assert worker.bucket.objects == {}
    assert worker.world.rows(objects) == []


def test_a_try_whose_picture_the_sweep_has_taken_is_lost_as_a_whole(worker: Worker) -> None:
    job = worker.storing()

    def too_late() -> None:
        worker.time.on(LIMITS.transfer_lease_s + 1)
        worker.housekeeping.sweep(worker.time())

    worker.upstream.variants.append(still("spritesheet", at=too_late))
    worker.run(worker.transfer)
    assert worker.now(job).status is Status.STORING
    worker.time.now = max(worker.time(), worker.now(job).due_at)
    worker.run(worker.transfer)
    assert worker.now(job).status is Status.COMPLETED
    worker.live(3900, every_s=600)
    assert sorted(worker.bucket.objects) == sorted(worker.now(job).objects)
