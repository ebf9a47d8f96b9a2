"""Claims: nobody gets what another has, and a claim that is over changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from gateway.db.claims import SqlClaims
from gateway.db.engine import Database
from gateway.db.tables import jobs
from gateway.jobs import lifecycle
from gateway.jobs.job import Job, Status
from tests.contracts.world import LANE, NOW, World, race


def claim(world: World, *, limit: int = 10, now: float = NOW, lease_s: float = 60) -> list[Job]:
    return list(world.claims.due(Status.QUEUED, worker="w", limit=limit, lease_s=lease_s, now=now))


def test_a_claim_takes_what_is_due_in_that_status_the_longest_due_first(world: World) -> None:
    late, later = world.queued(at=NOW - 5), world.queued(at=NOW - 3)
    world.queued(due_at=NOW + 1)
    world.failed()
    (first,) = claim(world, limit=1)
    (second,) = claim(world, limit=5)
    assert (first.id, second.id) == (late.id, later.id)
    assert (first.due_at, first.claimed_by, first.claimed_at, first.claim_token) == (NOW + 60, "w", NOW, 1)
    assert claim(world) == []


@pytest.mark.parametrize("limit", [0, -1])
def test_a_claim_of_nothing_takes_nothing(world: World, limit: int) -> None:
    world.queued()
    assert claim(world, limit=limit) == []
    assert len(claim(world)) == 1


def test_a_claim_comes_back_with_its_lease(world: World) -> None:
    world.queued()
    claim(world)
    assert claim(world, now=NOW + 59.9) == []
    (again,) = claim(world, now=NOW + 60)
    assert again.claim_token == 2


def test_sixteen_claimers_never_get_the_same_row_take_at_most_their_limit_and_together_get_all(world: World) -> None:
    ids = {world.queued().id for _ in range(100)}
    taken: list[list[str]] = []

    def take(_: int) -> None:
        while batch := claim(world, limit=3):
            taken.append([job.id for job in batch])

    assert [result for result in race(take) if result is not None] == []
    # A claimer finds nothing while another holds the rows; whoever is left has missed none.
    taken.append([job.id for job in claim(world, limit=100)])
    got = [job_id for batch in taken for job_id in batch]
    assert sorted(got) == sorted(ids)
    assert max(len(batch) for batch in taken[:-1]) <= 3


CLAIMER = """
import sys
from gateway.db.claims import SqlClaims
from gateway.db.engine import Database
from gateway.jobs.job import Status
claims = SqlClaims(Database(sys.argv[1], synchronous="off"))
print("ready", flush=True)
sys.stdin.readline()
while batch := claims.due(Status.QUEUED, worker=sys.argv[2], limit=3, lease_s=60, now=float(sys.argv[3])):
    print(*(job.id for job in batch), flush=True)
