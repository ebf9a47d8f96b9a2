"""The ledger of objects: nothing that a job names is swept, and nothing else stays."""

from __future__ import annotations

import pytest

from gateway.db.tables import jobs, objects
from gateway.jobs import lifecycle
from gateway.jobs.errors import NotFound, StaleJob
from gateway.jobs.job import Reference
from tests.contracts.world import HOOK, NOW, World, race


def sweep(world: World, *, now: float, limit: int = 99) -> list[str]:
    return [left.key for left in world.ledger.leftovers(limit=limit, lease_s=60, now=now)]


def test_an_object_that_nobody_finished_is_garbage_after_its_lease(world: World) -> None:
    world.ledger.begin("a", until=NOW + 60, now=NOW)
    assert sweep(world, now=NOW + 59) == []
    assert sweep(world, now=NOW + 60) == ["a"]
    assert sweep(world, now=NOW + 61) == []
    assert not world.ledger.extend("a", until=NOW + 999)


def test_an_object_that_was_noted_already_is_noted_again_when_the_answer_to_the_first_was_lost(world: World) -> None:
    world.ledger.begin("a", until=NOW + 60, now=NOW)
    world.ledger.begin("a", until=NOW + 90, now=NOW + 30)
    assert sweep(world, now=NOW + 89) == []
    assert sweep(world, now=NOW + 90) == ["a"]
    world.ledger.begin("a", until=NOW + 200, now=NOW + 91)
    assert not world.ledger.extend("a", until=NOW + 999)  # what the sweep has taken stays its own


def test_an_object_is_safe_for_as_long_as_its_writing_goes_on(world: World) -> None:
    world.ledger.begin("a", until=NOW + 60, now=NOW)
    assert world.ledger.extend("a", until=NOW + 120)
    assert sweep(world, now=NOW + 119) == []


def test_an_object_is_swept_twice_and_then_forgotten(world: World) -> None:
    world.ledger.begin("a", until=NOW, now=NOW)
    for now, sweeps in ((NOW, 0), (NOW + 3600, 1)):
        (left,) = world.ledger.leftovers(limit=9, lease_s=60, now=now)
        assert left.sweeps == sweeps
        world.ledger.swept(left, now=now)
        assert sweep(world, now=now + 3599) == []
    assert world.rows(objects) == []


def test_a_sweep_that_failed_is_repeated(world: World) -> None:
    world.ledger.begin("a", until=NOW, now=NOW)
    assert sweep(world, now=NOW) == ["a"]
    assert sweep(world, now=NOW + 60) == ["a"]


def test_an_object_handed_in_again_between_two_sweeps_gets_two_more(world: World) -> None:
    job = world.completed()
    assert job.stored is not None
    world.ledger.retire(before=NOW + 1, limit=9, now=NOW + 1)
    (left,) = world.ledger.leftovers(limit=9, lease_s=60, now=NOW + 1)
    world.ledger.swept(left, now=NOW + 1)
    (left,) = world.ledger.leftovers(limit=9, lease_s=60, now=NOW + 3601)
    world.recorder.erase(job.id, client="ann", now=NOW + 3602)
    world.ledger.swept(left, now=NOW + 3603)
    assert sweep(world, now=NOW + 3603) == [job.stored.object_key]


def test_sixteen_sweepers_never_get_the_same_object_and_together_get_all(world: World) -> None:
    for number in range(60):
        world.ledger.begin(f"k{number}", until=NOW, now=NOW)
    results = race(lambda _: sweep(world, now=NOW, limit=3))
    got = [key for result in results for key in result]  # type: ignore[union-attr]
    assert len(got) == len(set(got))
    assert len(got) + len(sweep(world, now=NOW)) == 60


def test_a_writer_that_comes_after_the_sweep_has_lost(world: World) -> None:
    job = world.storing()
    stored = world.stored(job)
    assert sweep(world, now=NOW + 60) == [stored.object_key]
    with pytest.raises(StaleJob):
        world.recorder.record(lifecycle.complete(job, stored=stored, at=NOW + 61, detail={}))


def test_of_the_sweep_and_a_writer_at_the_same_moment_one_wins(world: World) -> None:
    for _ in range(8):
        job = world.storing()
        stored = world.stored(job)
        done = lifecycle.complete(job, stored=stored, at=NOW + 60, detail={})

        def act(number: int, done: lifecycle.Transition = done) -> object:
            return world.recorder.record(done) if number else sweep(world, now=NOW + 60)

        swept, written = race(act, threads=2)
        kept = world.row(objects, key=stored.object_key).state == "kept"
        assert isinstance(written, StaleJob) is not kept
        assert (swept == []) is kept


def test_a_writer_that_wrongly_believes_to_have_lost_does_not_remove_a_finished_video(world: World) -> None:
    job = world.completed()
    assert job.stored is not None
    world.ledger.discard(job.stored.object_key, now=NOW)
    assert world.row(objects).state == "kept"
    assert sweep(world, now=NOW + 1e6) == []


def test_a_discarded_try_is_swept_at_once(world: World) -> None:
    world.ledger.begin("a", until=NOW + 999, now=NOW)
    world.ledger.discard("a", now=NOW)
    assert sweep(world, now=NOW) == ["a"]
    world.ledger.discard("never begun", now=NOW)
    assert len(world.rows(objects)) == 1


def test_retention_forgets_prompts_and_objects_in_batches(world: World) -> None:
    world.ledger.begin("ref.png", until=NOW + 60, now=NOW)
    reference = Reference(url="https://example.com/signed?secret", object_key="ref.png")
    old = [world.completed(reference=reference if n == 0 else None) for n in range(3)]
    failed = world.failed()
    young = world.completed(now=NOW + 500)
    unfinished = world.queued()
    assert [world.ledger.retire(before=NOW + 100, limit=3, now=NOW + 200) for _ in range(3)] == [3, 1, 0]
    for job in [*old, failed]:
        row = world.row(jobs, id=job.id)
        assert (row.prompt, row.removed_at, row.reference) == (None, NOW + 200, None)
    for job in (unfinished, young):
        assert world.row(jobs, id=job.id).prompt == "a cat"
    expected = {job.stored.object_key for job in old if job.stored} | {"ref.png"}
    assert set(sweep(world, now=NOW + 200)) == expected


def test_sixteen_retirings_at_once_retire_each_video_once(world: World) -> None:
    for _ in range(20):
        world.failed(callback_url=HOOK)
    results = race(lambda _: world.ledger.retire(before=NOW + 1, limit=5, now=NOW + 2))
    rest = world.ledger.retire(before=NOW + 1, limit=99, now=NOW + 2)
    assert sum(results) + rest == 20  # type: ignore[arg-type]


def test_a_deleted_video_is_swept_and_stays_away(world: World) -> None:
    job = world.completed()
    assert job.stored is not None
    world.recorder.erase(job.id, client="ann", now=NOW + 1)
    assert sweep(world, now=NOW + 1) == [job.stored.object_key]
    assert world.ledger.retire(before=NOW + 99, limit=9, now=NOW + 99) == 0
    with pytest.raises(NotFound):
        world.queries.job(job.id, client=None)
