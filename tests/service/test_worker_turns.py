"""Turns at a receiver: many callbacks go out one after the other, and nothing waits long behind a slow one."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import pytest

from gateway.db.tables import attempts, deliveries, receivers
from gateway.jobs.ports import AttemptResult, Delivery
from gateway.webhooks.outcomes import Delivered, Retry
from gateway.worker.concurrency import Concurrency
from gateway.worker.deliver import DeliverStep
from gateway.worker.turns import TURN_S, Turns
from tests.worker_remotes import EVENTS, HOOK
from tests.worker_world import Worker

SOON_S = 10.0

YES = Delivered(result=AttemptResult(status=200, latency_ms=3, answer="ok", error=""))
NO = Retry(result=AttemptResult(status=500, latency_ms=3, answer="no", error=""), retry_after_s=None)


def cancelled(worker: Worker, count: int, *, url: str = HOOK) -> None:
    """So many callbacks to make."""
    for number in range(count):
        job = worker.posted(prompt=f"cat {number} of {url}", callback_url=url, callback_events=EVENTS)
        worker.world.recorder.cancel(job.id, client="ann", now=worker.time())


def outcomes(worker: Worker) -> Counter[str]:
    return Counter(made.outcome for made in worker.world.rows(attempts))


def test_while_a_receiver_answers_quickly_a_place_goes_on_with_what_is_due_for_it(worker: Worker) -> None:
    cancelled(worker, 40)
    assert worker.run(worker.deliver, limit=1) == 1
    assert len({sent.webhook_id for sent in worker.receiver.sent}) == len(worker.receiver.sent) == 40
    assert {told.status for told in worker.world.rows(deliveries)} == {"delivered"}


def test_a_receiver_that_answers_slowly_gives_its_place_back_with_what_was_not_made(worker: Worker) -> None:
    cancelled(worker, 10)
    worker.receiver.meanwhile = lambda: worker.time.on(0.2)
    assert worker.run(worker.deliver, limit=1) == 1
    assert len(worker.receiver.sent) == 2
    assert outcomes(worker) == {"delivered": 2}
    assert len(worker.world.rows(deliveries, status="pending", claimed_by=None, attempts=0)) == 8
    worker.live(60)
    assert sorted(sent.attempt for sent in worker.receiver.sent) == [1] * 10


def took_turns(worker: Worker, *attempts_of_each: int, rounds: int) -> int:
    """Let turns at receivers pass, with so many attempts in each; how many are begun at once afterwards."""
    batch = worker.world.outbox.due(
        worker="w", limit=1, per_receiver=1, in_a_row=1, in_hand={}, lease_s=20, now=worker.time()
    )[0]
    turns = worker.deliver.turns
    for _ in range(rounds):
        entered = [turns.enter(batch) for _ in attempts_of_each]
        for turn, count in zip(entered, attempts_of_each, strict=True):
            turn.begin(worker.time)
            turn.begun(batch * count)
            while turn.next():
                pass
        worker.time.on(TURN_S)
        for turn in entered:
            turns.end(turn)
    return turns.begun_at_once


def test_as_many_attempts_are_begun_at_once_as_a_turn_has_time_for(worker: Worker) -> None:
    cancelled(worker, 1)
    assert worker.deliver.turns.begun_at_once == 32
    assert took_turns(worker, *[1] * 32, rounds=8) == 2
    worker.deliver = replace(worker.deliver, turns=Turns())
    worker.time.on(60)
    assert took_turns(worker, *[8] * 32, rounds=8) == 8


def test_one_quick_receiver_is_not_held_back_by_many_slow_ones(worker: Worker) -> None:
    cancelled(worker, 1)
    assert took_turns(worker, *[1] * 31, 100, rounds=8) == 32


def test_a_turn_that_ended_for_want_of_deliveries_tells_nothing_of_the_pace(worker: Worker) -> None:
    cancelled(worker, 1)
    for _ in range(20):
        cancelled(worker, 1)
        worker.run(worker.deliver)
    assert worker.deliver.turns.begun_at_once == 32


def test_a_failure_ends_the_turn_and_the_rest_is_due_again(worker: Worker) -> None:
    cancelled(worker, 10)
    worker.receiver.answers.extend([YES, YES, NO])
    worker.run(worker.deliver, limit=1)
    assert outcomes(worker) == {"delivered": 2, "failed": 1}
    assert len(worker.world.rows(deliveries, status="pending", due_at=worker.time())) == 7
    assert len(worker.deliver.claim(worker="a", limit=20, moment=worker.moment())) == 4


def test_nothing_waits_behind_an_attempt_that_takes_long(worker: Worker) -> None:
    cancelled(worker, 10)
    stuck, release = threading.Event(), threading.Event()

    def third_takes_long() -> None:
        if len(worker.receiver.sent) == 3:
            stuck.set()
            release.wait(SOON_S)

    worker.receiver.meanwhile = third_takes_long
    [piece] = worker.deliver.claim(worker="a", limit=1, moment=worker.moment())
    thread = threading.Thread(target=piece)
    thread.start()
    assert stuck.wait(SOON_S)
    worker.time.on(1)
    worker.deliver.relieve()
    assert outcomes(worker) == {"delivered": 2, "started": 1}
    others = worker.deliver.claim(worker="a", limit=1, moment=worker.moment())
    for other in others:
        other()
    assert outcomes(worker)["delivered"] == 9
    release.set()
    thread.join(SOON_S)
    assert outcomes(worker) == {"delivered": 10}
    assert len({sent.webhook_id for sent in worker.receiver.sent}) == len(worker.receiver.sent) == 10


def test_a_turn_that_was_written_down_is_not_written_again_before_its_thread_has_left(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled(worker, 4)
    worker.receiver.answers.extend([YES, NO])
    monkeypatch.setattr(worker.deliver.turns, "end", lambda _: None)
    assert worker.run(worker.deliver, limit=1) == 1
    assert len(worker.deliver.claim(worker="b", limit=4, moment=worker.moment())) == 2
    worker.time.on(1)
    worker.deliver.relieve()
    assert worker.world.row(receivers).failures == 1
    assert outcomes(worker) == {"delivered": 1, "failed": 1, "started": 2}


def test_a_delivery_that_breaks_a_turn_leaves_the_others_delivered_once(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled(worker, 5)
    broken = worker.world.rows(deliveries)[2].id
    body_of = DeliverStep.body

    def body(step: DeliverStep, delivery: Delivery) -> bytes:
        if delivery.id == broken:
            raise ValueError("a fault")
        return body_of(step, delivery)

    monkeypatch.setattr(DeliverStep, "body", body)
    with pytest.raises(ValueError, match="a fault"):
        worker.run(worker.deliver, limit=1)
    worker.run(worker.deliver, limit=1)
    assert len({sent.webhook_id for sent in worker.receiver.sent}) == len(worker.receiver.sent) == 4
    assert [told.id for told in worker.world.rows(deliveries, status="pending")] == [broken]


def test_a_slow_receiver_gets_at_most_four_attempts_at_once(worker: Worker) -> None:
    for number in range(8):
        job = worker.posted(prompt=f"cat {number}", callback_url=HOOK, callback_events=EVENTS)
        worker.world.recorder.cancel(job.id, client="ann", now=worker.time())
    assert len(worker.deliver.claim(worker="a", limit=20, moment=worker.moment())) == 4
    assert worker.deliver.claim(worker="b", limit=20, moment=worker.moment()) == []


def bounded(worker: Worker, *, busy: bool) -> None:
    """Let eight turns begin at once, and only two where the process has been busy for a while."""
    bound = Concurrency(least=2, most=8, cpu_time=worker.time if busy else lambda: 0.0, clock=worker.time)
    worker.deliver = replace(worker.deliver, concurrency=bound)
    for _ in range(20):
        worker.time.on(0.125)
        bound.room(0)


def begun(worker: Worker) -> int:
    """How many turns the worker begins now; their receivers hang."""
    turns = worker.deliver.turns
    before = set(turns._turns)
    worker.deliver.claim(worker="a", limit=20, moment=worker.moment())
    new = turns._turns - before
    for turn in new:
        turn.begin(worker.time)
    return len(new)


def receivers_of_one_each(worker: Worker, count: int) -> None:
    for number in range(count):
        cancelled(worker, 1, url=f"https://hooks{number}.example.com/")


def test_while_the_process_has_time_many_receivers_get_their_turn_at_once(worker: Worker) -> None:
    receivers_of_one_each(worker, 9)
    bounded(worker, busy=False)
    assert begun(worker) == 8
    assert begun(worker) == 0


def test_a_busy_process_begins_no_more_than_it_can_serve(worker: Worker) -> None:
    receivers_of_one_each(worker, 9)
    bounded(worker, busy=True)
    assert begun(worker) == 2
    worker.time.on(0.125)
    assert begun(worker) == 0


def test_receivers_that_hang_keep_no_others_from_their_turn_in_a_busy_process(worker: Worker) -> None:
    receivers_of_one_each(worker, 5)
    bounded(worker, busy=True)
    for turns in (2, 2, 1):
        assert begun(worker) == turns
        worker.time.on(TURN_S)


def test_where_more_was_due_the_end_of_a_turn_asks_for_the_next(worker: Worker) -> None:
    receivers_of_one_each(worker, 3)
    bounded(worker, busy=True)
    woken: list[str] = []
    worker.deliver = replace(worker.deliver, wake=lambda: woken.append("deliver"))
    assert worker.run(worker.deliver, limit=20) == 2
    assert len(woken) == 2
    assert worker.run(worker.deliver, limit=20) == 1
    assert len(woken) == 2


def test_it_does_so_where_the_turn_broke(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    receivers_of_one_each(worker, 3)
    bounded(worker, busy=True)
    woken: list[str] = []
    worker.deliver = replace(worker.deliver, wake=lambda: woken.append("deliver"))
    monkeypatch.setattr(worker.receiver, "meanwhile", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        worker.run(worker.deliver, limit=20)
    assert woken
