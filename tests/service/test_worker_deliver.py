"""Callbacks: again by the schedule, with a fresh link and the same id, and never the job's problem."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.db.tables import attempts, deliveries, receivers
from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Job
from gateway.jobs.ports import AttemptResult, Delivery
from gateway.settings import Settings
from gateway.webhooks.outcomes import Delivered, Gone, Outcome, Retry
from tests.worker_remotes import EVENTS, HOOK, Sent, film
from tests.worker_world import LIMITS, Worker

SOON_S = 10.0


def no(retry_after_s: float | None = None) -> Retry:
    return Retry(result=AttemptResult(status=500, latency_ms=3, answer="no", error=""), retry_after_s=retry_after_s)


YES = Delivered(result=AttemptResult(status=200, latency_ms=3, answer="ok", error=""))
GONE = Gone(result=AttemptResult(status=410, latency_ms=3, answer="gone", error=""))


def completed(worker: Worker, **fields: Any) -> Job:
    job = worker.storing(callback_url=HOOK, callback_events=("video.completed", "video.failed"), **fields)
    worker.upstream.contents.append(film())
    worker.run(worker.transfer)
    return worker.now(job)


def row(worker: Worker) -> Any:
    return worker.world.row(deliveries)


def attempt(worker: Worker, *answers: Outcome) -> Any:
    """Let the next attempts bring these, each when it is due; the delivery afterwards."""
    for answer in answers:
        worker.time.now = max(worker.time.now, row(worker).due_at)
        worker.receiver.answers.append(answer)
        assert worker.run(worker.deliver) == 1
    return row(worker)


def body(sent: Sent) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(sent.body)
    return told


def test_a_completed_video_is_told_once_with_a_link_and_without_its_prompt(worker: Worker) -> None:
    job = completed(worker, metadata={"order": "7"})
    assert worker.run(worker.deliver) == 1
    [sent] = worker.receiver.sent
    told = body(sent)
    assert (sent.url, sent.attempt, sent.webhook_id) == (HOOK, 1, told["id"])
    assert (told["object"], told["type"]) == ("event", "video.completed")
    data = told["data"]
    assert (data["id"], data["status"], data["progress"]) == (job.id, "completed", 100)
    assert data["url"].startswith("https://bucket.test/")
    assert data["url_expires_at"] == int(worker.time()) + 86400
    assert data["urls"]["get"] == f"https://gateway.test/v1/videos/{job.id}"
    assert data["metadata"] == {"order": "7"}
    assert "prompt" not in data
    assert row(worker).status == "delivered"
    worker.time.on(10_000)
    assert worker.run(worker.deliver) == 0


def test_an_attempt_that_failed_is_made_again_by_the_schedule_until_it_is_exhausted(worker: Worker) -> None:
    completed(worker)
    waits = [attempt(worker, no()).due_at - worker.time() for _ in range(3)]
    assert waits == [5, 30, 300]
    last = attempt(worker, no())
    assert (last.status, last.due_at, last.attempts) == ("exhausted", None, 4)
    assert [sent.attempt for sent in worker.receiver.sent] == [1, 2, 3, 4]
    assert len({sent.webhook_id for sent in worker.receiver.sent}) == 1
    assert [made.outcome for made in worker.world.rows(attempts)] == ["failed"] * 4


def test_a_receiver_that_was_broken_for_two_days_gets_its_callback_with_the_same_id(
    make_worker: Callable[..., Worker],
) -> None:
    worker = make_worker(limits=replace(LIMITS, webhook_schedule_s=Settings().webhook_schedule_s))
    job = completed(worker)
    while worker.time() - job.created_at < 2 * 86400:
        attempt(worker, no())
    told = attempt(worker, YES)
    assert (told.status, len({sent.webhook_id for sent in worker.receiver.sent})) == ("delivered", 1)
    assert [made.outcome for made in worker.world.rows(attempts)] == ["failed"] * (told.attempts - 1) + ["delivered"]


@pytest.mark.parametrize(("jitter", "wait_s"), [(-1.0, 4.0), (1.0, 6.0)])
def test_a_delay_is_jittered_by_a_fifth(make_worker: Callable[..., Worker], jitter: float, wait_s: float) -> None:
    worker = make_worker(jitter=jitter)
    completed(worker)
    assert attempt(worker, no()).due_at - worker.time() == pytest.approx(wait_s)


@pytest.mark.parametrize(("asked_s", "wait_s"), [(1, 5), (120, 120), (10**9, 86400)])
def test_retry_after_lengthens_a_delay_up_to_a_day(worker: Worker, asked_s: float, wait_s: float) -> None:
    completed(worker)
    assert attempt(worker, no(asked_s)).due_at - worker.time() == wait_s


def test_each_attempt_carries_a_link_signed_anew(worker: Worker) -> None:
    completed(worker)
    attempt(worker, no(), no())
    first, second = (body(sent)["data"] for sent in worker.receiver.sent)
    assert first["url"] != second["url"]
    assert second["url_expires_at"] == int(worker.time()) + 86400


def test_410_ends_a_delivery(worker: Worker) -> None:
    completed(worker)
    ended = attempt(worker, GONE)
    assert (ended.status, ended.due_at) == ("disabled", None)


def test_a_receiver_that_failed_ten_times_in_a_row_is_left_alone_until_it_answers(worker: Worker) -> None:
    for number in range(12):
        failed = worker.posted(prompt=f"cat {number}", callback_url=HOOK, callback_events=EVENTS)
        worker.world.recorder.cancel(failed.id, client="ann", now=worker.time())
    worker.receiver.answers.extend([no()] * 10)
    while len(worker.receiver.sent) < 10:
        worker.run(worker.deliver, limit=1)
    assert worker.run(worker.deliver) == 0
    assert worker.world.row(receivers).failures == 10
    worker.time.on(59)
    assert worker.run(worker.deliver) == 0
    worker.time.on(1)
    assert worker.run(worker.deliver) == 1
    worker.live(400)
    assert {told.status for told in worker.world.rows(deliveries)} == {"delivered"}


def test_a_client_without_a_secret_any_more_gets_no_unsigned_callback(worker: Worker) -> None:
    completed(worker)
    worker.secrets["ann"] = []
    assert worker.run(worker.deliver) == 1
    assert worker.receiver.sent == []
    assert row(worker).status == "pending"
    assert "secret" in worker.world.row(attempts).error


def test_a_link_that_cannot_be_signed_uses_up_nothing_of_the_schedule(worker: Worker) -> None:
    completed(worker)
    worker.bucket.down = True
    for _ in range(10):
        worker.run(worker.deliver)
        worker.time.on(20)
    assert worker.receiver.sent == []
    assert (row(worker).status, row(worker).tries) == ("pending", 0)
    worker.bucket.down = False
    worker.run(worker.deliver)
    assert row(worker).status == "delivered"


def test_a_deleted_videos_callbacks_are_not_made(worker: Worker) -> None:
    job = completed(worker)
    worker.world.recorder.erase(job.id, client="ann", now=worker.time())
    worker.live(30)
    assert worker.receiver.sent == []
    assert row(worker).status == "disabled"


def test_a_callback_claimed_before_its_video_was_deleted_is_not_made(worker: Worker) -> None:
    job = completed(worker)
    [piece] = worker.deliver.claim(worker="a", limit=1, moment=worker.moment())
    worker.world.recorder.erase(job.id, client="ann", now=worker.time())
    piece()
    assert worker.receiver.sent == []


def test_a_video_whose_object_retention_removed_is_told_without_a_link(worker: Worker) -> None:
    completed(worker)
    worker.world.ledger.retire(before=worker.time() + 1, limit=5, now=worker.time())
    worker.run(worker.deliver)
    [sent] = worker.receiver.sent
    assert body(sent)["data"]["url"] is None


def test_a_failed_video_is_told_with_its_error_and_no_link(worker: Worker) -> None:
    job = worker.posted(callback_url=HOOK, callback_events=EVENTS)
    worker.world.recorder.cancel(job.id, client="ann", now=worker.time())
    worker.run(worker.deliver)
    [sent] = worker.receiver.sent
    assert body(sent)["type"] == "video.cancelled"
    assert body(sent)["data"]["url"] is None
    assert worker.bucket.signed == 0


def test_a_2xx_is_written_down_though_the_database_was_away_for_a_moment(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed(worker)
    delivered = worker.world.outbox.delivered
    tried: list[int] = []

    def at_the_second(*args: Any, **named: Any) -> None:
        tried.append(1)
        if len(tried) == 1:
            raise Unavailable("away", code="unavailable")
        delivered(*args, **named)

    monkeypatch.setattr(worker.world.outbox, "delivered", at_the_second)
    worker.live(60)
    assert len(worker.receiver.sent) == 1
    assert row(worker).status == "delivered"


def test_a_database_that_was_away_before_the_first_attempt_leaves_none_that_was_never_made(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    completed(worker)
    held = worker.world.outbox.held
    tried: list[int] = []

    def at_the_second(batch: Sequence[Delivery]) -> Sequence[Delivery]:
        tried.append(1)
        if len(tried) == 1:
            raise Unavailable("away", code="unavailable")
        return held(batch)

    monkeypatch.setattr(worker.world.outbox, "held", at_the_second)
    worker.live(60)
    assert [sent.attempt for sent in worker.receiver.sent] == [1]
    assert [made.outcome for made in worker.world.rows(attempts)] == ["delivered"]


def test_an_attempt_during_which_the_worker_died_is_made_again_with_the_same_id(worker: Worker) -> None:
    completed(worker)

    def dies() -> None:
        raise KeyboardInterrupt

    worker.receiver.meanwhile = dies
    with pytest.raises(KeyboardInterrupt):
        worker.run(worker.deliver)
    worker.receiver.meanwhile = lambda: None
    worker.time.on(20)
    worker.run(worker.deliver)
    first, second = worker.receiver.sent
    assert (first.webhook_id, first.attempt, second.attempt) == (second.webhook_id, 1, 2)
    assert [made.outcome for made in worker.world.rows(attempts)] == ["started", "delivered"]


def endpoint_of(worker: Worker) -> str:
    return worker.world.endpoints.create(
        "ann", name="shop", url=HOOK, event_types=["video.completed", "video.failed"], now=worker.time()
    ).id


def test_a_delivery_to_an_endpoint_is_signed_with_its_own_secrets(worker: Worker) -> None:
    endpoint = endpoint_of(worker)
    completed(worker)
    worker.run(worker.deliver)
    secrets = {tuple(sent.secrets) for sent in worker.receiver.sent}
    assert secrets == {("whsec_x",), (f"{endpoint}:1",)}
    worker.world.endpoints.rotate_secret(endpoint, client="ann", keep_old=True, now=worker.time())
    worker.world.endpoints.test(endpoint, None, client="ann", now=worker.time())
    worker.run(worker.deliver)
    assert worker.receiver.sent[-1].secrets == [f"{endpoint}:2", f"{endpoint}:1"]


@pytest.mark.parametrize("type_", ["video.completed", "video.failed", "video.cancelled", "video.in_progress"])
def test_a_test_event_looks_like_a_real_one_and_says_that_it_is_none(worker: Worker, type_: str) -> None:
    endpoint = endpoint_of(worker)
    worker.world.endpoints.test(endpoint, type_, client="ann", now=worker.time())
    assert worker.run(worker.deliver) == 1
    told = body(worker.receiver.sent[-1])
    assert (told["type"], told["data"]["status"]) == (type_, type_.removeprefix("video."))
    assert (told["data"]["id"], told["data"]["metadata"]) == ("video_test", {"test": "true"})
    assert row(worker).status == "delivered"
