"""Jobs that start from a picture: what becomes of them where it cannot be had."""

from __future__ import annotations

import pytest

from gateway.db.tables import objects
from gateway.jobs.job import Job, Reference, Status
from gateway.outbound.errors import Blocked, NotSent
from gateway.outbound.session import Reply
from gateway.upstreams.port import NotAccepted
from tests.worker_remotes import SAID
from tests.worker_world import Worker

URL = "https://pictures.example.com/cat.png"
PNG = b"\x89PNG\r\n\x1a\n picture"
KEPT = Reference(object_key="ann/reference.png", content_type="image/png", sha256="x", size=len(PNG))


def found(body: bytes = PNG, status: int = 200) -> Reply:
    return Reply(status=status, headers={}, body=body, truncated=False, elapsed_s=0.1, peer=None)


def with_a_kept_picture(worker: Worker) -> Job:
    worker.world.ledger.begin(KEPT.object_key, until=worker.time() + 3600, now=worker.time())
    worker.bucket.objects[KEPT.object_key] = PNG
    return worker.posted(reference=KEPT)


def submit_when_due(worker: Worker, job: Job, *, times: int = 1) -> Job:
    for _ in range(times):
        worker.time.now = max(worker.time.now, worker.now(job).due_at)
        worker.run(worker.submit)
    return worker.now(job)


def test_a_kept_picture_is_submitted_and_swept_when_the_job_is_final(worker: Worker) -> None:
    job = with_a_kept_picture(worker)
    assert submit_when_due(worker, job).status is Status.RENDERING
    [request] = worker.upstream.posts
    assert request.image is not None
    assert (request.image.data, request.image.content_type) == (PNG, "image/png")
    worker.live(90)
    assert worker.now(job).status is Status.COMPLETED
    assert KEPT.object_key not in worker.bucket.objects
    assert worker.world.row(objects, key=KEPT.object_key).state == "garbage"


def test_a_remote_picture_is_submitted(worker: Worker) -> None:
    worker.elsewhere.replies[URL] = found()
    assert submit_when_due(worker, worker.posted(reference=Reference(url=URL))).status is Status.RENDERING
    assert worker.upstream.posts[0].image is not None


def test_a_bucket_that_is_down_costs_time_and_not_the_job(worker: Worker) -> None:
    job = with_a_kept_picture(worker)
    worker.bucket.down = True
    began = worker.time()
    waiting = submit_when_due(worker, job, times=10)
    assert (waiting.status, waiting.missing) == (Status.QUEUED, 0)
    assert worker.time() - began > 300
    assert worker.slots() == 0
    worker.bucket.down = False
    assert submit_when_due(worker, job).status is Status.RENDERING


@pytest.mark.parametrize("answer", [Blocked("loopback"), found(status=404), found(b"<html>")])
def test_a_picture_that_can_never_be_had_fails_the_job_before_anything_is_sent(
    worker: Worker, answer: Reply | Exception
) -> None:
    worker.elsewhere.replies[URL] = answer
    done = submit_when_due(worker, worker.posted(reference=Reference(url=URL)))
    assert done.error is not None
    assert done.error.code == "invalid_reference"
    assert worker.upstream.posts == []
    assert worker.slots() == 0


def test_a_kept_picture_that_is_gone_fails_the_job(worker: Worker) -> None:
    job = with_a_kept_picture(worker)
    worker.bucket.objects.clear()
    done = submit_when_due(worker, job)
    assert done.error is not None
    assert done.error.code == "invalid_reference"


def test_a_pictures_server_that_is_down_is_tried_four_times(worker: Worker) -> None:
    worker.elsewhere.replies[URL] = NotSent("refused")
    job = worker.posted(reference=Reference(url=URL))
    assert submit_when_due(worker, job, times=3).status is Status.QUEUED
    assert submit_when_due(worker, job).status is Status.FAILED
    assert len(worker.elsewhere.fetched) == 4


def test_an_upstreams_refusals_do_not_use_up_the_tries_for_the_picture(worker: Worker) -> None:
    worker.elsewhere.replies[URL] = found()
    worker.upstream.submits.extend([NotAccepted(reason="rate", answer=SAID)] * 5)
    job = worker.posted(reference=Reference(url=URL))
    for _ in range(5):
        submit_when_due(worker, job)
        worker.time.on(60)
    worker.elsewhere.replies[URL] = NotSent("refused")
    assert submit_when_due(worker, job).status is Status.QUEUED
    worker.elsewhere.replies[URL] = found()
    assert submit_when_due(worker, job).status is Status.RENDERING
