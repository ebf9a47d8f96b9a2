"""Endpoints: told in the change's own transaction, and never once they are off."""

from __future__ import annotations

import pytest

from gateway.db.tables import deliveries
from gateway.jobs.errors import Conflict, NotFound
from gateway.jobs.ports import Endpoint, EndpointChange
from tests.contracts.test_outbox import DEAD, due, fail_until_open
from tests.contracts.world import ALL_EVENTS, HOOK, NO, NOW, World

THERE = "https://shop.example.com/all"


def made(
    world: World, *, client: str = "ann", url: str = THERE, types: tuple[str, ...] = ("video.failed",)
) -> Endpoint:
    return world.endpoints.create(client, name="shop", url=url, event_types=types, now=NOW)


def test_an_event_is_told_to_the_callback_url_and_to_each_endpoint_that_subscribes(world: World) -> None:
    first, second = made(world), made(world, types=("video.failed", "video.completed"))
    made(world, types=("video.completed",))
    made(world, client="bob")
    world.failed(callback_url=HOOK, callback_events=ALL_EVENTS)
    told = world.rows(deliveries)
    assert {row.endpoint_id for row in told} == {None, first.id, second.id}
    assert len({row.event_id for row in told}) == 1
    assert {row.url for row in told if row.endpoint_id} == {THERE}


def test_a_video_without_a_callback_url_is_told_to_an_endpoint(world: World) -> None:
    endpoint = made(world)
    job = world.failed()
    (delivery,) = due(world)
    assert (delivery.job_id, delivery.endpoint_id, delivery.url) == (job.id, endpoint.id, THERE)


def test_deleting_an_unfinished_video_tells_no_endpoint(world: World) -> None:
    made(world, types=("video.cancelled",))
    world.recorder.erase(world.queued().id, client="ann", now=NOW)
    assert world.rows(deliveries) == []


def test_a_410_turns_the_endpoint_off_and_ends_what_waits_for_it(world: World) -> None:
    endpoint = made(world)
    for _ in range(3):
        world.failed()
    first, *_ = due(world, limit=1)
    assert world.outbox.held([first])
    world.outbox.disabled(first, NO, now=NOW)
    assert {row.status for row in world.rows(deliveries)} == {"disabled"}
    assert world.endpoints.endpoint(endpoint.id, client="ann").disabled_at == NOW
    world.failed()
    assert len(world.rows(deliveries)) == 3


def test_what_a_410_ended_can_be_sent_once_the_endpoint_is_on_again(world: World) -> None:
    endpoint = made(world)
    world.failed()
    (delivery,) = due(world)
    world.outbox.disabled(delivery, NO, now=NOW)
    with pytest.raises(Conflict, match="disabled"):
        world.outbox.redeliver(delivery.id, client="ann", now=NOW)
    assert world.outbox.redeliver_failed("ann", since=0, now=NOW) == (0, False)
    world.endpoints.change(endpoint.id, EndpointChange(enabled=True), client="ann", now=NOW)
    assert world.outbox.redeliver_failed("ann", since=0, now=NOW) == (1, False)
    assert [again.id for again in due(world)] == [delivery.id]


def test_an_attempt_claimed_before_its_endpoint_was_deleted_is_not_begun(world: World) -> None:
    endpoint = made(world)
    world.failed()
    (delivery,) = due(world)
    world.endpoints.delete(endpoint.id, client="ann", now=NOW)
    assert not world.outbox.held([delivery])
    assert world.row(deliveries).status == "disabled"


def test_a_delivery_that_the_deletion_missed_ends_at_its_claim(world: World) -> None:
    endpoint = made(world)
    world.failed()
    world.endpoints.delete(endpoint.id, client="ann", now=NOW)
    with world.database.write() as connection:
        connection.execute(deliveries.update().values(status="pending", due_at=NOW))
    assert due(world) == []
    assert world.row(deliveries).status == "disabled"


def test_what_is_pending_follows_a_new_url(world: World) -> None:
    endpoint = made(world)
    world.failed()
    moved = EndpointChange(url="https://other.example.com/")
    world.endpoints.change(endpoint.id, moved, client="ann", now=NOW + 1)
    (delivery,) = due(world, now=NOW + 1)
    assert (delivery.url, delivery.receiver) == ("https://other.example.com/", "https://other.example.com:443")


def test_an_unchanged_update_does_not_advance_the_time_of_change(world: World) -> None:
    endpoint = made(world)
    same = world.endpoints.change(endpoint.id, EndpointChange(name="shop"), client="ann", now=NOW + 9)
    other = world.endpoints.change(endpoint.id, EndpointChange(name="till"), client="ann", now=NOW + 9)
    assert (same.updated_at, other.updated_at) == (NOW, NOW + 9)


def test_two_secrets_sign_for_a_day_after_a_rotation_unless_the_old_is_to_end(world: World) -> None:
    endpoint = made(world)
    world.endpoints.rotate_secret(endpoint.id, client="ann", keep_old=True, now=NOW)
    signing = [world.endpoints.secret_versions(endpoint.id, now=NOW + at) for at in (0, 86399, 86400)]
    assert signing == [(2, 1), (2, 1), (2,)]
    world.endpoints.rotate_secret(endpoint.id, client="ann", keep_old=False, now=NOW)
    assert world.endpoints.secret_versions(endpoint.id, now=NOW) == (3,)


def test_a_test_of_an_endpoint_can_be_sent_again(world: World) -> None:
    endpoint = made(world)
    delivery_id, _ = world.endpoints.test(endpoint.id, None, client="ann", now=NOW)
    (delivery,) = due(world)
    world.outbox.failed(delivery, NO, due_at=None, held_until=None, now=NOW)
    assert world.outbox.redeliver(delivery_id, client="ann", now=NOW + 1).status == "pending"
    with pytest.raises(NotFound):
        world.outbox.redeliver(delivery_id, client="bob", now=NOW + 1)


def test_a_test_is_made_at_once_also_where_its_receiver_failed_for_so_long_that_it_is_left_alone(world: World) -> None:
    fail_until_open(world, held_until=NOW + 600)
    endpoint = made(world, url=DEAD)
    delivery_id, _ = world.endpoints.test(endpoint.id, None, client="ann", now=NOW + 5)
    assert delivery_id in [delivery.id for delivery in due(world, now=NOW + 5)]
