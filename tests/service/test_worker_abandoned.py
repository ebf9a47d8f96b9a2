"""Slots of videos that nobody waits for any more: given back when the upstream is seen to be done, or in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.jobs.job import Job, Status
from gateway.upstreams.port import NoAnswer, Unfinished
from tests.worker_remotes import SAID
from tests.worker_world import Worker


def busy(times: int = 1000) -> list[Unfinished]:
    return [Unfinished(progress=10, answer=SAID)] * times


def can_cancel(worker: Worker) -> None:
    worker.upstream.facts = replace(worker.upstream.facts, can_cancel=True)


def cancelled(worker: Worker) -> Job:
    job = worker.rendering()
    return worker.world.recorder.cancel(job.id, client="ann", now=worker.time())


def timed_out(worker: Worker) -> Job:
    job = worker.rendering()
    worker.upstream.polls.append(Unfinished(progress=10, answer=SAID))
    worker.time.on(601)
    assert worker.run(worker.poll) == 1
    assert worker.now(job).status is Status.FAILED
    return worker.now(job)


@pytest.mark.parametrize("end", [cancelled, timed_out])
def test_the_upstream_is_told_once_to_stop_and_its_yes_frees_the_slot(
    worker: Worker, end: Callable[[Worker], Job]
) -> None:
    can_cancel(worker)
    end(worker)
    worker.run(worker.abandoned)
    assert worker.upstream.cancels == ["up_1"]
    assert worker.slots() == 0
    worker.live(60)
    assert worker.upstream.cancels == ["up_1"]


@pytest.mark.parametrize("end", [cancelled, timed_out])
def test_a_no_to_the_cancel_keeps_the_slot_until_the_video_is_seen_final(
    worker: Worker, end: Callable[[Worker], Job]
) -> None:
    can_cancel(worker)
    worker.upstream.can_stop = False
    end(worker)
    worker.upstream.polls.extend(busy(3))
    began = worker.time()
    while worker.slots():
        worker.run(worker.abandoned)
        worker.time.on(5)
    assert worker.upstream.cancels == ["up_1"]
    assert 120 <= worker.time() - began <= 130


def test_an_upstream_that_cannot_cancel_is_polled_until_the_video_is_final(worker: Worker) -> None:
    cancelled(worker)
    worker.upstream.polls.extend([*busy(2), NoAnswer(reason="502", answer=SAID)])
    worker.live(85)
    assert worker.slots() == 1
    worker.live(35)
    assert worker.slots() == 0
    assert worker.upstream.cancels == []


def test_a_video_that_never_ends_gives_its_slot_back_in_the_end(worker: Worker) -> None:
    timed_out(worker)
    worker.upstream.polls.extend(busy())
    worker.live(590, every_s=10)
    assert worker.slots() == 1
    worker.live(40, every_s=10)
    assert worker.slots() == 0


def test_a_submit_that_stays_unknown_gives_its_slot_back_when_the_longest_wait_is_over(worker: Worker) -> None:
    worker.upstream.facts = replace(worker.upstream.facts, can_list=False)
    job = worker.lost()
    worker.run(worker.reconcile)
    assert worker.now(job).status is Status.FAILED
    worker.live(590, every_s=10)
    assert worker.slots() == 1
    worker.live(40, every_s=10)
    assert worker.slots() == 0
    assert worker.upstream.polled == []


def test_a_cancel_that_the_rate_has_no_room_for_is_sent_later(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(requests_per_minute=6)
    can_cancel(worker)
    cancelled(worker)
    worker.run(worker.abandoned)
    assert worker.upstream.cancels == []
    worker.time.on(30)
    worker.run(worker.abandoned)
    assert worker.upstream.cancels == ["up_1"]
    assert worker.slots() == 0


@pytest.mark.parametrize("told_to_stop", [False, True])
def test_a_slot_at_an_upstream_that_is_no_longer_configured_is_given_back_in_the_end(
    worker: Worker, told_to_stop: bool
) -> None:
    can_cancel(worker)
    worker.upstream.can_stop = False
    cancelled(worker)
    if told_to_stop:
        worker.run(worker.abandoned)
    bare = worker.again(configured=False)
    bare.live(1240, every_s=20)
    assert bare.slots() == 0


def test_a_freed_slot_is_the_next_jobs(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(max_concurrent=1)
    can_cancel(worker)
    cancelled(worker)
    waiting = worker.posted(prompt="a dog")
    assert worker.run(worker.submit) == 0
    worker.run(worker.abandoned)
    worker.run(worker.submit)
    assert worker.now(waiting).status is Status.RENDERING
