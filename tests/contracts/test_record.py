"""The one writer: compare and set, history, deliveries, slots and objects, all or nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from gateway.db.tables import deliveries, history, jobs, objects, submissions
from gateway.jobs import lifecycle
from gateway.jobs.errors import Conflict, NotFound, StaleJob
from gateway.jobs.job import Reference, Status, Stored
from tests.contracts.world import ALL_EVENTS, FAILURE, HOOK, NOW, World, race


def test_sixteen_threads_racing_one_transition_have_one_winner_one_history_row_and_one_delivery(world: World) -> None:
    job = world.queued(callback_url=HOOK, callback_events=ALL_EVENTS)
    move = lifecycle.fail(job, FAILURE, at=NOW, upstream_done=True)
    results = race(lambda _: world.recorder.record(move))
    assert sum(not isinstance(result, Exception) for result in results) == 1
    assert sum(isinstance(result, StaleJob) for result in results) == 15
    assert [row.event for row in world.rows(history, job_id=job.id)] == ["queued", "failed"]
    assert len(world.rows(deliveries, job_id=job.id)) == 1


def test_of_different_transitions_from_the_same_row_only_one_is_written(world: World) -> None:
    job, _ = world.rendering(callback_url=HOOK, callback_events=ALL_EVENTS)
    moves = [
        lifecycle.fail(job, FAILURE, at=NOW, upstream_done=True),
        lifecycle.progress(job, percent=50, due_at=NOW + 30, at=NOW, detail={}),
        lifecycle.begin_transfer(job, expires_at=None, at=NOW, detail={}),
        lifecycle.cancel(job, at=NOW),
    ] * 4
    results = race(lambda number: world.recorder.record(moves[number]))
    winners = [result for result in results if not isinstance(result, Exception)]
    assert len(winners) == 1
    assert world.now_holds(job) == winners[0]
    assert len(world.rows(history, job_id=job.id)) == 4


def test_what_record_returns_is_what_is_read_afterwards(world: World) -> None:
    job, _ = world.rendering(
        metadata={"käse": 'a"b.c'}, extra={"seed": 7, "deep": [1, {"x": None}]}, callback_url=HOOK,
        callback_events=ALL_EVENTS, remixed_from="video_x",
    )  # fmt: skip
    noted = world.recorder.record(
        lifecycle.again(
            job, event="unanswered", due_at=NOW + 9.125, at=NOW + 0.1, detail={"a": [1]}, missing=True,
            stood_still_s=1.5, bucket_failed=True,
        )
    )  # fmt: skip
    assert world.now_holds(job) == noted


def test_a_stale_transition_leaves_nothing_behind(world: World) -> None:
    job = world.queued(callback_url=HOOK, callback_events=ALL_EVENTS)
    world.recorder.cancel(job.id, client="ann", now=NOW)
    told = len(world.rows(deliveries))
    with pytest.raises(StaleJob):
        world.recorder.record(lifecycle.fail(job, FAILURE, at=NOW, upstream_done=True))
    assert len(world.rows(deliveries)) == told
    assert [row.event for row in world.rows(history)] == ["queued", "cancelled"]


def test_a_transition_takes_back_a_claim_that_was_made_since_its_job_was_read(world: World) -> None:
    read = world.queued()
    (claimed,) = world.claims.due(Status.QUEUED, worker="other", limit=1, lease_s=60, now=NOW)
    world.recorder.record(lifecycle.fail(read, FAILURE, at=NOW, upstream_done=True))
    assert world.now_holds(read).claimed_by is None
    assert not world.claims.holds(claimed)


def test_a_note_ends_the_claim_and_sets_the_next_time(world: World) -> None:
    world.rendering()
    (job,) = world.claims.due(Status.RENDERING, worker="w", limit=1, lease_s=30, now=NOW + 30)
    world.recorder.record(lifecycle.progress(job, percent=40, due_at=NOW + 61, at=NOW + 31, detail={}))
    noted = world.now_holds(job)
    assert (noted.due_at, noted.progress, noted.claimed_by) == (NOW + 61, 40, None)
    assert not world.claims.holds(job)


def test_what_is_not_worth_a_history_row_still_counts(world: World) -> None:
    job, _ = world.rendering()
    rows = len(world.rows(history, job_id=job.id))
    quiet = replace(lifecycle.again(job, event="e", due_at=NOW + 5, at=NOW, detail={}), noted=False)
    world.recorder.record(quiet)
    assert (world.now_holds(job).tries, len(world.rows(history, job_id=job.id))) == (1, rows)


@pytest.mark.parametrize(
    ("subscribed", "told"),
    [(ALL_EVENTS, ["video.in_progress", "video.failed"]), (("video.failed",), ["video.failed"]), ((), [])],
)
def test_a_delivery_is_written_for_each_event_that_was_subscribed_to(
    world: World, subscribed: tuple[str, ...], told: list[str]
) -> None:
    job, _ = world.rendering(callback_url=HOOK, callback_events=subscribed)
    job = world.recorder.record(lifecycle.progress(job, percent=40, due_at=NOW + 30, at=NOW + 1, detail={}))
    job = world.recorder.record(lifecycle.answered(job, due_at=NOW + 30, at=NOW + 2, detail={}))
    world.recorder.record(lifecycle.fail(job, FAILURE, at=NOW + 3, upstream_done=True))
    rows = sorted(world.rows(deliveries), key=lambda row: row.created_at)
    assert [row.type for row in rows] == told
    assert all(row.receiver == "https://hooks.example.com:443" for row in rows)


def test_a_delivery_holds_the_facts_of_the_transition_without_the_prompt(world: World) -> None:
    job = world.told()
    facts = world.row(deliveries, job_id=job.id).facts
    assert (facts["id"], facts["status"], facts["error"]["code"]) == (job.id, "failed", "upstream_error")
    assert "prompt" not in facts


def test_an_impossible_url_still_gets_its_delivery_written(world: World) -> None:
    job = world.told(url="http://[half")
    assert len(world.rows(deliveries, job_id=job.id)) == 1


# -- slots -------------------------------------------------------------------------------------------------------------


def test_a_slot_is_freed_when_the_upstream_has_finished(world: World) -> None:
    job = world.storing()
    assert world.row(submissions, job_id=job.id).slot_released_at == NOW


def test_a_cancelled_rendering_keeps_its_slot_and_is_handed_to_the_clean_up(world: World) -> None:
    job, _ = world.rendering()
    world.recorder.cancel(job.id, client="ann", now=NOW + 5)
    row = world.row(submissions, job_id=job.id)
    assert (row.slot_released_at, row.due_at) == (None, NOW + 5)


@pytest.mark.parametrize(("upstream_done", "released_at", "due_at"), [(True, NOW + 5, None), (False, None, NOW + 5)])
def test_a_failure_frees_the_slot_only_where_the_upstream_is_done(
    world: World, upstream_done: bool, released_at: float | None, due_at: float | None
) -> None:
    job, _ = world.rendering()
    world.recorder.record(lifecycle.fail(job, FAILURE, at=NOW + 5, upstream_done=upstream_done))
    row = world.row(submissions, job_id=job.id)
    assert (row.slot_released_at, row.due_at) == (released_at, due_at)


# -- objects -----------------------------------------------------------------------------------------------------------


def test_completing_keeps_the_object_and_sweeps_the_reference(world: World) -> None:
    world.ledger.begin("ref.png", until=NOW + 60, now=NOW)
    job = world.completed(reference=Reference(content_type="image/png", sha256="ab", size=3, object_key="ref.png"))
    assert world.row(objects, key=job.stored.object_key).state == "kept"  # type: ignore[union-attr]
    assert world.row(objects, key="ref.png").state == "garbage"


def test_the_end_drops_a_clients_link_to_the_reference_from_the_row(world: World) -> None:
    link = "https://pictures.example/p.png?X-Amz-Signature=abc"
    job, _ = world.rendering(reference=Reference(url=link))
    assert world.row(jobs, id=job.id).reference["url"] == link
    world.recorder.record(lifecycle.fail(job, FAILURE, at=NOW + 5, upstream_done=True))
    assert world.row(jobs, id=job.id).reference is None


def test_completing_fails_as_stale_when_the_sweep_has_taken_the_object(world: World) -> None:
    job = world.storing()
    stored = world.stored(job, lease_s=60)
    world.ledger.leftovers(limit=9, lease_s=60, now=NOW + 61)
    with pytest.raises(StaleJob):
        world.recorder.record(lifecycle.complete(job, stored=stored, at=NOW + 62, detail={}))
    assert world.now_holds(job).status is Status.STORING


def test_completing_with_an_object_that_nobody_began_is_stale(world: World) -> None:
    job = world.storing()
    stored = Stored(object_key="nowhere", size=1, sha256="", content_type="video/mp4")
    with pytest.raises(StaleJob):
        world.recorder.record(lifecycle.complete(job, stored=stored, at=NOW, detail={}))


# -- cancel and delete -------------------------------------------------------------------------------------------------


def test_cancelling_twice_gives_the_same_job_and_one_history_row(world: World) -> None:
    job = world.queued()
    first = world.recorder.cancel(job.id, client="ann", now=NOW + 1)
    assert world.recorder.cancel(job.id, client="ann", now=NOW + 2) == first
    assert [row.event for row in world.rows(history)] == ["queued", "cancelled"]


def test_sixteen_threads_cancelling_a_moving_job_all_see_it_cancelled(world: World) -> None:
    job, _ = world.rendering()

    def act(number: int) -> Status:
        if number % 2:
            return world.recorder.cancel(job.id, client="ann", now=NOW).status
        return world.recorder.record(lifecycle.progress(job, percent=number, due_at=NOW + 30, at=NOW, detail={})).status

    results = race(act)
    assert [result for result in results[1::2] if result is not Status.CANCELLED] == []
    assert sum(row.event == "cancelled" for row in world.rows(history)) == 1


@pytest.mark.parametrize("how", ["completed", "failed"])
def test_a_finished_job_cannot_be_cancelled(world: World, how: str) -> None:
    job = getattr(world, how)()
    with pytest.raises(Conflict) as refused:
        world.recorder.cancel(job.id, client="ann", now=NOW)
    assert refused.value.code == "already_final"


@pytest.mark.parametrize("act", ["cancel", "erase"])
def test_another_clients_job_is_not_found(world: World, act: str) -> None:
    job = world.queued()
    with pytest.raises(NotFound):
        getattr(world.recorder, act)(job.id, client="bob", now=NOW)
    assert world.now_holds(job) == job


def test_deleting_an_unfinished_job_cancels_it_without_a_word(world: World) -> None:
    job, _ = world.rendering(callback_url=HOOK, callback_events=ALL_EVENTS)
    world.recorder.erase(job.id, client="ann", now=NOW + 1)
    row = world.row(jobs, id=job.id)
    assert (row.status, row.prompt, row.deleted_at, row.callback_url) == ("cancelled", None, NOW + 1, HOOK)
    assert world.rows(deliveries) == []
    with pytest.raises(NotFound):
        world.queries.job(job.id, client="ann")
    with pytest.raises(NotFound):
        world.recorder.erase(job.id, client="ann", now=NOW + 2)


def test_deleting_a_finished_job_ends_its_pending_deliveries_and_sweeps_its_object(world: World) -> None:
    job = world.completed(callback_url=HOOK, callback_events=ALL_EVENTS)
    world.recorder.erase(job.id, client="ann", now=NOW + 1)
    assert {(row.status, row.due_at) for row in world.rows(deliveries)} == {("disabled", None)}
    assert world.row(objects, key=job.stored.object_key).state == "garbage"  # type: ignore[union-attr]
    assert [row.event for row in world.rows(history)][-2:] == ["completed", "deleted"]


def test_a_transition_of_a_job_that_was_deleted_meanwhile_is_stale(world: World) -> None:
    job, _ = world.rendering()
    world.recorder.erase(job.id, client="ann", now=NOW)
    with pytest.raises(StaleJob):
        world.recorder.record(lifecycle.progress(job, percent=3, due_at=NOW + 30, at=NOW, detail={}))


# -- the second wall ---------------------------------------------------------------------------------------------------

IMPOSSIBLE = {
    "an unknown status": {"status": "lost"},
    "finished without being final": {"finished_at": NOW},
    "final without being finished": {"status": "cancelled"},
    "an object without being completed": {"object_key": "k"},
    "completed without an object": {"status": "completed", "finished_at": NOW, "upstream_job_id": "u"},
    "an error without having failed": {"error_code": "upstream_error"},
    "failed without an error": {"status": "failed", "finished_at": NOW},
    "rendering without an upstream id": {"status": "rendering"},
    "storing without an upstream id": {"status": "storing"},
}


@pytest.mark.parametrize("values", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_the_database_itself_refuses_impossible_jobs(world: World, values: dict[str, object]) -> None:
    job = world.queued()
    with pytest.raises(sa.exc.IntegrityError), world.database.write() as connection:
        connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(**values))


def test_the_database_itself_refuses_impossible_submissions_deliveries_and_objects(world: World) -> None:
    world.rendering(callback_url=HOOK, callback_events=ALL_EVENTS)
    world.told()
    world.ledger.begin("k", until=NOW, now=NOW)
    for table, values in (
        (submissions, {"outcome": "perhaps", "upstream_job_id": None}),
        (submissions, {"upstream_job_id": None}),
        (submissions, {"outcome": "unknown"}),
        (deliveries, {"status": "delivered"}),
        (deliveries, {"due_at": None}),
        (deliveries, {"status": "lost", "due_at": None}),
        (objects, {"state": "kept"}),
        (objects, {"due_at": None}),
        (objects, {"state": "lost"}),
    ):
        with pytest.raises(sa.exc.IntegrityError), world.database.write() as connection:
            connection.execute(sa.update(table).values(**values))


def test_a_row_may_not_refer_to_a_client_or_a_job_that_does_not_exist(world: World) -> None:
    with pytest.raises(sa.exc.IntegrityError), world.database.write() as connection:
        connection.execute(sa.insert(history).values(job_id="x", at=NOW, event="e", status="queued", detail={}))
