"""Looks for a lost submit: when they come, and how many there are before it is given up."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.jobs.job import Status
from gateway.upstreams.port import KeyRefused, NoAnswer, Unknown
from tests.service.test_worker_reconcile import SILENT, accepted_but_unheard, code, look, with_a_known_video
from tests.worker_remotes import SAID
from tests.worker_world import Worker


@pytest.mark.parametrize("silence", [SILENT, KeyRefused(reason="auth", message="no", answer=SAID)])
def test_a_list_that_fails_is_asked_for_as_long_as_a_video_may_take(
    worker: Worker, silence: NoAnswer | KeyRefused
) -> None:
    worker.upstream.pages.extend([silence] * 100)
    job = worker.lost()
    for _ in range(29):
        worker.run(worker.reconcile)
        worker.time.on(20)
    assert worker.now(job).status is Status.SUBMITTING
    worker.time.on(60)
    look(worker)
    assert code(worker, job) == "submission_unknown"


def test_a_list_that_comes_back_is_believed(worker: Worker) -> None:
    job = accepted_but_unheard(worker)
    worker.upstream.pages.extend([SILENT] * 3)
    worker.live(30, every_s=2)
    assert worker.now(job).upstream_job_id == "up_1"


def test_one_that_nobody_could_look_for_in_time_is_looked_for_all_the_same(worker: Worker) -> None:
    job = accepted_but_unheard(worker)
    worker.time.on(worker.limits.max_wait_s * 2)  # every worker was away
    worker.upstream.pages.extend([SILENT] * 2)
    worker.live(30, every_s=1)
    assert worker.now(job).upstream_job_id == "up_1"


def test_a_walk_waits_for_its_keys_rate_and_that_is_no_look(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(requests_per_minute=7)
    job = worker.lost()
    before = worker.now(job)
    assert worker.run(worker.reconcile) == 0
    put_off = worker.now(job)
    assert worker.upstream.asked_after == []
    assert (put_off.tries, put_off.missing) == (before.tries, before.missing)
    assert put_off.due_at == worker.time() + 10  # 7 a minute, and one of them may be owed
    worker.time.now = put_off.due_at
    look(worker)
    assert worker.upstream.asked_after == [None]


def test_one_whose_keys_rate_was_spent_by_others_for_long_is_not_given_up_unlooked(
    make_worker: Callable[..., Worker],
) -> None:
    worker = make_worker(requests_per_minute=7)
    job = accepted_but_unheard(worker)
    for _ in range(90):
        worker.routes.afford("main", "one", 1, now=worker.time(), owed=True)
        worker.run(worker.reconcile)
        worker.time.on(10)
    assert worker.now(job).status is Status.SUBMITTING
    worker.time.on(600)
    look(worker)
    assert worker.now(job).upstream_job_id == "up_1"


def test_what_asks_no_list_waits_for_no_rate(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(requests_per_minute=7)
    worker.upstream.facts = replace(worker.upstream.facts, can_list=False)
    job = worker.lost()
    look(worker)
    assert code(worker, job) == "submission_unknown"


def test_the_looks_for_a_second_lost_answer_are_counted_anew(worker: Worker) -> None:
    worker.upstream.unfinished_polls = 999
    with_a_known_video(worker)
    worker.upstream.pages.extend([SILENT] * 4)
    job = worker.lost()
    while worker.now(job).status is Status.SUBMITTING:
        worker.run(worker.reconcile)
        worker.time.on(1)
    assert worker.events(job)[-1] == "proven_absent"
    worker.upstream.loses_the_answer = True
    worker.upstream.submits.append(Unknown(reason="timeout", answer=SAID))
    assert worker.run(worker.submit) == 1
    worker.time.on(worker.limits.max_wait_s * 2)  # every worker was away
    worker.upstream.pages.extend([SILENT] * 2)
    worker.live(30, every_s=1)
    assert worker.now(job).upstream_job_id == "up_2"


@pytest.mark.parametrize("absent", [True, False])
def test_what_is_known_to_have_been_turned_away_waits_for_no_keys_rate(
    make_worker: Callable[..., Worker], *, absent: bool
) -> None:
    worker = make_worker(requests_per_minute=7)
    job = worker.lost()
    worker.world.submissions.refused(worker.submission(job), absent=absent, now=worker.time())
    worker.routes.afford("main", "one", 30, now=worker.time(), owed=True)  # spent for minutes
    look(worker)
    assert worker.now(job).status is Status.QUEUED
    assert worker.upstream.asked_after == []


def test_a_walk_is_admitted_before_the_polls_are(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(requests_per_minute=7)
    worker.upstream.unfinished_polls = 999
    for number in range(3):
        worker.rendering(prompt=f"cat {number}")
        worker.time.on(60)
    job = worker.lost()
    steps = worker.reconcile, worker.poll
    for _ in range(25):
        worker.time.on(1)
        # As a tick does: every step claims before any of their threads has begun.
        work = [step.claim(worker=worker.name, limit=9, moment=worker.moment()) for step in steps]
        for piece in itertools.chain.from_iterable(work):
            piece()
        if worker.upstream.asked_after:
            break
    assert worker.upstream.asked_after == [None]
    assert worker.now(job).status is Status.SUBMITTING
