"""Sending again all that failed: in batches, of one client, and past the breakers."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from gateway.db.tables import deliveries
from gateway.jobs.ports import Made
from tests.contracts.test_outbox import copies, due, fail_until_open, pending
from tests.contracts.world import NOW, YES, World


def end_all(world: World, status: str) -> None:
    with world.database.write() as connection:
        connection.execute(sa.update(deliveries).values(status=status, due_at=None))


@pytest.mark.parametrize("end", ["exhausted", "disabled"])
def test_all_that_failed_are_made_due_over_several_batches(world: World, end: str) -> None:
    copies(world, 1201)
    end_all(world, end)
    assert world.outbox.redeliver_failed("ann", since=NOW, now=NOW + 5) == (1201, False)
    assert {due_at for _, due_at in pending(world)} == {NOW + 5}


def test_what_was_delivered_is_older_or_anothers_is_not_sent_again(world: World) -> None:
    world.told(now=NOW - 1)
    world.told(client="bob")
    deleted = world.told()
    end_all(world, "exhausted")
    world.recorder.erase(deleted.id, client="ann", now=NOW)
    world.told(now=NOW + 1)
    (delivery,) = due(world, now=NOW + 1)
    world.outbox.delivered([Made(delivery, YES, NOW + 1)], now=NOW + 1)
    assert world.outbox.redeliver_failed("ann", since=NOW, now=NOW + 5) == (0, False)
    assert pending(world) == []


def test_sending_all_again_releases_the_breakers_of_their_receivers(world: World) -> None:
    fail_until_open(world, held_until=NOW + 600)
    end_all(world, "exhausted")
    count, _ = world.outbox.redeliver_failed("ann", since=NOW - 60, now=NOW + 5)
    assert count == len(world.rows(deliveries))
    assert due(world, now=NOW + 5)
