"""Remixes in the worker: one key's alone, and never taken for another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.jobs.catalogue import Catalogue
from gateway.jobs.job import Job, Source, Status
from gateway.upstreams.port import Key, KeyRefused, Page, VideoRequest
from gateway.worker.rerouting import reroute
from gateway.worker.submit import fingerprint
from tests.worker_remotes import SAID, listed
from tests.worker_world import LIMITS, Worker

Make = Callable[..., Worker]
KEYS = (Key(name="one", secret="s1", fingerprint="f1"), Key(name="two", secret="s2", fingerprint="f2"))
SOURCE = Source(upstream_job_id="up_source", key_fingerprint="f2")
REQUEST = VideoRequest(model="sora-2", prompt="a cat", size="720x1280", seconds=4)


def test_remixes_of_different_videos_are_different_submits_and_none_is_a_plain_one() -> None:
    requests = [REQUEST, replace(REQUEST, remix_of="up_1"), replace(REQUEST, remix_of="up_2")]
    assert len({fingerprint(request) for request in requests}) == 3


def test_a_remix_is_submitted_with_its_source_s_key(make_worker: Make) -> None:
    worker = make_worker(keys=KEYS)
    jobs = [worker.posted(source=SOURCE, prompt=f"boat {number}") for number in range(3)]
    assert worker.run(worker.submit) == 3
    assert worker.upstream.keys == ["two"] * 3
    assert {worker.now(job).status for job in jobs} == {Status.RENDERING}


def test_a_remix_whose_key_was_replaced_goes_with_one_that_is_there(make_worker: Make) -> None:
    worker = make_worker(keys=KEYS[:1])
    job = worker.posted(source=SOURCE)
    assert worker.run(worker.submit) == 1
    assert (worker.upstream.keys, worker.now(job).status) == (["one"], Status.RENDERING)


def test_a_remix_waits_only_for_its_key_and_in_the_end_says_what_was_wrong_with_that(make_worker: Make) -> None:
    worker = make_worker(keys=KEYS, limits=replace(LIMITS, queue_timeout_s=1000))
    job = worker.posted(source=SOURCE)
    worker.upstream.submits.extend([KeyRefused(reason="quota", message="empty", answer=SAID)] * 50)
    worker.live(1200, every_s=20)
    done = worker.now(job)
    assert done.error is not None
    assert done.error.code == "insufficient_quota"
    assert set(worker.upstream.keys) == {"two"}


def test_a_start_with_other_settings_leaves_a_remix_where_its_source_is(make_worker: Make) -> None:
    worker = make_worker()
    job, plain = worker.posted(source=SOURCE), worker.posted()
    offers = worker.routes.catalogue.models["sora-2"]
    elsewhere = Catalogue(models={"sora-2": [replace(offer, upstream="another") for offer in offers]})
    assert reroute(worker.world.claims, elsewhere) == 1
    assert (worker.now(job).routes, worker.now(plain).routes) == (("main",), ("another",))


# -- lost answers: what the list shows beside ours ---------------------------------------------------------------------


def lost_remix(worker: Worker) -> Job:
    worker.upstream.make(REQUEST)  # what proves the list, once it is ours
    known = worker.rendering(prompt="known")
    assert worker.now(known).status is Status.RENDERING
    return worker.lost(source=SOURCE)


def settle(worker: Worker, job: Job, *shown: Any) -> Job:
    """Reconcile with a list that shows these, and the video that proves it."""
    known = listed(worker.upstream.made["up_2"])
    for _ in range(4):
        worker.upstream.pages.append(Page(videos=[*shown, known], next=None))
        worker.time.on(70)
        worker.run(worker.reconcile)
        if worker.now(job).status is not Status.SUBMITTING:
            break
    return worker.now(job)


def candidate(worker: Worker, video_id: str, **shown: Any) -> Any:
    made = worker.upstream.made["up_1"]
    return listed(made, upstream_job_id=video_id, prompt="a cat", created_at=worker.time(), **shown)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("sources", "status", "event"),
    [
        (["up_source"], Status.RENDERING, "adopted"),
        (["up_source", None], Status.RENDERING, "adopted"),
        (["another", None], Status.QUEUED, "proven_absent"),
        (["another"], Status.QUEUED, "proven_absent"),
        # Nothing says that this list tells sources at all.
        ([None], Status.FAILED, "failed"),
        (["up_source", "up_source"], Status.FAILED, "failed"),
    ],
)
def test_a_lost_remix_is_known_by_what_it_was_made_of(
    make_worker: Make, sources: list[str | None], status: Status, event: str
) -> None:
    worker = make_worker()
    job = lost_remix(worker)
    shown = [candidate(worker, f"x_{number}", remixed_from=source) for number, source in enumerate(sources)]
    done = settle(worker, job, *shown)
    assert done.status is status
    told = worker.world.queries.events(job.id)[-1]
    assert event in {told.event, told.detail.get("how")}
    if status is Status.RENDERING:
        assert done.upstream_job_id == "x_0"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("shown", [{"size": "1280x720"}, {"seconds": 8}, {"model": "sora-2-2025-12-08"}])
def test_a_lost_remix_is_not_paid_for_again_where_the_upstream_made_it_in_another_form(
    make_worker: Make, shown: dict[str, Any]
) -> None:
    worker = make_worker()
    job = lost_remix(worker)
    done = settle(worker, job, candidate(worker, "x_0", remixed_from="up_source", **shown))
    assert (done.status, done.upstream_job_id) == (Status.RENDERING, "x_0")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_lost_video_is_never_taken_for_a_remix_of_equal_words(make_worker: Make) -> None:
    worker = make_worker()
    worker.upstream.make(REQUEST)
    worker.rendering(prompt="known")
    job = worker.lost()
    done = settle(worker, job, candidate(worker, "x_0", remixed_from="up_source"))
    assert done.status is Status.QUEUED
    assert "proven_absent" in worker.events(job)