"""


def test_four_processes_never_get_the_same_row_and_together_get_all(world: World, database_url: str) -> None:
    ids = {world.queued().id for _ in range(60)}
    command = [sys.executable, "-c", CLAIMER, database_url]
    processes = [
        subprocess.Popen([*command, f"w{number}", str(NOW)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    said = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        said += process.communicate(timeout=60)[0].split()
        assert process.returncode == 0
    said += [job.id for job in claim(world, limit=100)]
    assert sorted(said) == sorted(ids)


def test_the_latest_claim_is_held_until_the_job_moves_on(world: World) -> None:
    world.queued()
    (job,) = claim(world)
    assert world.claims.holds(job)
    assert world.claims.extend(job, until=NOW + 99)
    assert world.now_holds(job).due_at == NOW + 99
    assert world.claims.holds(job)
    world.recorder.cancel(job.id, client="ann", now=NOW)
    assert not world.claims.holds(job)
    assert not world.claims.extend(job, until=NOW + 999)


def test_a_claim_that_was_taken_over_neither_holds_nor_extends_nor_releases(world: World) -> None:
    world.queued()
    (old,) = claim(world)
    (new,) = claim(world, now=NOW + 60)
    assert not world.claims.holds(old)
    assert not world.claims.extend(old, until=NOW + 999)
    world.claims.release(old, due_at=NOW)
    assert world.now_holds(new) == new
    assert world.claims.holds(new)


def test_a_released_claim_is_due_when_said_and_held_no_longer(world: World) -> None:
    world.queued()
    (job,) = claim(world)
    world.claims.release(job, due_at=NOW + 2)
    assert not world.claims.holds(job)
    released = world.now_holds(job)
    assert (released.claimed_by, released.due_at) == (None, NOW + 2)
    assert [one.id for one in claim(world, now=NOW + 2)] == [job.id]


def test_of_two_holders_of_one_row_only_the_first_can_record(world: World) -> None:
    world.rendering()
    (slow,) = world.claims.due(Status.RENDERING, worker="slow", limit=1, lease_s=5, now=NOW + 30)
    (quick,) = world.claims.due(Status.RENDERING, worker="quick", limit=1, lease_s=5, now=NOW + 36)
    world.recorder.record(lifecycle.progress(quick, percent=9, due_at=NOW + 60, at=NOW + 37, detail={}))
    assert not world.claims.holds(slow)
    assert not world.claims.holds(quick)


def test_a_round_takes_what_was_accepted_last_first_and_only_of_its_key(world: World) -> None:
    lane = replace(LANE, max_concurrent=9)
    accepted = [world.rendering(lane=lane, now=NOW + n)[0] for n in range(5)]
    world.rendering(lane=replace(lane, key="two", fingerprint="k2"), now=NOW + 9)

    def of_round(limit: int, now: float) -> list[str]:
        claimed = world.claims.round(
            lane.upstream, lane.fingerprint, worker="w", least=3, limit=limit, until=now + 3, lease_s=30, now=now
        )
        return [job.id for job in claimed]

    ids = [job.id for job in reversed(accepted)]
    # Though three soon will be, none is due yet.
    assert of_round(9, NOW + 29.9) == []
    assert of_round(2, NOW + 31.5) == ids[:2]
    assert of_round(9, NOW + 31.5) == ids[2:]
    assert of_round(9, NOW + 32) == []


def test_the_one_accepted_some_places_later_is_of_the_same_key_and_in_progress(world: World) -> None:
    lane = replace(LANE, max_concurrent=9)
    # Two at once, which the id puts in order.
    at_once = [world.rendering(lane=lane, now=NOW + n // 2)[0] for n in range(4)]
    first, second, third, fourth = sorted(at_once, key=lambda job: (job.accepted_at, job.id))
    world.rendering(lane=replace(lane, key="two", fingerprint="k2"), now=NOW + 9)
    found = world.claims.accepted_after(first, 2)
    assert found is not None
    assert found.id == third.id
    world.recorder.cancel(second.id, client=second.client, now=NOW)
    found = world.claims.accepted_after(first, 2)
    assert found is not None
    assert found.id == fourth.id
    assert world.claims.accepted_after(first, 3) is None


def test_jobs_expire_in_the_queue_by_their_age_not_by_their_schedule(world: World) -> None:
    old = world.queued(at=NOW - 100, due_at=NOW + 500)
    older = world.queued(at=NOW - 200)
    world.queued(at=NOW - 10)
    world.failed(now=NOW - 300)
    assert [job.id for job in world.claims.expired_in_queue(before=NOW - 50, limit=9)] == [older.id, old.id]
    assert [job.id for job in world.claims.expired_in_queue(before=NOW - 50, limit=1)] == [older.id]


def test_a_claim_in_one_process_is_seen_by_another(world: World, open_database: Callable[..., Database]) -> None:
    world.queued()
    (job,) = claim(world)
    other = SqlClaims(open_database())
    assert other.holds(job)
    assert list(other.due(Status.QUEUED, worker="o", limit=1, lease_s=60, now=NOW)) == []


# -- what could not be begun -------------------------------------------------------------------------------------------


def claimed_at(world: World, status: Status, now: float, *, worker: str = "w") -> Job:
    (job,) = world.claims.due(status, worker=worker, limit=1, lease_s=600, now=now)
    return job


def test_what_a_worker_claimed_in_a_span_is_given_back_and_no_other_claim(world: World) -> None:
    lane = replace(LANE, max_concurrent=99)
    claims = []
    for worker, now in (("w", NOW + 1), ("w", NOW + 2), ("w", NOW + 4), ("w", NOW + 5), ("other", NOW + 3)):
        world.storing(lane=lane)
        claims.append(claimed_at(world, Status.STORING, now, worker=worker))
    before, first, last, after, others = claims
    assert world.claims.release_unbegun("w", since=NOW + 2, until=NOW + 4, due_at=NOW + 9) == (2, 0)
    for job in (first, last):
        assert not world.claims.holds(job)
        assert (world.now_holds(job).due_at, world.now_holds(job).claimed_by) == (NOW + 9, None)
    assert all(world.claims.holds(job) for job in (before, after, others))
    assert world.claims.release_unbegun("w", since=NOW + 2, until=NOW + 4, due_at=NOW + 99) == (0, 0)


def test_queued_and_rendering_claims_are_given_back_and_submits_under_way_are_not(world: World) -> None:
    lane = replace(LANE, max_concurrent=99)
    world.rendering(lane=lane)
    polled = claimed_at(world, Status.RENDERING, NOW + 30)
    submitting, _ = world.submitting(lane=lane, now=NOW + 30)
    preparing = world.claimed(lane=lane, now=NOW + 30)
    assert submitting.claimed_by == preparing.claimed_by == polled.claimed_by == "w"
    assert world.claims.release_unbegun("w", since=NOW + 30, until=NOW + 30, due_at=NOW + 31) == (2, 0)
    assert world.claims.holds(submitting)
    for job in (polled, preparing):
        assert world.now_holds(job).due_at == NOW + 31


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_claim_that_somebody_has_locked_is_left_for_later_and_not_waited_for(world: World) -> None:
    lane = replace(LANE, max_concurrent=99)
    for _ in range(2):
        world.storing(lane=lane)
    locked, free = world.claims.due(Status.STORING, worker="w", limit=2, lease_s=600, now=NOW + 1)
    span = {"since": NOW + 1, "until": NOW + 1, "due_at": NOW + 2}
    with world.database.write() as connection:
        connection.execute(sa.select(jobs.c.id).where(jobs.c.id == locked.id).with_for_update())
        assert world.claims.release_unbegun("w", **span) == (1, 1)
    assert world.claims.holds(locked)
    assert not world.claims.holds(free)
    assert world.claims.release_unbegun("w", **span) == (1, 0)
