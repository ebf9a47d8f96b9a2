"""Lost answers: adopted, proven absent, or decided by the setting; never guessed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.jobs.job import Job, Status
from gateway.upstreams.port import Key, Listed, NoAnswer, VideoRequest
from tests.worker_remotes import SAID, Made, listed, page
from tests.worker_world import LIMITS, NOW, Worker

REQUEST = VideoRequest(model="sora-2", prompt="a cat", size="720x1280", seconds=4)
SILENT = NoAnswer(reason="timeout", answer=SAID)


def an(id_: str, *, at: float | None = NOW, **shown: object) -> Listed:
    return listed(Made(id=id_, request=REQUEST, created_at=NOW), created_at=at, **shown)


def accepted_but_unheard(worker: Worker) -> Job:
    worker.upstream.loses_the_answer = True
    job = worker.lost()
    worker.upstream.loses_the_answer = False
    return job


def with_a_known_video(worker: Worker) -> None:
    """The upstream's list proves itself by a video that is known to have been accepted."""
    worker.rendering(prompt="known")


def code(worker: Worker, job: Job) -> str | None:
    error = worker.now(job).error
    return error.code if error else None


def look(worker: Worker) -> None:
    assert worker.run(worker.reconcile) == 1


def test_an_orphan_in_the_list_is_adopted_at_once(worker: Worker) -> None:
    job = accepted_but_unheard(worker)
    look(worker)
    adopted = worker.now(job)
    assert (adopted.status, adopted.upstream_job_id) == (Status.RENDERING, "up_1")
    assert worker.submission(job).outcome == "accepted"
    assert worker.slots() == 1
    assert len(worker.upstream.posts) == 1


def test_an_orphan_is_adopted_from_a_list_that_lags(worker: Worker) -> None:
    with_a_known_video(worker)
    job = accepted_but_unheard(worker)
    worker.upstream.pages.append(page(an("up_1", prompt="known")))
    look(worker)
    assert worker.events(job)[-1] == "not_in_list"
    worker.time.on(60)
    look(worker)
    assert worker.now(job).upstream_job_id == "up_2"
    assert len(worker.upstream.posts) == 2


def test_two_matches_are_never_guessed_between(worker: Worker) -> None:
    job = accepted_but_unheard(worker)
    worker.upstream.make(REQUEST)
    look(worker)
    assert code(worker, job) == "submission_unknown"
    assert worker.slots() == 1


def test_two_matches_are_never_guessed_between_even_where_unknown_is_resubmitted(
    make_worker: Callable[..., Worker],
) -> None:
    worker = make_worker(limits=replace(LIMITS, resubmit_unknown=True))
    job = accepted_but_unheard(worker)
    worker.upstream.make(REQUEST)
    look(worker)
    assert code(worker, job) == "submission_unknown"


def test_an_orphan_is_not_adopted_where_another_jobs_equal_request_is_lost_too(worker: Worker) -> None:
    facts = worker.upstream.facts
    worker.upstream.facts = replace(facts, can_list=False)
    first = worker.lost()
    look(worker)
    assert code(worker, first) == "submission_unknown"
    worker.live(640, every_s=40)
    worker.upstream.facts = facts
    second = worker.lost(client="bob")
    worker.upstream.make(REQUEST)
    look(worker)
    assert code(worker, second) == "submission_unknown"


@pytest.mark.parametrize(
    "shown",
    [
        {"prompt": "another"},
        {"size": "1280x720"},
        {"seconds": 8},
        {"model": "sora-2-pro"},
        {"at": NOW - 601},
    ],
)
def test_a_listed_video_of_another_request_is_not_ours(worker: Worker, shown: dict[str, object]) -> None:
    job = worker.lost()
    worker.upstream.pages.append(page(an("up_9", **shown)))  # type: ignore[arg-type]
    look(worker)
    assert worker.now(job).status is Status.SUBMITTING
    assert worker.events(job)[-1] == "not_in_list"


