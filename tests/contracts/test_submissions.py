"""Where money is spent: turns, slots that are rows, one unresolved submit of a kind, and answers that come late."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from gateway.db.tables import history, submissions
from gateway.jobs import lifecycle
from gateway.jobs.errors import StaleJob
from gateway.jobs.job import Job, Status
from gateway.jobs.ports import Lane, Submission
from tests.contracts.world import FAILURE, LANE, NOW, World, new_job, race

TWO = replace(LANE, key="two")


def take(world: World, limit: int = 99, *, lane: Lane = LANE, now: float = NOW) -> list[Job]:
    return list(world.submissions.take_turn(lane, worker="w", limit=limit, lease_s=60, now=now))


def begin(world: World, job: Job, *, lane: Lane = LANE, fingerprint: str = "", now: float = NOW) -> object:
    return world.submissions.begin(job, lane, fingerprint=fingerprint or job.id, due_at=now + 130, now=now)


# -- turns -------------------------------------------------------------------------------------------------------------


def test_one_client_with_a_hundred_videos_does_not_make_anothers_single_one_wait(world: World) -> None:
    for number in range(100):
        world.queued("greedy", at=NOW - 100 + number / 10)
    single = world.queued("modest", at=NOW)
    assert single.id in {job.id for job in take(world, 2)}


def test_clients_take_turns_and_each_its_own_oldest_first(world: World) -> None:
    for client in ("ann", "bob", "cid"):
        for number in range(3):
            world.queued(client, at=NOW - 9 + number)
    order = [job for _ in range(9) for job in take(world, 1, lane=replace(LANE, max_concurrent=99))]
    assert [job.client for job in order] == ["ann", "bob", "cid"] * 3
    assert [job.created_at for job in order] == [NOW - 9] * 3 + [NOW - 8] * 3 + [NOW - 7] * 3


def test_the_turn_goes_on_where_the_last_batch_ended(world: World) -> None:
    for client in ("ann", "bob", "cid"):
        for _ in range(4):
            world.queued(client)
    lane = replace(LANE, max_concurrent=99)
    clients = [job.client for size in (2, 4, 3) for job in take(world, size, lane=lane)]
    assert clients == ["ann", "bob", "cid", "ann", "bob", "cid", "ann", "bob", "cid"]


def test_places_that_a_client_cannot_fill_go_to_the_others(world: World) -> None:
    world.queued("ann")
    for _ in range(9):
        world.queued("bob")
    assert sorted(job.client for job in take(world, 5)) == ["ann", *["bob"] * 4]


def test_a_newcomer_is_next_but_does_not_get_all_the_turns_it_missed(world: World) -> None:
    lane = replace(LANE, max_concurrent=99)
    for _ in range(20):
        world.queued("old")
    take(world, 6, lane=lane)
    for _ in range(20):
        world.queued("new")
    assert sorted(job.client for job in take(world, 4, lane=lane)) == ["new", "new", "old", "old"]


def test_a_turn_takes_only_jobs_of_the_lanes_routes_that_are_due(world: World) -> None:
    world.queued(routes=("other",))
    world.queued(routes=("other", "main"))
    world.queued(routes=())
    world.queued(due_at=NOW + 5)
    mine = world.queued()
    taken = take(world)
    assert [job.id for job in taken] == [mine.id]
    assert (taken[0].upstream, taken[0].upstream_key, taken[0].claim_token) == ("main", "one", 1)


def test_the_routes_that_wait_are_each_told_once_and_only_while_they_wait(world: World) -> None:
    assert world.submissions.waiting_routes() == []
    for routes in [("main",), ("a", "main"), ("main",), (), ("a",)]:
        world.queued(routes=routes)
    world.submitting(lane=replace(LANE, routes=[("b",)]), routes=("b",))
    assert sorted(world.submissions.waiting_routes()) == [(), ("a",), ("a", "main"), ("main",)]


def test_a_lane_takes_every_job_whose_turn_it_has(world: World) -> None:
    both, one = world.queued(routes=("a", "main")), world.queued(routes=("main",))
    world.queued(routes=("main", "a"))
    taken = take(world, lane=replace(LANE, routes=[("a", "main"), ("main",)]))
    assert {job.id for job in taken} == {both.id, one.id}
    assert {job.routes for job in taken} == {("a", "main"), ("main",)}


def test_no_more_are_taken_than_there_are_free_slots_counting_those_in_preparation(world: World) -> None:
    for _ in range(9):
        world.queued()
    assert len(take(world, 3)) == 3
    assert len(take(world, 3)) == 2
    assert take(world) == []
    assert len(take(world, lane=TWO)) == 4


def test_a_preparation_that_was_given_up_makes_room_again(world: World) -> None:
    for _ in range(6):
        world.queued()
    job = take(world)[0]
    assert take(world) == []
    world.claims.release(job, due_at=NOW + 2)
    assert len(take(world)) == 1


def test_two_lanes_of_sixteen_workers_share_the_queue_without_waiting_in_a_circle(world: World) -> None:
    clients = [f"client{number}" for number in range(8)]
    ids = sorted(world.queued(client).id for client in clients for _ in range(5))
    lanes = [replace(LANE, key=key, max_concurrent=99) for key in "abcd"]

    def work(number: int) -> list[str]:
        return [job.id for _ in range(5) for job in take(world, 2, lane=lanes[number % 4])]

    results = race(work)
    assert [result for result in results if isinstance(result, Exception)] == []
    got = [job_id for result in results for job_id in result]  # type: ignore[union-attr]
    got += [job.id for job in take(world, lane=replace(LANE, key="e", max_concurrent=99))]
    assert sorted(got) == ids


# -- slots -------------------------------------------------------------------------------------------------------------


def test_sixteen_threads_that_begin_at_once_get_exactly_the_slots_there_are(world: World) -> None:
    wide = replace(LANE, max_concurrent=99)
    jobs = [world.claimed(lane=wide) for _ in range(16)]
    results = race(lambda number: begin(world, jobs[number]))
    assert [result for result in results if isinstance(result, Exception)] == []
    assert sum(result is not None for result in results) == 5
    assert len(world.rows(submissions)) == 5
    assert sum(world.now_holds(job).status is Status.SUBMITTING for job in jobs) == 5


def test_the_intent_and_the_status_are_written_together(world: World) -> None:
    job, submission = world.submitting(fingerprint="f")
    row = world.row(submissions)
    assert (row.job_id, row.outcome, row.fingerprint, row.key_fingerprint) == (job.id, "unknown", "f", "k1")
    assert (job.status, job.due_at, job.claimed_by) == (Status.SUBMITTING, NOW + 130, "w")
    assert world.claims.holds(job)
    assert world.submissions.of_job(job) == submission


def test_beginning_after_a_cancel_is_stale_and_takes_no_slot(world: World) -> None:
    job = world.claimed()
    world.recorder.cancel(job.id, client="ann", now=NOW)
    with pytest.raises(StaleJob):
        begin(world, job)
    assert world.rows(submissions) == []


def test_beginning_with_a_claim_that_was_taken_over_is_stale_and_takes_no_slot(world: World) -> None:
    job = world.claimed()
    (again,) = take(world, now=NOW + 61)
    with pytest.raises(StaleJob):
        begin(world, job, now=NOW + 62)
    assert world.rows(submissions) == []
    assert begin(world, again, now=NOW + 62) is not None


def test_sixteen_threads_beginning_one_job_send_it_once(world: World) -> None:
    job = world.claimed()
    results = race(lambda _: begin(world, job))
    assert sum(isinstance(result, tuple) for result in results) == 1
    assert all(isinstance(result, tuple | StaleJob) for result in results)
    assert len(world.rows(submissions)) == 1


def test_an_equal_request_waits_while_the_first_is_unresolved(world: World) -> None:
    _, first = world.submitting(fingerprint="same")
    twin = world.claimed()
    assert begin(world, twin, fingerprint="same") is None
    assert world.now_holds(twin) == twin
    other = world.claimed(lane=TWO)
    # Keys of one account share its list, and there the two could not be told apart either.
    assert begin(world, other, lane=TWO, fingerprint="same") is None
    world.submissions.accepted(first, upstream_job_id="up", now=NOW)
    assert begin(world, twin, fingerprint="same") is not None


def test_sixteen_equal_requests_at_once_leave_one_unresolved(world: World) -> None:
    wide = replace(LANE, max_concurrent=99)
    jobs = [world.claimed(lane=wide) for _ in range(16)]
    results = race(lambda number: begin(world, jobs[number], lane=wide, fingerprint="same"))
    assert sum(result is None for result in results) == 15
    assert len(world.rows(submissions)) == 1


def test_equal_requests_on_two_keys_at_once_leave_one_unresolved(world: World) -> None:
    lanes = [replace(LANE, key=key, max_concurrent=99) for key in ("one", "two")]
    jobs = [world.claimed(lane=lanes[number % 2]) for number in range(16)]
    results = race(lambda number: begin(world, jobs[number], lane=lanes[number % 2], fingerprint="same"))
    assert [result for result in results if isinstance(result, Exception)] == []
    assert sum(result is not None for result in results) == 1
    assert len(world.rows(submissions)) == 1


def test_the_database_itself_refuses_a_second_unresolved_twin_and_a_second_owner_of_an_id(world: World) -> None:
    world.submitting(fingerprint="a")
    world.submitting(fingerprint="b")
    for values in ({"fingerprint": "a"}, {"outcome": "accepted", "upstream_job_id": "up"}):
        with pytest.raises(sa.exc.IntegrityError), world.database.write() as connection:
            connection.execute(sa.update(submissions).values(**values))


# -- answers -----------------------------------------------------------------------------------------------------------


def state(world: World, submission: Submission) -> tuple[object, ...]:
    row = world.row(submissions, id=submission.id)
    return (row.outcome, row.upstream_job_id, row.slot_released_at, row.due_at)


def test_an_acceptance_is_written_once_however_often_it_is_told(world: World) -> None:
    job, submission = world.rendering()
    world.submissions.accepted(submission, upstream_job_id=f"up_{job.id}", now=NOW + 9)
    assert state(world, submission) == ("accepted", f"up_{job.id}", None, None)


def test_an_acceptance_after_a_cancel_starts_the_clean_up(world: World) -> None:
    job, submission = world.submitting()
    world.recorder.cancel(job.id, client="ann", now=NOW + 1)
    world.submissions.accepted(submission, upstream_job_id="up", now=NOW + 2)
    assert state(world, submission) == ("accepted", "up", None, NOW + 1)
    (found,) = world.submissions.abandoned(worker="w", limit=9, lease_s=20, now=NOW + 2)
    assert (found.id, found.upstream_job_id) == (submission.id, "up")


def test_a_cancel_racing_the_acceptance_never_loses_the_clean_up(world: World) -> None:
    for _ in range(10):
        job, submission = world.submitting(lane=replace(LANE, max_concurrent=99))

        def act(number: int, job: Job = job, submission: Submission = submission) -> None:
            if number % 2:
                world.recorder.cancel(job.id, client="ann", now=NOW + 1)
            else:
                world.submissions.accepted(submission, upstream_job_id=job.id, now=NOW + 1)

        assert race(act, threads=4) == [None] * 4
        assert state(world, submission) == ("accepted", job.id, None, NOW + 1)


def test_an_acceptance_after_the_slot_was_given_away_takes_it_again_for_the_clean_up(world: World) -> None:
    job, submission = world.submitting()
    world.submissions.refused(submission, absent=True, now=NOW + 1)
    world.recorder.record(lifecycle.requeue(job, event="proven_absent", due_at=NOW, at=NOW + 1, detail={}))
    world.submissions.accepted(submission, upstream_job_id="late", now=NOW + 2)
    assert state(world, submission) == ("accepted", "late", None, NOW + 2)
    assert [one.id for one in world.submissions.abandoned(worker="w", limit=9, lease_s=20, now=NOW + 2)] == [
        submission.id
    ]


def test_an_acceptance_that_seemed_late_but_still_moves_its_job_needs_no_clean_up(world: World) -> None:
    job, submission = world.submitting()
    world.submissions.refused(submission, absent=True, now=NOW + 1)
    world.submissions.accepted(submission, upstream_job_id="up", now=NOW + 2)
    world.recorder.record(lifecycle.accept(job, upstream_job_id="up", due_at=NOW + 30, at=NOW + 2, detail={}))
    assert state(world, submission) == ("accepted", "up", None, None)


def test_what_is_learned_too_late_does_not_undo_an_acceptance(world: World) -> None:
    job, submission = world.rendering()
    world.submissions.refused(submission, absent=True, now=NOW + 5)
    world.submissions.lost(submission, now=NOW + 6)
    world.submissions.walked(submission, now=NOW + 7)
    row = world.row(submissions)
    assert state(world, submission) == ("accepted", f"up_{job.id}", None, None)
    assert (row.closed_at, row.walked_at) == (NOW, None)


def test_an_id_that_belongs_to_another_submission_is_not_taken(world: World) -> None:
    _, first = world.submitting()
    _, second = world.submitting()
    world.submissions.accepted(first, upstream_job_id="up", now=NOW)
    with pytest.raises(StaleJob):
        world.submissions.accepted(second, upstream_job_id="up", now=NOW)
    assert state(world, second)[:2] == ("unknown", None)


@pytest.mark.parametrize(("absent", "outcome"), [(True, "absent"), (False, "refused")])
def test_a_refusal_frees_the_slot(world: World, absent: bool, outcome: str) -> None:
    _, submission = world.submitting()
    world.submissions.refused(submission, absent=absent, now=NOW + 3)
    assert state(world, submission) == (outcome, None, NOW + 3, None)
    assert world.row(submissions).closed_at == NOW + 3


def test_only_the_first_complete_walk_is_remembered(world: World) -> None:
    job, submission = world.submitting()
    world.submissions.lost(submission, now=NOW + 1)
    world.submissions.walked(submission, now=NOW + 2)
    world.submissions.walked(submission, now=NOW + 9)
    found = world.submissions.of_job(job)
    assert found is not None
    assert (found.closed_at, found.walked_at) == (NOW + 1, NOW + 2)


def test_the_latest_submission_of_a_job_is_the_one_that_counts(world: World) -> None:
    job, first = world.submitting()
    world.submissions.refused(first, absent=True, now=NOW + 1)
    world.recorder.record(lifecycle.requeue(job, event="not_accepted", due_at=NOW + 1, at=NOW + 1, detail={}))
    (again,) = take(world, now=NOW + 1)
    begun = world.submissions.begin(again, LANE, fingerprint="f", due_at=NOW + 99, now=NOW + 1)
    assert begun is not None
    assert world.submissions.of_job(begun[0]) == begun[1]
    assert world.submissions.of_job(new_job()) is None


def test_ids_are_told_with_the_submissions_they_belong_to(world: World) -> None:
    job, submission = world.rendering()
    mine = f"up_{job.id}"
    assert world.submissions.claimed_ids("main", [mine, "stranger"]) == {mine: submission.id}
    assert world.submissions.claimed_ids("elsewhere", [mine]) == {}
    assert world.submissions.claimed_ids("main", []) == {}


def test_rivals_are_other_jobs_equal_requests_that_ended_unknown_near_it(world: World) -> None:
    lane = replace(LANE, max_concurrent=99)
    for at in (NOW - 9999, NOW - 5):
        job, lost = world.submitting(lane=lane, fingerprint="same", now=at, at=at)
        world.submissions.free(lost, now=at)
        world.recorder.record(lifecycle.fail(job, FAILURE, at=at, upstream_done=False))
    _, mine = world.submitting(lane=lane, fingerprint="same")
    assert world.submissions.rivals(mine) == 1


# -- abandoned ---------------------------------------------------------------------------------------------------------


def test_an_abandoned_submission_is_claimed_by_one_and_comes_back_with_its_lease(world: World) -> None:
    job, _ = world.rendering()
    world.recorder.cancel(job.id, client="ann", now=NOW)

    def claim(now: float) -> list[Submission]:
        return list(world.submissions.abandoned(worker="w", limit=9, lease_s=20, now=now))

    results = race(lambda _: claim(NOW))
    assert sum(len(result) for result in results if isinstance(result, list)) == 1
    assert claim(NOW + 19) == []
    (again,) = claim(NOW + 20)
    world.submissions.abandoned_again(again, due_at=NOW + 50, cancel_sent=True)
    (later,) = claim(NOW + 50)
    assert later.cancel_sent
    world.submissions.abandoned_again(again, due_at=NOW, cancel_sent=False)  # the claim before: it has no say any more
    assert claim(NOW + 60) == []
    assert world.submissions.free(later, now=NOW + 60)
    assert claim(NOW + 999) == []
    assert len(take(world)) == 0


def test_a_freed_slot_is_there_for_the_next(world: World) -> None:
    narrow = replace(LANE, max_concurrent=1)
    job, begun = world.rendering(lane=narrow)
    world.recorder.cancel(job.id, client="ann", now=NOW)
    world.queued()
    assert take(world, lane=narrow) == []
    # As it was read before its answer was written: it may have been given up, what was accepted is not.
    assert not world.submissions.free(begun, now=NOW)
    assert take(world, lane=narrow) == []
    accepted = world.submissions.of_job(job)
    assert accepted is not None
    assert world.submissions.free(accepted, now=NOW)
    assert len(take(world, lane=narrow)) == 1
    assert world.rows(history, job_id=job.id)[-1].event == "cancelled"
