"""Submitting: what each answer makes of a job, and what the database knows before money can be spent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Job, Status
from gateway.upstreams.port import Accepted, Key, KeyRefused, NotAccepted, NotSent, Refused, SubmitOutcome, Unknown
from tests.worker_remotes import SAID, ScriptedUpstream
from tests.worker_world import Worker


def refuses(reason: str = "auth") -> KeyRefused:
    return KeyRefused(reason=reason, message="no such key", answer=SAID)  # type: ignore[arg-type]


def test_an_accepted_job_renders_under_the_upstreams_id_and_keeps_its_slot(worker: Worker) -> None:
    job = worker.rendering()
    assert (job.status, job.upstream_job_id, job.upstream, job.upstream_key) == (
        Status.RENDERING,
        "up_1",
        "main",
        "one",
    )
    assert (job.accepted_at, job.due_at) == (worker.time(), worker.time() + 30)
    assert worker.submission(job).outcome == "accepted"
    assert worker.slots() == 1
    assert worker.events(job) == ["queued", "submitting", "accepted"]


def test_the_intent_is_on_disk_and_the_claim_held_before_a_byte_leaves(worker: Worker) -> None:
    seen: list[tuple[Status, str, int]] = []
    job = worker.posted()
    worker.upstream.before_the_byte = lambda: seen.append(
        (worker.now(job).status, worker.submission(job).outcome, worker.slots())
    )
    worker.run(worker.submit)
    assert seen == [(Status.SUBMITTING, "unknown", 1)]


def test_a_refused_job_fails_with_the_upstreams_reason_and_frees_its_slot(worker: Worker) -> None:
    worker.upstream.submits.append(Refused(code="content_policy_violation", message="not this", answer=SAID))
    job = worker.rendering()
    assert job.status is Status.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.message) == ("content_policy_violation", "not this")
    assert worker.submission(job).outcome == "refused"
    assert worker.slots() == 0


@pytest.mark.parametrize(("asked_s", "wait_s"), [(None, 2), (1.0, 2), (45.0, 45)])
def test_a_job_not_accepted_goes_back_to_the_queue_for_as_long_as_was_asked(
    worker: Worker, asked_s: float | None, wait_s: float
) -> None:
    worker.upstream.submits.append(NotAccepted(reason="rate", answer=SAID, retry_after_s=asked_s))
    job = worker.rendering()
    assert (job.status, job.due_at, job.tries) == (Status.QUEUED, worker.time() + wait_s, 1)
    assert worker.submission(job).outcome == "absent"
    assert worker.slots() == 0


def test_the_next_job_does_not_run_into_the_same_429(worker: Worker) -> None:
    worker.upstream.submits.append(NotAccepted(reason="rate", answer=SAID, retry_after_s=20))
    worker.posted()
    worker.run(worker.submit, limit=1)
    worker.posted()
    worker.time.on(19)
    assert worker.run(worker.submit) == 0
    worker.time.on(1)
    assert worker.run(worker.submit) == 2
    assert len(worker.upstream.posts) == 3


def test_one_upstreams_long_retry_after_holds_up_one_job_and_not_all(worker: Worker) -> None:
    worker.upstream.submits.append(NotAccepted(reason="rate", answer=SAID, retry_after_s=3000))
    job = worker.rendering()
    other = worker.posted(prompt="a dog")
    worker.time.on(60)
    assert worker.run(worker.submit) == 1
    assert worker.now(other).status is Status.RENDERING
    assert worker.now(job).due_at == job.due_at


@pytest.mark.parametrize("reason", ["auth", "quota"])
def test_a_refused_key_fails_no_job_and_is_probed_by_one_real_submit_further_off_each_time(
    worker: Worker, reason: str
) -> None:
    worker.upstream.submits.extend([refuses(reason)] * 3)
    jobs = [worker.posted(prompt=f"cat {n}") for n in range(3)]
    worker.run(worker.submit, limit=1)
    [state] = worker.world.queries.upstream_keys()
    assert (state.pause_reason, state.last_answer) == (reason, "no such key")
    tried: list[float] = []
    for _ in range(200):
        worker.time.on(1)
        tried += [worker.time()] * worker.run(worker.submit)
    began = worker.time() - 200
    assert [at - began for at in tried[:2]] == [30, 90]
    assert {worker.now(job).status for job in jobs} == {Status.QUEUED}
    assert worker.slots() == 0


def test_an_answered_probe_opens_the_key_for_everybody(worker: Worker) -> None:
    worker.upstream.submits.append(refuses())
    jobs = [worker.posted(prompt=f"cat {n}") for n in range(3)]
    worker.run(worker.submit, limit=1)
    worker.time.on(30)
    assert worker.run(worker.submit) == 1
    assert worker.world.queries.upstream_keys()[0].paused_at is None
    worker.run(worker.submit)
    assert {worker.now(job).status for job in jobs} == {Status.RENDERING}


def test_a_second_key_is_used_while_the_first_is_refused(make_worker: Callable[..., Worker]) -> None:
    keys = (Key(name="one", secret="s1", fingerprint="f1"), Key(name="two", secret="s2", fingerprint="f2"))
    worker = make_worker(keys=keys)
    worker.upstream.submits.append(refuses())
    job = worker.posted()
    worker.run(worker.submit)
    worker.time.on(1)
    worker.run(worker.submit)
    assert worker.now(job).upstream_key == "two"
    assert worker.upstream.keys == ["one", "two"]


def test_a_lost_answer_is_handed_to_the_reconciler_at_once_and_keeps_its_slot(worker: Worker) -> None:
    job = worker.lost()
    assert (job.status, job.due_at) == (Status.SUBMITTING, worker.time())
    submission = worker.submission(job)
    assert (submission.outcome, submission.closed_at) == ("unknown", worker.time())
    assert worker.slots() == 1
    assert worker.events(job)[-1] == "submit_unanswered"


def test_a_submit_that_sends_nothing_is_no_doubt_and_comes_again_soon(worker: Worker) -> None:
    worker.upstream.submits.append(NotSent())
    job = worker.rendering()
    assert (job.status, job.due_at) == (Status.QUEUED, worker.time() + 2)
    assert worker.submission(job).outcome == "absent"


def test_nothing_is_sent_when_five_seconds_passed_since_the_intent(worker: Worker) -> None:
    worker.upstream.before_the_byte = lambda: worker.time.on(5)
    job = worker.rendering()
    assert worker.upstream.posts == []
    assert (job.status, worker.slots()) == (Status.QUEUED, 0)


def test_nothing_is_sent_when_asking_for_the_claim_took_five_seconds(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = worker.world.claims.holds

    def slowly(job: Job) -> bool:
        held = holds(job)
        worker.time.on(5)
        return held

    monkeypatch.setattr(worker.world.claims, "holds", slowly)
    assert worker.rendering().status is Status.QUEUED
    assert worker.upstream.posts == []


def test_nothing_is_sent_when_the_database_cannot_say_whose_the_claim_is(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(job: Job) -> bool:
        raise Unavailable("away", code="unavailable")

    monkeypatch.setattr(worker.world.claims, "holds", away)
    assert worker.rendering().status is Status.QUEUED
    assert worker.upstream.posts == []


def test_nothing_is_sent_when_another_worker_has_taken_the_job_over(worker: Worker) -> None:
    def frozen_for_long() -> None:
        worker.world.claims.due(Status.SUBMITTING, worker="b", limit=1, lease_s=60, now=worker.time() + 130)

    worker.upstream.before_the_byte = frozen_for_long
    worker.rendering()
    assert worker.upstream.posts == []


@pytest.mark.parametrize("erased", [False, True])
def test_nothing_is_sent_when_the_client_cancelled_right_before(worker: Worker, erased: bool) -> None:
    job = worker.posted()
    worker.upstream.before_the_byte = lambda: stop(worker, job, erased=erased)
    worker.run(worker.submit)
    assert worker.upstream.posts == []
    assert worker.now(job).status is Status.CANCELLED
    assert worker.slots() == 0


def stop(worker: Worker, job: Job, *, erased: bool) -> None:
    if erased:
        worker.world.recorder.erase(job.id, client=job.client, now=worker.time())
    else:
        worker.world.recorder.cancel(job.id, client=job.client, now=worker.time())


@pytest.mark.parametrize("erased", [False, True])
@pytest.mark.parametrize("looked_at_meanwhile", [False, True])
def test_a_job_stopped_while_its_post_is_in_flight_keeps_the_accepted_id_and_is_cleaned_up(
    worker: Worker, erased: bool, looked_at_meanwhile: bool
) -> None:
    job = worker.posted()
    worker.upstream.facts = worker.upstream.facts.__class__(
        name="scripted", models={}, prompt_max=1, can_list=True, can_cancel=True
    )

    def meanwhile() -> None:
        stop(worker, job, erased=erased)
        if looked_at_meanwhile:
            worker.run(worker.abandoned)
        worker.time.on(3)

    worker.upstream.in_flight = meanwhile
    worker.run(worker.submit)
    assert worker.now(job).status is Status.CANCELLED
    submission = worker.submission(job)
    assert (submission.outcome, submission.upstream_job_id) == ("accepted", "up_1")
    assert worker.slots() == 1
    worker.live(60)
    assert worker.upstream.cancels == ["up_1"]
    assert worker.slots() == 0
    assert worker.now(job).status is Status.CANCELLED


@pytest.mark.parametrize(
    "outcome",
    [
        Refused(code="invalid_request", message="no", answer=SAID),
        NotAccepted(reason="rate", answer=SAID),
        refuses(),
        Unknown(reason="timeout", answer=SAID),
        NotSent(),
    ],
)
def test_a_cancelled_job_stays_cancelled_whatever_the_answer_and_its_slot_is_freed_in_time(
    worker: Worker, outcome: SubmitOutcome
) -> None:
    job = worker.posted()
    worker.upstream.submits.append(outcome)
    worker.upstream.in_flight = lambda: stop(worker, job, erased=False)
    worker.run(worker.submit)
    assert worker.now(job).status is Status.CANCELLED
    worker.live(640, every_s=30)
    assert worker.slots() == 0
    assert worker.now(job).status is Status.CANCELLED


def test_an_id_that_belongs_to_another_video_fails_the_job_and_is_not_submitted_again(worker: Worker) -> None:
    first = worker.rendering()
    worker.upstream.submits.append(Accepted(upstream_job_id="up_1", answer=SAID))
    second = worker.rendering(prompt="a dog")
    assert second.status is Status.FAILED
    assert second.error is not None
    assert second.error.code == "submission_unknown"
    assert worker.now(first).status is Status.RENDERING
    worker.live(100)
    assert len(worker.upstream.posts) == 2


def test_an_accepted_answer_is_written_when_the_database_was_away_for_a_moment(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = worker.world.submissions.accepted
    tries: list[str] = []

    def at_the_third(*args: object, **named: object) -> None:
        tries.append("try")
        if len(tries) < 3:
            raise Unavailable("away", code="unavailable")
        accepted(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(worker.world.submissions, "accepted", at_the_third)
    assert worker.rendering().status is Status.RENDERING


def test_no_more_is_submitted_than_the_key_has_room_for(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(max_concurrent=2)
    for number in range(4):
        worker.posted(prompt=f"cat {number}")
    assert worker.run(worker.submit) == 2
    assert worker.run(worker.submit) == 0
    worker.time.on(30)
    worker.run(worker.poll)
    assert worker.run(worker.submit) == 2


def test_the_loser_of_the_last_slot_waits_a_little_and_sends_nothing(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(max_concurrent=1)
    late = worker.posted()
    [piece] = worker.submit.claim(worker="a", limit=1, moment=worker.moment())
    generous = worker.again(name="worker-b", max_concurrent=2, upstream=ScriptedUpstream(worker.time))
    generous.rendering(prompt="a dog")
    piece()
    assert worker.upstream.posts == []
    assert (worker.now(late).status, worker.now(late).due_at) == (Status.QUEUED, worker.time() + 2)


def test_a_twin_of_an_unresolved_submit_waits_until_that_is_settled(worker: Worker) -> None:
    worker.upstream.facts = worker.upstream.facts.__class__(
        name="scripted", models={}, prompt_max=1, can_list=False, can_cancel=False
    )
    first = worker.lost()
    twin = worker.posted("bob")
    worker.run(worker.submit)
    assert (worker.now(twin).status, worker.now(twin).due_at) == (Status.QUEUED, worker.time() + 2)
    assert len(worker.upstream.posts) == 1
    worker.live(640, every_s=20)
    assert worker.now(first).status is Status.FAILED
    assert worker.now(twin).status is not Status.QUEUED
    assert len(worker.upstream.posts) == 2


def test_a_single_video_is_among_the_next_though_another_client_has_hundreds_waiting(worker: Worker) -> None:
    for number in range(500):
        worker.posted("ann", prompt=f"cat {number}")
    worker.run(worker.submit)
    single = worker.posted("bob", prompt="one dog")
    for made in list(worker.world.queries.upstream_keys()):
        assert made.slots_used == 5
    worker.time.on(30)
    worker.run(worker.poll)
    worker.run(worker.submit, limit=2)
    assert worker.now(single).status is Status.RENDERING


def test_no_minute_holds_more_requests_than_the_rate_allows_and_none_is_lost(
    make_worker: Callable[..., Worker],
) -> None:
    worker = make_worker(requests_per_minute=6, max_concurrent=50)
    jobs = [worker.posted(prompt=f"cat {number}") for number in range(10)]
    writes: list[float] = []
    for _ in range(600):
        before = len(worker.upstream.posts)
        worker.run(worker.submit)
        writes += [worker.time()] * (len(worker.upstream.posts) - before)
        worker.time.on(0.2)
    assert len(writes) == 10
    for at in writes:
        assert sum(at <= other < at + 60 for other in writes) <= 6
    assert {worker.now(job).status for job in jobs} == {Status.RENDERING}


def test_a_spent_rate_costs_no_writes_at_every_tick(
    make_worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = make_worker(requests_per_minute=6)
    for number in range(10):
        worker.posted(prompt=f"cat {number}")
    worker.run(worker.submit)
    taken: list[str] = []
    take_turn = worker.world.submissions.take_turn

    def counted(*args: object, **named: object) -> object:
        taken.append("turn")
        return take_turn(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(worker.world.submissions, "take_turn", counted)
    for _ in range(50):
        worker.run(worker.submit)
        worker.time.on(0.1)
    assert len(taken) <= 1
