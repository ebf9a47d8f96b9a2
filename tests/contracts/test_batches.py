"""Batches: what one thread makes for a receiver, one after the other, is claimed and written down together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gateway.db.tables import attempts, deliveries
from gateway.jobs.ports import AttemptResult, Delivery, Made
from tests.contracts.test_outbox import DEAD, copies, due
from tests.contracts.world import HOOK, NO, NOW, YES, World, race

RECEIVER = ("ann", "https://hooks.example.com:443")


def batches(
    world: World, *, worker: str = "w", limit: int = 50, in_hand: int = 0, now: float = NOW
) -> Sequence[Sequence[Delivery]]:
    hand = {RECEIVER: in_hand} if in_hand else {}
    asked: dict[str, Any] = {"per_receiver": 4, "in_a_row": 8, "in_hand": hand, "lease_s": 20}
    return world.outbox.due(worker=worker, limit=limit, now=now, **asked)


@pytest.mark.parametrize(("waiting", "lengths"), [(3, [1, 1, 1]), (6, [2, 2, 1, 1]), (50, [8, 8, 8, 8])])
def test_a_healthy_receivers_places_get_a_batch_each(world: World, waiting: int, lengths: list[int]) -> None:
    copies(world, waiting)
    claimed = batches(world)
    assert [len(batch) for batch in claimed] == lengths
    assert len({delivery.id for batch in claimed for delivery in batch}) == sum(lengths)


def test_a_receiver_that_failed_last_gets_single_attempts(world: World) -> None:
    copies(world, 20)
    ((first,),) = world.outbox.due(
        worker="w", limit=1, per_receiver=1, in_a_row=1, in_hand={}, lease_s=20, now=NOW
    )  # fmt: skip
    world.outbox.failed(first, NO, due_at=NOW + 99, held_until=None, now=NOW)
    assert [len(batch) for batch in batches(world)] == [1, 1, 1, 1]


def test_a_worker_counts_its_own_batches_and_another_each_of_their_deliveries(world: World) -> None:
    copies(world, 50)
    assert len(batches(world, limit=3)) == 3
    assert batches(world, worker="other") == []
    assert [len(batch) for batch in batches(world, in_hand=3)] == [8]
    assert batches(world, in_hand=4) == []


def test_going_on_writes_down_what_was_made_and_claims_more_of_the_same_receiver(world: World) -> None:
    copies(world, 10)
    copies(world, 3, url=DEAD)
    batch = next(batch for batch in batches(world, limit=2) if batch[0].url == HOOK)
    more = world.outbox.onward([Made(one, YES, NOW + 1) for one in batch], worker="w", limit=8, lease_s=20, now=NOW + 1)
    assert [(one.url, one.attempts) for one in more] == [(HOOK, 0)] * 2
    assert world.outbox.held(more) == more
    assert len(world.rows(attempts, outcome="delivered")) == 8
    assert len(world.rows(deliveries, status="delivered", claimed_by=None)) == 8
    made = [Made(one, YES, NOW + 2) for one in more]
    assert world.outbox.onward(made, worker="w", limit=8, lease_s=20, now=NOW + 2) == []
    assert len(world.rows(deliveries, status="delivered")) == 10


def test_what_was_claimed_and_not_made_leaves_no_trace(world: World) -> None:
    copies(world, 3)
    ((first, second, third),) = (batches(world, limit=1),)[0]
    world.outbox.delivered([Made(first, YES, NOW + 1)], unmade=[second, third], now=NOW + 1)
    assert [row.outcome for row in world.rows(attempts)] == ["delivered"]
    assert [(row.attempts, row.due_at, row.claimed_by) for row in world.rows(deliveries, status="pending")] == [
        (0, NOW + 1, None)
    ] * 2
    assert len(due(world, now=NOW + 1)) == 2


def test_what_is_given_back_twice_is_not_taken_from_who_claimed_it_meanwhile(world: World) -> None:
    copies(world, 1)
    ((mine,),) = batches(world)
    world.outbox.put_back([mine], due_at=NOW)
    ((theirs,),) = batches(world, worker="other")
    # The answer to the first time was lost with the connection, so it is written again.
    world.outbox.put_back([mine], due_at=NOW)
    world.outbox.delivered([Made(theirs, YES, NOW + 1)], now=NOW + 1)
    assert [(row.number, row.outcome) for row in world.rows(attempts)] == [(1, "delivered")]


def test_what_cannot_be_written_down_takes_nothing_of_others_with_it(world: World) -> None:
    copies(world, 16)
    claimed = due(world, per_receiver=16)
    broken = AttemptResult(status=200, latency_ms=3, answer=None, error="")  # type: ignore[arg-type]

    def write(number: int) -> None:
        result = broken if number == 7 else YES
        world.outbox.delivered([Made(claimed[number], result, NOW)], now=NOW)

    results = race(write)
    assert [number for number, result in enumerate(results) if result is not None] == [7]
    assert len(world.rows(deliveries, status="delivered")) == 15
