"""What is done once in a while: the queue's limit, the bucket's leftovers, retention, the dead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from gateway.bucket.port import BucketError
from gateway.db.tables import deliveries, idempotency_keys, objects, upstream_keys, workers
from gateway.jobs.job import Job, Status
from gateway.upstreams.port import Key
from tests.contracts.world import new_job
from tests.worker_remotes import EVENTS, HOOK, film
from tests.worker_world import LIMITS, Worker

DAY_S = 86400


def code(worker: Worker, job: Job) -> str | None:
    error = worker.now(job).error
    return error.code if error else None


def keep_house(worker: Worker) -> None:
    worker.housekeeping.tick(worker.time())
    worker.housekeeping.sweep(worker.time())


def pause(worker: Worker, key: str, reason: str) -> None:
    worker.world.lanes.pause("main", key, reason=reason, answer="no", now=worker.time())


def test_a_video_that_queued_for_the_longest_time_fails_and_is_told(worker: Worker) -> None:
    job = worker.posted(callback_url=HOOK, callback_events=EVENTS)
    worker.time.on(DAY_S - 1)
    keep_house(worker)
    assert worker.now(job).status is Status.QUEUED
    worker.time.on(2)
    keep_house(worker)
    assert code(worker, job) == "queue_timeout"
    assert worker.world.row(deliveries).type == "video.failed"


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (["auth", "auth"], "upstream_auth"),
        (["quota", "auth"], "insufficient_quota"),
        (["quota", None], "queue_timeout"),
        (["operator", "operator"], "queue_timeout"),
        (["operator", "auth"], "queue_timeout"),
    ],
)
def test_the_reason_for_a_queue_that_did_not_move_is_that_of_all_keys(
    make_worker: Callable[..., Worker], reasons: list[str | None], expected: str
) -> None:
    worker = make_worker(
        keys=(Key(name="one", secret="s1", fingerprint="f1"), Key(name="two", secret="s2", fingerprint="f2"))
    )
    for key, reason in zip(worker.keys, reasons, strict=True):
        if reason:
            pause(worker, key.name, reason)
    job = worker.posted()
    worker.time.on(DAY_S + 1)
    keep_house(worker)
    assert code(worker, job) == expected


def test_a_key_that_is_no_longer_configured_has_no_say_in_the_reason(worker: Worker) -> None:
    with worker.database.write() as connection:
        connection.execute(upstream_keys.insert().values(upstream="main", key="of old"))
    pause(worker, "one", "quota")
    job = worker.posted()
    worker.time.on(DAY_S + 1)
    keep_house(worker)
    assert code(worker, job) == "insufficient_quota"


def test_a_queued_video_that_is_just_being_prepared_expires_all_the_same_and_is_not_sent(worker: Worker) -> None:
    job = worker.posted()
    worker.time.on(DAY_S + 1)
    [piece] = worker.submit.claim(worker="a", limit=1, moment=worker.moment())
    keep_house(worker)
    piece()
    assert code(worker, job) == "queue_timeout"
    assert worker.upstream.posts == []


def test_leftovers_are_removed_once_the_bucket_is_up_again(worker: Worker) -> None:
    worker.world.ledger.begin("a/left.mp4", until=worker.time() + 5, now=worker.time())
    worker.bucket.objects["a/left.mp4"] = b"film"
    worker.bucket.down = True
    worker.time.on(5)
    for _ in range(5):
        keep_house(worker)
        worker.time.on(60)
    worker.bucket.down = False
    keep_house(worker)
    assert worker.bucket.objects == {}


def test_an_object_that_landed_after_its_removal_is_removed_at_the_second_look(worker: Worker) -> None:
    worker.world.ledger.begin("a/late.mp4", until=worker.time(), now=worker.time())
    keep_house(worker)
    worker.bucket.objects["a/late.mp4"] = b"film"
    worker.time.on(3600)
    keep_house(worker)
    assert worker.bucket.objects == {}
    assert worker.world.rows(objects) == []


def test_a_bucket_that_hangs_keeps_nothing_else_from_being_done(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(key: str) -> None:
        raise AssertionError("the tick must not touch the bucket")

    monkeypatch.setattr(worker.bucket, "delete", hangs)
    worker.world.ledger.begin("a/left.mp4", until=worker.time(), now=worker.time())
    job = worker.posted()
    worker.time.on(DAY_S + 1)
    worker.housekeeping.tick(worker.time())
    assert code(worker, job) == "queue_timeout"


def test_one_object_that_cannot_be_removed_is_tried_again_and_not_forgotten(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = worker.bucket.delete

    def refuses_one(key: str) -> None:
        if key == "a/stuck.mp4":
            raise BucketError("denied")
        delete(key)

    monkeypatch.setattr(worker.bucket, "delete", refuses_one)
    for number, key in enumerate(("a/stuck.mp4", "a/other.mp4")):
        worker.world.ledger.begin(key, until=worker.time() + number, now=worker.time())
        worker.bucket.objects[key] = b"film"
    worker.time.on(1)
    keep_house(worker)
    assert set(worker.bucket.objects) == {"a/stuck.mp4"}
    monkeypatch.undo()
    worker.time.on(60)
    keep_house(worker)
    assert worker.bucket.objects == {}


def test_retention_removes_object_and_prompt_of_old_videos_alone(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(limits=replace(LIMITS, retention_s=1000))
    old = worker.storing()
    worker.upstream.contents.append(film())
    worker.run(worker.transfer)
    worker.time.on(900)
    young = worker.storing(prompt="a dog")
    worker.upstream.contents.append(film())
    worker.run(worker.transfer)
    worker.time.on(200)
    keep_house(worker)
    assert worker.now(old).prompt is None
    assert worker.now(old).status is Status.COMPLETED
    stored = worker.now(young).stored
    assert stored is not None
    assert set(worker.bucket.objects) == {stored.object_key}


def test_without_a_retention_everything_is_kept(worker: Worker) -> None:
    job = worker.storing()
    worker.run(worker.transfer)
    worker.time.on(10**8)
    keep_house(worker)
    assert len(worker.bucket.objects) == 1
    assert worker.now(job).prompt == "a cat"


def test_idempotency_keys_are_forgotten_after_a_day(worker: Worker) -> None:
    worker.world.accept(new_job(at=worker.time()), idempotency_key="k")
    worker.time.on(DAY_S - 1)
    keep_house(worker)
    assert len(worker.world.rows(idempotency_keys)) == 1
    worker.time.on(2)
    keep_house(worker)
    assert worker.world.rows(idempotency_keys) == []


def test_a_worker_that_fell_silent_is_relieved_of_its_transfer_within_fifteen_seconds(worker: Worker) -> None:
    job = worker.storing()
    dead = worker.again(name="dead")
    dead.world.workers.join("dead", now=worker.time())
    dead.transfer.claim(worker="dead", limit=1, moment=dead.moment())
    with worker.database.read() as connection:
        entered = connection.execute(sa.select(workers)).mappings().one()
    dead.world.workers.leave("dead", now=dead.time())
    with worker.database.write() as connection:
        connection.execute(sa.insert(workers).values(**entered))
    worker.live(15, every_s=1)
    assert worker.now(job).status is Status.COMPLETED