@pytest.mark.parametrize(
    "shown",
    [{"model": "sora-2-2025-10-06"}, {"prompt": " a cat\n"}, {"size": None}, {"model": None}, {"at": None}],
)
def test_a_listed_video_that_shows_less_or_spells_it_otherwise_is_ours(
    worker: Worker, shown: dict[str, object]
) -> None:
    job = worker.lost()
    worker.upstream.pages.append(page(an("up_9", **shown)))  # type: ignore[arg-type]
    look(worker)
    assert worker.now(job).upstream_job_id == "up_9"


@pytest.mark.parametrize("at", [NOW - 599, NOW + 300])
def test_clocks_may_differ_by_ten_minutes(worker: Worker, at: float) -> None:
    job = worker.lost()
    worker.upstream.pages.append(page(an("up_9", at=at)))
    look(worker)
    assert worker.now(job).upstream_job_id == "up_9"


def test_a_video_that_another_submission_owns_is_not_an_orphan(worker: Worker) -> None:
    worker.rendering()
    job = worker.lost()
    look(worker)
    assert worker.events(job)[-1] == "not_in_list"


@pytest.mark.parametrize("resubmit", [False, True])
def test_a_list_that_shows_no_prompts_proves_nothing(make_worker: Callable[..., Worker], resubmit: bool) -> None:
    worker = make_worker(limits=replace(LIMITS, resubmit_unknown=resubmit))
    job = worker.lost()
    worker.upstream.pages.append(page(an("up_9", prompt=None)))
    look(worker)
    assert worker.now(job).status is (Status.QUEUED if resubmit else Status.FAILED)


def test_an_orphan_is_found_on_a_later_page(worker: Worker) -> None:
    job = worker.lost()
    worker.upstream.pages.extend([page(an("x", prompt="else"), after="c1"), page(an("up_9"))])
    look(worker)
    assert worker.now(job).upstream_job_id == "up_9"
    assert worker.upstream.asked_after == [None, "c1"]


def test_a_walk_ends_where_the_list_is_older_than_the_intent(worker: Worker) -> None:
    worker.lost()
    worker.upstream.pages.append(page(an("x", prompt="else"), an("y", at=NOW - 5000), after="c1"))
    look(worker)
    assert worker.upstream.asked_after == [None]


def test_a_list_with_the_oldest_first_is_walked_to_its_end(worker: Worker) -> None:
    job = worker.lost()
    old = [an("a", at=NOW - 9000), an("b", at=NOW - 8000)]
    worker.upstream.pages.extend([page(*old, after="c1"), page(an("up_9"))])
    look(worker)
    assert worker.now(job).upstream_job_id == "up_9"


def test_one_video_on_two_pages_that_overlap_is_one_match(worker: Worker) -> None:
    job = worker.lost()
    worker.upstream.pages.extend([page(an("up_9"), after="c1"), page(an("up_9"))])
    look(worker)
    assert worker.now(job).upstream_job_id == "up_9"


def test_a_match_is_not_adopted_before_the_whole_list_was_seen(worker: Worker) -> None:
    job = worker.lost()
    worker.upstream.pages.extend([page(an("up_8"), after="c1"), SILENT])
    look(worker)
    assert worker.now(job).status is Status.SUBMITTING
    worker.time.on(2)
    worker.upstream.pages.extend([page(an("up_8"), after="c1"), page(an("up_9"))])
    look(worker)
    assert code(worker, job) == "submission_unknown"


def test_a_list_that_ignores_its_cursor_is_not_walked_for_ever(worker: Worker) -> None:
    job = worker.lost()
    worker.upstream.pages.extend([page(an("x", prompt="else"), after="same")] * 1000)
    look(worker)
    assert len(worker.upstream.asked_after) <= 200
    assert worker.events(job)[-1] == "list_unanswered"


def test_absence_is_proven_by_two_walks_of_which_the_second_is_late_enough(worker: Worker) -> None:
    with_a_known_video(worker)
    job = worker.lost()
    look(worker)
    assert worker.now(job).due_at == worker.time() + 60
    worker.time.on(60)
    look(worker)
    assert worker.now(job).status is Status.QUEUED
    assert worker.submission(job).outcome == "absent"
    worker.run(worker.submit)
    assert worker.now(job).status is Status.RENDERING
    assert [request.prompt for request in worker.upstream.posts] == ["known", "a cat", "a cat"]


