"""A database that is away for a moment: what an upstream answered meanwhile is neither lost nor taken for doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Status
from gateway.jobs.ports import Submission
from gateway.upstreams.port import Answer, ContentNotReady, NoAnswer, NotAccepted
from gateway.worker.failover import Failover
from tests.service.test_worker_reconcile import accepted_but_unheard, an, look
from tests.service.test_worker_transfer import fetch
from tests.service.test_worker_unbegun import Failing
from tests.worker_remotes import page
from tests.worker_world import LIMITS, Worker

TOO_MANY = Answer(status=429, body="{}", elapsed_s=0.01)
GONE = Answer(status=None)


@pytest.fixture
def narrow_fails(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> Failing:
    failing = Failing(worker.world.lanes.narrow)
    monkeypatch.setattr(worker.world.lanes, "narrow", failing)
    return failing


def test_a_submit_that_was_turned_away_is_in_no_doubt(worker: Worker, narrow_fails: Failing) -> None:
    worker.upstream.facts = replace(worker.upstream.facts, can_list=False)
    worker.upstream.submits.append(NotAccepted(reason="rate", answer=TOO_MANY))
    job = worker.rendering()
    assert narrow_fails.asked == 1
    assert (job.status, worker.submission(job).outcome) == (Status.QUEUED, "absent")
    assert worker.slots() == 0


def test_that_nothing_was_made_is_on_disk_before_the_pace_is_narrowed(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[str] = []
    job = worker.posted()
    monkeypatch.setattr(worker.world.lanes, "narrow", lambda *_, **__: known.append(worker.submission(job).outcome))
    worker.upstream.submits.append(NotAccepted(reason="rate", answer=TOO_MANY))
    assert worker.run(worker.submit) == 1
    assert known == ["absent"]


@pytest.mark.parametrize("resubmit", [False, True])
def test_an_answer_in_hand_is_not_taken_for_lost_when_the_database_comes_back_after_its_lease(
    make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch, *, resubmit: bool
) -> None:
    worker = make_worker(limits=replace(LIMITS, resubmit_unknown=resubmit))
    worker.upstream.facts = replace(worker.upstream.facts, can_list=False)
    accepted, looked = worker.world.submissions.accepted, []

    def away_past_the_lease(*args: object, **named: object) -> None:
        if not looked:
            worker.time.on(worker.limits.submit_lease_s + 1)
            looked.append(worker.run(worker.reconcile))  # another worker: the database is back for it already
            raise Unavailable("away", code="unavailable")
        accepted(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(worker.world.submissions, "accepted", away_past_the_lease)
    job = worker.posted()
    assert worker.run(worker.submit) == 1
    assert looked == [1]
    worker.live(30, every_s=1)
    assert (worker.now(job).upstream_job_id, worker.now(job).status) == ("up_1", Status.COMPLETED)
    assert len(worker.upstream.posts) == 1


def test_what_is_answered_right_before_it_is_submitted_again_is_not(
    make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker(limits=replace(LIMITS, resubmit_unknown=True))
    worker.upstream.facts = replace(worker.upstream.facts, can_list=False)
    job = worker.lost()
    free = worker.world.submissions.free

    def answered(submission: Submission, *, now: float) -> bool:
        worker.world.submissions.accepted(submission, upstream_job_id="up_late", now=now)
        return free(submission, now=now)

    monkeypatch.setattr(worker.world.submissions, "free", answered)
    look(worker)
    assert worker.events(job)[-1] == "answered_late"
    assert worker.slots() == 1
    look(worker)
    assert (worker.now(job).status, worker.now(job).upstream_job_id) == (Status.RENDERING, "up_late")
    assert len(worker.upstream.posts) == 1


def test_another_upstream_is_looked_for_once_the_database_is_back(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Failing(lambda *_, **__: True)
    monkeypatch.setattr(Failover, "elsewhere", elsewhere)
    worker.upstream.submits.append(NotAccepted(reason="refused", answer=GONE))
    job = worker.rendering()
    assert (elsewhere.asked, job.status, job.due_at) == (2, Status.QUEUED, worker.time())


def test_content_that_was_not_to_be_had_is_tried_again_in_time(worker: Worker, narrow_fails: Failing) -> None:
    job = worker.storing()
    left = fetch(worker, job, ContentNotReady(reason="HTTP 429", answer=TOO_MANY))
    assert narrow_fails.asked == 1
    assert (left.claimed_by, left.due_at) == (None, worker.time() + 4)


def test_a_list_that_was_not_to_be_had_is_asked_again_in_time(worker: Worker, narrow_fails: Failing) -> None:
    job = accepted_but_unheard(worker)
    worker.upstream.pages.append(NoAnswer(reason="HTTP 429", answer=TOO_MANY))
    look(worker)
    assert narrow_fails.asked == 1
    assert (worker.events(job)[-1], worker.now(job).due_at) == ("list_unanswered", worker.time() + 1)


def test_a_walk_that_has_begun_goes_on(make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    worker = make_worker(requests_per_minute=600)
    job = accepted_but_unheard(worker)
    worker.upstream.pages.extend([page(an("up_9", prompt="other"), after="c1"), page(an("up_1"))])
    take = worker.world.lanes.take_requests
    away = Failing(take)

    def owed_fails(*args: object, owed: bool = False, **named: object) -> int:
        return int((away if owed else take)(*args, owed=owed, **named))  # type: ignore[arg-type]

    monkeypatch.setattr(worker.world.lanes, "take_requests", owed_fails)
    look(worker)
    assert away.asked == 1
    assert worker.now(job).upstream_job_id == "up_1"


def test_a_job_without_room_is_given_back_once_the_database_is_back(
    make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker()
    twin = accepted_but_unheard(worker)
    late = worker.posted(prompt=twin.prompt)
    release = Failing(worker.world.claims.release)
    monkeypatch.setattr(worker.world.claims, "release", release)
    assert worker.run(worker.submit) == 1
    assert release.asked == 2
    assert (worker.now(late).claimed_by, worker.now(late).due_at) == (None, worker.time() + 2)
