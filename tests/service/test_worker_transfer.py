"""Transfers: whole or not at all, and tried for as long as the upstream keeps the content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.db.tables import objects
from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Job, Status
from gateway.upstreams.port import (
    ContentMissing,
    ContentNotReady,
    ContentOutcome,
    Finished,
    Key,
    KeyRefused,
    Missing,
    NoAnswer,
    PollOutcome,
)
from tests.worker_remotes import FILM, SAID, film
from tests.worker_world import LIMITS, Worker

GONE = ContentMissing(answer=SAID)
NOT_YET = ContentNotReady(reason="400", answer=SAID)
NO_VIDEO = ContentNotReady(reason="not a video", answer=SAID, invalid=True)
REFUSED = KeyRefused(reason="auth", message="no", answer=SAID)


def fetch(worker: Worker, job: Job, *outcomes: ContentOutcome) -> Job:
    """Let the next tries bring these, each when it is due."""
    for outcome in outcomes:
        worker.time.now = max(worker.time.now, worker.now(job).due_at)
        worker.upstream.contents.append(outcome)
        assert worker.run(worker.transfer) == 1
    return worker.now(job)


def fetch_until_final(worker: Worker, job: Job, outcome: ContentOutcome) -> float:
    """Let every try bring this until the job is final; for how long that went on."""
    began = worker.time()
    while not worker.now(job).final:
        fetch(worker, job, outcome)
    return worker.time() - began


def code(job: Job) -> str | None:
    return job.error.code if job.error else None


def states(worker: Worker) -> list[str]:
    return sorted(row.state for row in worker.world.rows(objects))


def test_a_finished_video_is_stored_whole_and_named_by_its_job(worker: Worker) -> None:
    job = worker.storing()
    done = fetch(worker, job, film())
    assert done.status is Status.COMPLETED
    assert done.stored is not None
    assert worker.bucket.objects == {done.stored.object_key: FILM}
    assert done.stored.size == len(FILM)
    assert done.stored.sha256 == hashlib.sha256(FILM).hexdigest()
    assert done.stored.object_key.endswith(".mp4")
    assert states(worker) == ["kept"]


def test_a_broken_download_is_repeated_soon_then_less_often_under_a_key_of_its_own(worker: Worker) -> None:
    job = worker.storing()
    waits: list[float] = []
    for _ in range(4):
        tried = fetch(worker, job, film(breaks_after=100))
        waits.append(tried.due_at - worker.time())
    assert waits == [4, 10, 30, 30]
    assert fetch(worker, job, film()).status is Status.COMPLETED
    keys = [row.key for row in worker.world.rows(objects)]
    assert len(set(keys)) == 5
    assert states(worker) == ["garbage"] * 4 + ["kept"]
    worker.live(3700, every_s=300)
    worker.live(3700, every_s=300)
    assert list(worker.bucket.objects.values()) == [FILM]
    assert states(worker) == ["kept"]


@pytest.mark.parametrize("outcome", [GONE, NOT_YET])
def test_only_after_a_try_in_vain_the_upstream_is_asked_for_links_and_each_time_for_fresh_ones(
    worker: Worker, outcome: ContentOutcome
) -> None:
    job = worker.storing()
    asked = len(worker.upstream.polled)
    fetch(worker, job, outcome)
    assert (len(worker.upstream.polled) - asked, worker.upstream.offered) == (0, [()])
    worker.upstream.polls.extend(Finished(answer=SAID, content_urls=(f"https://cdn.example/{n}",)) for n in (1, 2))
    fetch(worker, job, outcome, film())
    assert worker.upstream.offered == [(), ("https://cdn.example/1",), ("https://cdn.example/2",)]
    assert worker.now(job).status is Status.COMPLETED


@pytest.mark.parametrize("said", [Missing(answer=SAID), NoAnswer(reason="503", answer=SAID), REFUSED])
def test_a_poll_for_links_that_brings_none_changes_nothing_for_the_content(worker: Worker, said: PollOutcome) -> None:
    job = worker.storing()
    fetch(worker, job, NOT_YET)
    worker.upstream.polls.append(said)
    assert fetch(worker, job, film()).status is Status.COMPLETED
    assert worker.upstream.offered == [(), ()]


def test_a_poll_for_links_is_taken_from_the_rate_of_those_who_come_later(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(requests_per_minute=7)
    job = worker.storing()
    worker.time.on(60)
    fetch(worker, job, NOT_YET)
    worker.time.on(60)
    worker.upstream.polls.append(Finished(answer=SAID, content_urls=("https://cdn.example/1",)))
    assert fetch(worker, job, film()).status is Status.COMPLETED
    assert worker.upstream.offered[-1] == ("https://cdn.example/1",)
    worker.time.on(15)
    assert worker.routes.afford("main", "one", 1, now=worker.time()) == 0
    worker.time.on(6)
    assert worker.routes.afford("main", "one", 1, now=worker.time()) == 1


def test_a_database_that_is_away_for_a_moment_does_not_cost_the_try(
    make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker(requests_per_minute=7)
    job = worker.storing()
    worker.time.on(60)
    fetch(worker, job, NOT_YET)
    worker.time.on(60)
    take = worker.world.lanes.take_requests

    def away_when_owed(*args: Any, owed: bool = False, **named: Any) -> int:
        if owed:
            raise Unavailable("away", code="unavailable")
        return take(*args, **named)

    monkeypatch.setattr(worker.world.lanes, "take_requests", away_when_owed)
    worker.upstream.polls.append(Finished(answer=SAID, content_urls=("https://cdn.example/1",)))
    assert fetch(worker, job, film()).status is Status.COMPLETED
    assert worker.upstream.offered == [(), ("https://cdn.example/1",)]


@pytest.mark.parametrize("outcome", [film(breaks_after=5), NOT_YET])
def test_a_download_that_never_succeeds_is_repeated_until_the_content_expires(
    worker: Worker, outcome: ContentOutcome
) -> None:
    job = worker.storing(expires_at=worker.time() + 900)
    took = fetch_until_final(worker, job, outcome)
    assert 860 <= took <= 910
    assert code(worker.now(job)) == "content_expired"


def test_content_is_tried_for_an_hour_where_no_expiry_is_named(worker: Worker) -> None:
    job = worker.storing()
    assert 3590 <= fetch_until_final(worker, job, NOT_YET) <= 3640


def test_content_is_tried_for_a_minute_whatever_the_upstreams_clock_says(worker: Worker) -> None:
    job = worker.storing(expires_at=worker.time() - 5000)
    assert 60 <= fetch_until_final(worker, job, NOT_YET) <= 100


@pytest.mark.parametrize("outcome", [film(breaks_after=5), NOT_YET])
def test_content_that_nobody_asked_for_in_time_is_not_given_up_at_the_first_broken_try(
    worker: Worker, outcome: ContentOutcome
) -> None:
    job = worker.storing()
    worker.time.on(20_000)
    assert fetch(worker, job, outcome, outcome, outcome).status is Status.STORING
    assert fetch(worker, job, film()).status is Status.COMPLETED


def test_content_that_is_never_a_video_is_called_so(worker: Worker) -> None:
    job = worker.storing(expires_at=worker.time() + 100)
    fetch_until_final(worker, job, NO_VIDEO)
    assert code(worker.now(job)) == "content_invalid"


def test_404_is_final_at_the_fourth_over_at_least_thirty_seconds(worker: Worker) -> None:
    job = worker.storing()
    began = worker.time()
    assert fetch(worker, job, GONE, GONE, GONE).status is Status.STORING
    assert code(fetch(worker, job, GONE)) == "content_expired"
    assert worker.time() - began >= 30


def test_a_404_under_another_key_than_the_one_that_accepted_says_nothing(worker: Worker) -> None:
    job = worker.storing()
    successor = worker.again(keys=(Key(name="other", secret="s9", fingerprint="f9"),))
    assert fetch(successor, job, *[GONE] * 8).status is Status.STORING


def test_a_long_retry_after_does_not_outlive_the_content(worker: Worker) -> None:
    job = worker.storing()
    tried = fetch(worker, job, ContentNotReady(reason="429", answer=SAID, retry_after_s=3000))
    assert tried.due_at - worker.time() == 120


def test_trouble_with_the_bucket_never_uses_up_the_videos_time(worker: Worker) -> None:
    job = worker.storing(expires_at=worker.time() + 900)
    worker.bucket.down = True
    while worker.time() - job.created_at < 20_000:
        fetch(worker, job, film())
    assert worker.now(job).status is Status.STORING
    worker.bucket.down = False
    assert fetch(worker, job, film()).status is Status.COMPLETED


def test_content_that_is_gone_after_trouble_with_the_bucket_is_the_buckets_fault(worker: Worker) -> None:
    job = worker.storing()
    worker.bucket.down = True
    fetch(worker, job, film())
    assert code(fetch(worker, job, *[GONE] * 4)) == "storage_error"


def test_while_its_key_is_refused_the_contents_time_stands_still(worker: Worker) -> None:
    job = worker.storing(expires_at=worker.time() + 900)
    assert fetch(worker, job, *[REFUSED] * 100).status is Status.STORING
    assert worker.time() - job.created_at > 2900
    assert worker.world.queries.upstream_keys()[0].pause_reason == "auth"
    assert fetch(worker, job, film()).status is Status.COMPLETED


def test_a_key_refused_for_as_long_as_a_video_may_queue_ends_the_tries(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(limits=replace(LIMITS, queue_timeout_s=120))
    job = worker.storing()
    assert 110 <= fetch_until_final(worker, job, REFUSED) <= 160
    assert code(worker.now(job)) == "upstream_auth"


def test_content_of_an_upstream_that_is_no_longer_configured_expires_too(worker: Worker) -> None:
    job = worker.storing(expires_at=worker.time() + 300)
    bare = worker.again(configured=False)
    fetch_until_final(bare, job, GONE)
    assert code(bare.now(job)) == "content_expired"


def test_of_two_tries_at_once_the_one_that_still_holds_the_claim_wins(worker: Worker) -> None:
    job = worker.storing()
    other = worker.again(name="worker-b")
    taken: list[int] = []

    def frozen_once() -> None:
        if not taken:
            taken.append(1)
            worker.time.on(700)
            other.upstream.contents.append(film())
            assert other.run(other.transfer) == 1

    worker.upstream.contents.append(film(FILM * 3, at=frozen_once))
    worker.run(worker.transfer)
    done = worker.now(job)
    assert done.stored is not None
    assert done.stored.size == len(FILM)
    worker.live(30)
    worker.live(7300, every_s=600)
    assert worker.bucket.objects == {done.stored.object_key: FILM}
    assert worker.events(job).count("completed") == 1


def test_a_transfer_that_ends_after_its_object_was_swept_stores_nothing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = worker.storing()
    write = worker.bucket.write

    def frozen_at_the_end(*args: object, **named: object) -> object:
        written = write(*args, **named)  # type: ignore[arg-type]
        worker.time.on(500)
        worker.housekeeping.sweep(worker.time())
        return written

    monkeypatch.setattr(worker.bucket, "write", frozen_at_the_end)
    assert fetch(worker, job, film()).status is Status.STORING
    assert worker.bucket.objects == {}
    monkeypatch.undo()
    assert fetch(worker, job, film()).status is Status.COMPLETED


def test_a_worker_that_stops_gives_its_transfer_back_for_others_to_begin_at_once(worker: Worker) -> None:
    job = worker.storing()
    after = fetch(worker, job, film(at=worker.stopping.set))
    assert (after.status, after.due_at, after.claimed_by) == (Status.STORING, worker.time(), None)
    assert states(worker) == ["garbage"]
    assert worker.bucket.objects == {}


def test_a_mistake_of_ours_within_a_transfer_costs_it_half_a_minute_and_not_its_long_lease(worker: Worker) -> None:
    job = worker.storing()

    def mistaken() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        fetch(worker, job, film(at=mistaken))
    after = worker.now(job)
    assert (after.status, after.due_at, after.claimed_by) == (Status.STORING, worker.time() + 30, None)
    assert states(worker) == ["garbage"]
    assert fetch(worker, job, film()).status is Status.COMPLETED


@pytest.mark.parametrize("erased", [False, True])
def test_a_video_stopped_during_its_transfer_leaves_nothing_in_the_bucket(worker: Worker, erased: bool) -> None:
    job = worker.storing()
    stop = worker.world.recorder.erase if erased else worker.world.recorder.cancel
    stopped: list[int] = []

    def now_and_once() -> None:
        if not stopped:
            stopped.append(1)
            stop(job.id, client="ann", now=worker.time())

    worker.upstream.contents.append(film(at=now_and_once))
    worker.run(worker.transfer)
    assert worker.now(job).status is Status.CANCELLED
    worker.live(30)
    assert worker.bucket.objects == {}


def test_a_completion_whose_commit_was_answered_too_late_keeps_its_object(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = worker.storing()
    record = worker.world.recorder.record
    tried: list[int] = []

    def committed_but_unheard(transition: object) -> object:
        recorded = record(transition)  # type: ignore[arg-type]
        tried.append(1)
        if len(tried) == 1:
            raise Unavailable("the connection was lost", code="unavailable")
        return recorded

    monkeypatch.setattr(worker.world.recorder, "record", committed_but_unheard)
    done = fetch(worker, job, film())
    assert done.status is Status.COMPLETED
    worker.live(30)
    assert list(worker.bucket.objects.values()) == [FILM]