def test_a_second_walk_that_began_too_early_proves_nothing_though_it_ends_late(worker: Worker) -> None:
    with_a_known_video(worker)
    job = worker.lost()
    look(worker)
    submission = worker.submission(job)
    worker.time.on(59)
    seen = worker.upstream.page

    def slow(key: object, *, after: str | None) -> object:
        worker.time.on(5)
        return seen(key, after=after)  # type: ignore[arg-type]

    worker.upstream.page = slow  # type: ignore[assignment,method-assign]
    [claimed] = worker.world.claims.due(Status.SUBMITTING, worker="a", limit=1, lease_s=60, now=worker.now(job).due_at)
    worker.reconcile.run(claimed, worker.moment())
    assert worker.now(job).status is Status.SUBMITTING
    assert worker.submission(job).walked_at == submission.walked_at


def test_a_late_first_walk_is_still_followed_by_a_second(worker: Worker) -> None:
    with_a_known_video(worker)
    job = worker.lost()
    worker.time.on(300)
    look(worker)
    assert worker.now(job).status is Status.SUBMITTING
    worker.time.on(1)
    look(worker)
    assert worker.now(job).status is Status.QUEUED


@pytest.mark.parametrize("resubmit", [False, True])
def test_a_list_that_never_showed_a_known_video_leaves_it_to_the_setting(
    make_worker: Callable[..., Worker], resubmit: bool
) -> None:
    worker = make_worker(limits=replace(LIMITS, resubmit_unknown=resubmit))
    job = worker.lost()
    look(worker)
    worker.time.on(60)
    look(worker)
    if resubmit:
        worker.run(worker.submit)
        assert worker.now(job).status is Status.RENDERING
        assert worker.slots() == 1
    else:
        assert code(worker, job) == "submission_unknown"
        assert worker.slots() == 1
        worker.live(640, every_s=40)
        assert worker.slots() == 0


@pytest.mark.parametrize("resubmit", [False, True])
def test_an_upstream_without_a_list_leaves_it_to_the_setting_at_once(
    make_worker: Callable[..., Worker], resubmit: bool
) -> None:
    worker = make_worker(limits=replace(LIMITS, resubmit_unknown=resubmit))
    worker.upstream.facts = replace(worker.upstream.facts, can_list=False)
    job = worker.lost()
    look(worker)
    assert worker.now(job).status is (Status.QUEUED if resubmit else Status.FAILED)
    assert worker.upstream.asked_after == []


def test_another_keys_list_neither_adopts_nor_proves(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker()
    with_a_known_video(worker)
    job = accepted_but_unheard(worker)
    successor = worker.again(keys=(Key(name="two", secret="s2", fingerprint="f2"),))
    look(successor)
    assert code(successor, job) == "submission_unknown"
    assert successor.upstream.asked_after == []


def test_an_upstream_that_is_no_longer_configured_is_waited_for_and_then_given_up(worker: Worker) -> None:
    job = worker.lost()
    bare = worker.again(configured=False)
    look(bare)
    assert bare.now(job).status is Status.SUBMITTING
    bare.time.on(600)
    bare.live(10, every_s=1)
    assert code(bare, job) == "submission_unknown"


def test_a_slow_submitter_is_left_alone_until_its_deadline_and_a_grace(worker: Worker) -> None:
    job = worker.posted()

    def a_long_wait() -> None:
        worker.time.on(129)
        assert worker.run(worker.reconcile) == 0

    worker.upstream.in_flight = a_long_wait
    worker.run(worker.submit)
    assert worker.now(job).status is Status.RENDERING


def test_an_answer_that_comes_while_its_orphan_is_looked_for_is_the_one_that_holds(worker: Worker) -> None:
    job = worker.posted()

    def very_late() -> None:
        worker.time.on(131)
        look(worker)

    worker.upstream.in_flight = very_late
    worker.run(worker.submit)
    now = worker.now(job)
    assert (now.status, now.upstream_job_id) == (Status.RENDERING, "up_1")
    assert worker.events(job).count("accepted") == 1
    assert worker.slots() == 1
