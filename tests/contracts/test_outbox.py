"""The outbox: each receiver bounded, the dead ones put aside at once, and every attempt written before it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db.engine import Database
from gateway.db.outbox import SqlOutbox
from gateway.db.tables import attempts, deliveries, receivers
from gateway.jobs.errors import Conflict, NotFound
from gateway.jobs.ports import Delivery, Made
from tests.contracts.world import ALL_EVENTS, HOOK, NO, NOW, YES, World, claimed_singly, race

DEAD = "https://dead.example.com/"


def due(world: World, *, now: float = NOW, **asked: Any) -> Sequence[Delivery]:
    return claimed_singly(world.outbox, now=now, **asked)


def copies(world: World, count: int, *, url: str = HOOK, client: str = "ann", at: float = NOW) -> None:
    """Many deliveries to one receiver, made from a single real one."""
    job = world.told(url=url, client=client, now=at)
    with world.database.write() as connection:
        row = dict(connection.execute(sa.select(deliveries).where(deliveries.c.job_id == job.id)).mappings().one())
        more = [row | {"id": f"{row['id']}-{n}", "event_id": f"{row['event_id']}-{n}"} for n in range(1, count)]
        if more:
            connection.execute(sa.insert(deliveries), more)


def one(world: World, **where: str) -> Delivery:
    """A new delivery, claimed and begun."""
    world.told(**where)  # type: ignore[arg-type]
    (delivery,) = due(world)
    assert world.outbox.held([delivery])
    return delivery


def pending(world: World) -> list[tuple[str, float | None]]:
    return sorted((row.receiver, row.due_at) for row in world.rows(deliveries, status="pending"))


# -- claims ------------------------------------------------------------------------------------------------------------


def test_a_claim_brings_the_facts_and_where_the_video_lies(world: World) -> None:
    job = world.completed(callback_url=HOOK, callback_events=ALL_EVENTS)
    (delivery,) = due(world)
    assert (delivery.job_id, delivery.client, delivery.type, delivery.url) == (job.id, "ann", "video.completed", HOOK)
    assert (delivery.attempts, delivery.tries, delivery.claim_token) == (0, 0, 1)
    assert delivery.facts["status"] == "completed"
    assert job.stored is not None
    assert delivery.stored_key == job.stored.object_key
    assert due(world) == []
    assert [again.claim_token for again in due(world, now=NOW + 20)] == [2]


def test_a_video_that_was_removed_is_told_without_where_it_lay(world: World) -> None:
    world.completed(callback_url=HOOK, callback_events=ALL_EVENTS)
    world.ledger.retire(before=NOW + 1, limit=9, now=NOW + 1)
    assert [delivery.stored_key for delivery in due(world, now=NOW + 1)] == [None]


def test_a_thousand_dead_deliveries_do_not_hold_up_a_healthy_one_in_one_claim(world: World) -> None:
    copies(world, 1000, url=DEAD, at=NOW - 60)
    world.told()
    claimed = due(world, limit=2)
    assert sorted(delivery.receiver for delivery in claimed) == [
        "https://dead.example.com:443",
        "https://hooks.example.com:443",
    ]


def test_a_receiver_gets_no_more_attempts_at_once_than_its_bound(world: World) -> None:
    copies(world, 10)
    assert len(due(world, limit=50, per_receiver=4)) == 4
    assert due(world, limit=50, per_receiver=4) == []
    assert len(due(world, per_receiver=4, now=NOW + 20)) == 4


def test_the_bound_holds_for_each_client_and_each_receiver_apart(world: World) -> None:
    for client in ("ann", "bob"):
        for url in (HOOK, DEAD, "http://hooks.example.com/", "https://hooks.example.com:8443/"):
            copies(world, 3, url=url, client=client)
    assert len(due(world, per_receiver=2)) == 16


def test_the_places_of_a_claim_are_dealt_out_among_the_receivers(world: World) -> None:
    copies(world, 9, url=DEAD, at=NOW - 9)
    copies(world, 9)
    copies(world, 1, url="https://third.example.com/")
    claimed = due(world, limit=6)
    counts = {delivery.receiver: 0 for delivery in claimed}
    for delivery in claimed:
        counts[delivery.receiver] += 1
    assert sorted(counts.values()) == [1, 2, 3]


def test_sixteen_workers_together_keep_the_bound_and_never_share_a_delivery(world: World) -> None:
    for url in (HOOK, DEAD):
        copies(world, 40, url=url)
    results = race(lambda number: due(world, limit=3, worker=f"w{number}"))
    assert [result for result in results if isinstance(result, Exception)] == []
    claimed = [delivery for result in results for delivery in result]  # type: ignore[union-attr]
    assert len({delivery.id for delivery in claimed}) == len(claimed) == 8


def test_a_claim_of_nothing_takes_nothing(world: World) -> None:
    copies(world, 2)
    assert due(world, limit=0) == []
    assert due(world, now=NOW - 1) == []


# -- attempts ----------------------------------------------------------------------------------------------------------


def test_an_attempt_is_written_before_it_is_made_and_finished_after(world: World) -> None:
    delivery = one(world)
    assert world.row(attempts).outcome == "started"
    world.outbox.delivered([Made(delivery, YES, NOW + 1)], now=NOW + 1)
    row = world.row(attempts)
    assert (row.number, row.outcome, row.status, row.latency_ms, row.finished_at) == (1, "delivered", 200, 3, NOW + 1)
    ended = world.row(deliveries)
    assert (ended.status, ended.due_at, ended.claimed_by, ended.attempts) == ("delivered", None, None, 1)


def test_a_failed_attempt_uses_up_a_try_and_comes_back(world: World) -> None:
    delivery = one(world)
    world.outbox.failed(delivery, NO, due_at=NOW + 5, held_until=None, now=NOW + 1)
    assert due(world, now=NOW + 4) == []
    (again,) = due(world, now=NOW + 5)
    assert (again.attempts, again.tries, again.event_id) == (1, 1, delivery.event_id)
    assert sorted(row.number for row in world.rows(attempts)) == [1, 2]


def test_the_last_failure_leaves_it_exhausted(world: World) -> None:
    delivery = one(world)
    world.outbox.failed(delivery, NO, due_at=None, held_until=None, now=NOW)
    assert (world.row(deliveries).status, world.row(deliveries).due_at) == ("exhausted", None)
    assert due(world, now=NOW + 1e9) == []


def test_a_receiver_that_wants_no_more_gets_no_more(world: World) -> None:
    delivery = one(world)
    world.outbox.disabled(delivery, NO, now=NOW)
    assert world.row(deliveries).status == "disabled"
    assert world.outbox.receiver_failures(delivery) == 0


def test_an_attempt_is_not_made_when_the_claim_was_taken_over(world: World) -> None:
    world.told()
    (old,) = due(world)
    (new,) = due(world, now=NOW + 20)
    assert world.outbox.held([old]) == []
    world.outbox.put_back([old], due_at=NOW + 20)
    assert world.outbox.held([new]) == [new]
    assert world.row(attempts).number == 2


def test_what_a_lost_claim_brought_does_not_touch_the_new_one(world: World) -> None:
    old = one(world)
    (new,) = due(world, worker="w", now=NOW + 20)
    world.outbox.failed(old, NO, due_at=NOW + 999, held_until=None, now=NOW + 21)
    row = world.row(deliveries)
    assert (row.due_at, row.claimed_by, row.tries) == (NOW + 40, "w", 0)
    assert world.outbox.held([new])


def test_deleting_a_video_ends_its_delivery_even_when_an_attempt_is_claimed(world: World) -> None:
    world.told()
    (delivery,) = due(world)
    world.recorder.erase(delivery.job_id, client="ann", now=NOW)
    assert not world.outbox.held([delivery])
    world.outbox.failed(delivery, NO, due_at=NOW + 5, held_until=None, now=NOW)
    assert world.row(deliveries).status == "disabled"
    assert due(world, now=NOW + 99) == []


# -- breakers ----------------------------------------------------------------------------------------------------------


def test_sixteen_first_failures_of_one_receiver_are_all_counted(world: World) -> None:
    copies(world, 16)
    claimed = due(world, per_receiver=16)
    results = race(lambda n: world.outbox.failed(claimed[n], NO, due_at=NOW + 5, held_until=None, now=NOW))
    assert results == [None] * 16
    assert world.outbox.receiver_failures(claimed[0]) == 16
    assert pending(world) == [("https://hooks.example.com:443", NOW + 5)] * 16


def test_opening_the_breaker_moves_everything_of_that_receiver_and_nothing_else(world: World) -> None:
    copies(world, 200, url=DEAD, at=NOW - 60)
    dead = due(world, limit=1)[0]
    copies(world, 3)
    copies(world, 2, url=DEAD, client="bob")
    world.outbox.failed(dead, NO, due_at=NOW + 70, held_until=NOW + 60, now=NOW)
    mine = sorted(row.due_at for row in world.rows(deliveries, client="ann", receiver="https://dead.example.com:443"))
    assert mine == [NOW + 60] * 199 + [NOW + 70]
    assert {row.client for row in world.rows(deliveries, due_at=NOW)} == {"ann", "bob"}
    assert sorted(delivery.client for delivery in due(world)) == ["ann", "ann", "ann", "bob", "bob"]


def test_a_delivery_written_while_the_breaker_is_open_waits_behind_it(world: World) -> None:
    world.outbox.failed(one(world), NO, due_at=NOW + 70, held_until=NOW + 60, now=NOW)
    world.told()
    assert pending(world) == [("https://hooks.example.com:443", NOW + 60), ("https://hooks.example.com:443", NOW + 70)]
    assert due(world, now=NOW + 59) == []


def test_a_due_delivery_that_the_opening_missed_is_kept_back_by_the_claim(world: World) -> None:
    world.outbox.failed(one(world), NO, due_at=NOW + 70, held_until=NOW + 60, now=NOW)
    with world.database.write() as connection:
        connection.execute(sa.update(deliveries).values(due_at=NOW))
    assert due(world, now=NOW + 59) == []
    assert len(due(world, now=NOW + 60)) == 1


def fail_until_open(world: World, *, held_until: float) -> None:
    """Ten failures in a row of the dead receiver, the last of which opens its breaker."""
    copies(world, 12, url=DEAD)
    claimed = due(world, per_receiver=10)
    for delivery in claimed[:9]:
        world.outbox.failed(delivery, NO, due_at=NOW + 5, held_until=None, now=NOW)
    world.outbox.failed(claimed[9], NO, due_at=NOW + 5, held_until=held_until, now=NOW)


def test_after_the_hold_a_single_attempt_probes_the_receiver(world: World) -> None:
    fail_until_open(world, held_until=NOW + 60)
    assert due(world, now=NOW + 59) == []
    (probe,) = due(world, now=NOW + 60)
    assert due(world, now=NOW + 61) == []
    world.outbox.failed(probe, NO, due_at=NOW + 200, held_until=NOW + 180, now=NOW + 61)
    assert due(world, now=NOW + 179) == []
    assert len(due(world, now=NOW + 180)) == 1


def test_a_success_releases_everything_that_was_held(world: World) -> None:
    fail_until_open(world, held_until=NOW + 60)
    (probe,) = due(world, now=NOW + 60)
    world.outbox.delivered([Made(probe, YES, NOW + 61)], now=NOW + 61)
    assert {due_at for _, due_at in pending(world)} == {NOW + 61}
    assert len(due(world, now=NOW + 61)) == 4
    assert world.rows(receivers) == []


def test_a_success_leaves_alone_what_was_due_later_anyway(world: World) -> None:
    first = one(world)
    world.told()
    second = due(world)[0]
    world.outbox.failed(first, NO, due_at=NOW + 999, held_until=None, now=NOW)
    world.outbox.delivered([Made(second, YES, NOW + 1)], now=NOW + 1)
    assert pending(world) == [("https://hooks.example.com:443", NOW + 999)]


def test_a_failure_that_knows_nothing_of_the_open_breaker_does_not_close_it(world: World) -> None:
    copies(world, 2)
    first, late = due(world)
    world.outbox.failed(first, NO, due_at=NOW + 70, held_until=NOW + 60, now=NOW)
    world.outbox.failed(late, NO, due_at=NOW + 5, held_until=None, now=NOW + 1)
    assert world.row(receivers).open_until == NOW + 60
    assert pending(world) == [("https://hooks.example.com:443", NOW + 60), ("https://hooks.example.com:443", NOW + 70)]


def test_openings_claims_successes_and_deletions_at_once_do_not_wait_in_a_circle(world: World) -> None:
    copies(world, 60)
    claimed = due(world, per_receiver=12, limit=12)
    videos = [world.told() for _ in range(2)]

    def act(number: int) -> None:
        if number < 6:
            world.outbox.failed(claimed[number], NO, due_at=NOW + 9, held_until=NOW + 60, now=NOW)
        elif number < 12:
            world.outbox.delivered([Made(claimed[number], YES, NOW)], now=NOW)
        elif number < 14:
            due(world, now=NOW + 1)
        else:
            world.recorder.erase(videos[number - 14].id, client="ann", now=NOW)

    assert race(act) == [None] * 16


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_opening_and_closing_a_breaker_wait_for_no_delivery_that_another_transaction_holds(
    world: World, open_database: Callable[..., Database]
) -> None:
    copies(world, 9)
    first, second = due(world, limit=2)
    (free, *_) = (row.id for row in world.rows(deliveries, due_at=NOW))
    impatient = SqlOutbox(open_database(busy_timeout_s=0.2))
    with world.database.write() as connection:
        connection.execute(sa.update(deliveries).where(deliveries.c.id == free).values(tries=7))
        impatient.failed(first, NO, due_at=NOW + 70, held_until=NOW + 60, now=NOW)
        impatient.delivered([Made(second, YES, NOW)], now=NOW)
    assert world.row(deliveries, id=free).due_at == NOW


# -- redeliver ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["delivered", "disabled", "exhausted"])
def test_an_ended_delivery_can_be_sent_again_with_its_schedule_from_the_start(world: World, end: str) -> None:
    delivery = one(world)
    if end == "exhausted":
        world.outbox.failed(delivery, NO, due_at=None, held_until=None, now=NOW)
    elif end == "disabled":
        world.outbox.disabled(delivery, YES, now=NOW)
    else:
        world.outbox.delivered([Made(delivery, YES, NOW)], now=NOW)
    record = world.outbox.redeliver(delivery.id, client="ann", now=NOW + 9)
    assert (record.status, record.due_at, len(record.attempts)) == ("pending", NOW + 9, 1)
    (again,) = due(world, now=NOW + 9)
    assert (again.event_id, again.attempts, again.tries) == (delivery.event_id, 1, 0)


def test_a_waiting_delivery_is_brought_forward(world: World) -> None:
    world.outbox.failed(one(world), NO, due_at=NOW + 999, held_until=None, now=NOW)
    world.outbox.redeliver(world.row(deliveries).id, client="ann", now=NOW + 1)
    assert len(due(world, now=NOW + 1)) == 1


def test_an_attempt_under_way_is_not_doubled(world: World) -> None:
    delivery = one(world)
    with pytest.raises(Conflict) as refused:
        world.outbox.redeliver(delivery.id, client="ann", now=NOW + 1)
    assert refused.value.code == "delivery_in_progress"


def test_a_redelivery_takes_the_claim_from_an_attempt_whose_lease_is_over(world: World) -> None:
    delivery = one(world)
    world.outbox.redeliver(delivery.id, client="ann", now=NOW + 21)
    world.outbox.failed(delivery, NO, due_at=NOW + 999, held_until=None, now=NOW + 22)
    assert world.row(deliveries).due_at == NOW + 21


def test_another_clients_delivery_and_that_of_a_deleted_video_are_not_found(world: World) -> None:
    job = world.told()
    delivery_id = world.row(deliveries).id
    with pytest.raises(NotFound):
        world.outbox.redeliver(delivery_id, client="bob", now=NOW)
    world.recorder.erase(job.id, client="ann", now=NOW)
    with pytest.raises(NotFound):
        world.outbox.redeliver(delivery_id, client="ann", now=NOW)
    with pytest.raises(NotFound):
        world.outbox.redeliver("del_none", client="ann", now=NOW)


def test_a_redelivery_racing_a_deletion_never_leaves_one_pending(world: World) -> None:
    for _ in range(8):
        delivery = one(world)
        world.outbox.delivered([Made(delivery, YES, NOW)], now=NOW)

        def act(number: int, delivery: Delivery = delivery) -> None:
            if number:
                world.outbox.redeliver(delivery.id, client="ann", now=NOW)
            else:
                world.recorder.erase(delivery.job_id, client="ann", now=NOW)

        results = race(act, threads=3)
        assert all(result is None or isinstance(result, NotFound) for result in results)
        assert world.row(deliveries, id=delivery.id).status != "pending"


def test_a_second_process_sees_the_first_ones_attempts_under_way(
    world: World, open_database: Callable[..., Database]
) -> None:
    copies(world, 9)
    other = SqlOutbox(open_database())
    assert len(due(world, per_receiver=4, limit=3)) == 3
    assert len(claimed_singly(other, limit=9, now=NOW)) == 1
