"""Polling: what each answer makes of a video, and how long one is waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.db.tables import deliveries, jobs, metadata
from gateway.jobs.job import Job, Status
from gateway.upstreams.port import Failed, Finished, Key, KeyRefused, Missing, NoAnswer, PollOutcome, Unfinished
from tests.worker_remotes import EVENTS, HOOK, SAID
from tests.worker_world import LIMITS, Worker

GONE = Missing(answer=SAID)
SILENT = NoAnswer(reason="502", answer=SAID)
REFUSED = KeyRefused(reason="auth", message="no", answer=SAID)


def at(percent: int | None) -> Unfinished:
    return Unfinished(progress=percent, answer=SAID)


def poll(worker: Worker, job: Job, *outcomes: PollOutcome) -> Job:
    """Let the next polls of a video bring these, each when it is due."""
    for outcome in outcomes:
        worker.time.now = max(worker.time.now, worker.now(job).due_at)
        worker.upstream.polls.append(outcome)
        assert worker.run(worker.poll) == 1
    return worker.now(job)


def code(job: Job) -> str | None:
    return job.error.code if job.error else None


def test_progress_is_noted_never_goes_back_and_is_100_only_when_the_video_is_stored(worker: Worker) -> None:
    job = worker.rendering()
    assert [poll(worker, job, at(percent)).progress for percent in (10, 5, None, 40, 100)] == [10, 10, 10, 40, 99]
    assert poll(worker, job, Finished(answer=SAID)).status is Status.STORING
    worker.run(worker.transfer)
    assert worker.now(job).progress == 100


def test_a_change_of_progress_is_told_to_whoever_subscribed(worker: Worker) -> None:
    job = worker.rendering(callback_url=HOOK, callback_events=EVENTS)
    poll(worker, job, at(10), at(10), at(20))
    told = worker.world.rows(deliveries, job_id=job.id)
    assert [row.type for row in told] == ["video.in_progress"] * 2
    assert [row.facts["progress"] for row in told] == [10, 20]


@pytest.mark.parametrize("percent", [None, 0, 50, 100])
def test_a_poll_that_learns_nothing_writes_nothing_but_its_claim(worker: Worker, percent: int | None) -> None:
    job = worker.rendering()
    before = poll(worker, job, at(percent))
    events = worker.events(job)
    after = poll(worker, job, at(percent))
    assert worker.events(job) == events
    assert (after.version, after.claim_token) == (before.version, before.claim_token + 1)
    assert after.due_at == worker.time() + 30


def test_a_poll_is_due_by_the_videos_clock_also_where_an_answer_may_take_longer(
    make_worker: Callable[..., Worker],
) -> None:
    worker = make_worker(limits=replace(LIMITS, poll_interval_s=2, poll_timeout_s=15))
    job = worker.rendering()
    assert poll(worker, job, at(None)).due_at == worker.time() + 2


def test_a_poll_that_takes_longer_than_its_interval_is_not_made_twice_at_once(
    make_worker: Callable[..., Worker],
) -> None:
    worker = make_worker(limits=replace(LIMITS, poll_interval_s=2, poll_timeout_s=15))
    worker.rendering()
    worker.time.on(2)
    [piece] = worker.poll.claim(worker="a", limit=5, moment=worker.moment())
    worker.time.on(14)
    assert worker.poll.claim(worker="b", limit=5, moment=worker.moment()) == []
    piece()


def test_each_video_is_polled_by_its_own_clock(worker: Worker) -> None:
    worker.upstream.unfinished_polls = 100
    first = worker.rendering()
    worker.time.on(7)
    second = worker.rendering(prompt="a dog")
    polled: dict[str, list[float]] = {"up_1": [], "up_2": []}
    began = worker.time() - 7
    for _ in range(100):
        worker.time.on(1)
        seen = len(worker.upstream.polled)
        worker.run(worker.poll)
        for upstream_job_id in worker.upstream.polled[seen:]:
            polled[upstream_job_id].append(worker.time() - began)
    assert polled[first.upstream_job_id or ""] == [30, 60, 90]
    assert polled[second.upstream_job_id or ""] == [37, 67, 97]


def test_a_finished_video_frees_its_slot_and_is_fetched_at_once(worker: Worker) -> None:
    job = worker.rendering()
    done = poll(worker, job, Finished(answer=SAID, expires_at=worker.time() + 900))
    assert (done.status, done.due_at, done.rendered_at) == (Status.STORING, worker.time(), worker.time())
    assert worker.slots() == 0


def test_the_upstreams_links_to_a_finished_video_do_not_lie_in_the_database(worker: Worker) -> None:
    job = worker.rendering()
    poll(worker, job, Finished(answer=SAID, content_urls=("https://cdn.example/v?sig=1",)))
    assert "cdn.example" not in str([worker.world.rows(table) for table in metadata.sorted_tables])


def test_a_video_that_failed_upstream_says_why_and_frees_its_slot(worker: Worker) -> None:
    job = worker.rendering()
    done = poll(worker, job, Failed(code="content_policy_violation", message="not this", answer=SAID))
    assert done.error is not None
    assert (done.error.code, done.error.message) == ("content_policy_violation", "not this")
    assert worker.slots() == 0


@pytest.mark.parametrize("hiccup", [SILENT, GONE, REFUSED])
def test_a_hiccup_is_written_down_and_forgotten_at_the_next_valid_answer(worker: Worker, hiccup: PollOutcome) -> None:
    job = worker.rendering()
    poll(worker, job, at(10), hiccup, hiccup)
    again = poll(worker, job, at(10))
    assert (again.status, again.tries, again.missing, again.missing_since) == (Status.RENDERING, 0, 0, None)
    assert worker.events(job)[-1] == "answered"


def test_404_is_final_at_the_fourth_in_a_row(worker: Worker) -> None:
    job = worker.rendering()
    assert poll(worker, job, GONE, GONE, GONE).status is Status.RENDERING
    lost = poll(worker, job, GONE)
    assert code(lost) == "upstream_job_lost"
    assert worker.slots() == 0


def test_404s_with_a_valid_answer_between_them_are_not_in_a_row(worker: Worker) -> None:
    job = worker.rendering()
    assert poll(worker, job, GONE, GONE, GONE, at(10), GONE, GONE, GONE).status is Status.RENDERING


def test_404s_that_follow_each_other_too_quickly_are_no_proof(worker: Worker) -> None:
    job = worker.rendering()
    for _ in range(6):
        poll(worker, job, GONE)
        with worker.database.write() as connection:
            connection.execute(jobs.update().values(due_at=worker.time()))
    assert worker.now(job).status is Status.RENDERING


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_404_under_a_key_that_replaced_the_one_that_accepted_says_nothing(worker: Worker, name: str) -> None:
    job = worker.rendering()
    other = worker.again(keys=(Key(name=name, secret="new", fingerprint="f-new"),))
    assert poll(other, job, GONE, GONE, GONE, GONE, GONE).status is Status.RENDERING


def test_a_video_is_asked_about_with_the_key_that_accepted_it_wherever_that_now_stands(worker: Worker) -> None:
    job = worker.rendering()
    moved = (Key(name="one", secret="s2", fingerprint="f2"), Key(name="two", secret="s1", fingerprint="f1"))
    lost = poll(worker.again(keys=moved), job, GONE, GONE, GONE, GONE)
    assert code(lost) == "upstream_job_lost"


def test_a_404_under_another_key_than_the_one_that_accepted_says_nothing(worker: Worker) -> None:
    job = worker.rendering()
    successor = worker.again(keys=(Key(name="other", secret="s9", fingerprint="f9"),))
    assert poll(successor, job, *[GONE] * 8).status is Status.RENDERING


def test_a_video_fails_at_the_first_unfinished_answer_after_the_longest_wait(worker: Worker) -> None:
    job = worker.rendering()
    began = worker.time()
    while worker.now(job).status is Status.RENDERING:
        poll(worker, job, at(50))
    assert worker.time() - began == 630
    assert code(worker.now(job)) == "upstream_timeout"
    assert worker.slots() == 1


def test_a_video_that_is_finished_after_the_longest_wait_is_stored_all_the_same(worker: Worker) -> None:
    job = worker.rendering()
    worker.time.on(5000)
    assert poll(worker, job, Finished(answer=SAID)).status is Status.STORING


def test_without_valid_answers_a_video_is_waited_for_three_times_as_long(worker: Worker) -> None:
    job = worker.rendering()
    began = worker.time()
    while worker.now(job).status is Status.RENDERING:
        poll(worker, job, SILENT)
    assert worker.time() - began == 1830
    assert code(worker.now(job)) == "upstream_timeout"


def test_a_video_that_nobody_asked_about_for_long_is_not_given_up_at_the_first_silence(worker: Worker) -> None:
    job = worker.rendering()
    worker.time.on(20_000)
    assert poll(worker, job, *[SILENT] * 11).status is Status.RENDERING
    assert poll(worker, job, Finished(answer=SAID)).status is Status.STORING


def test_silence_after_nobody_had_asked_for_long_ends_a_video_too(worker: Worker) -> None:
    job = worker.rendering()
    worker.time.on(20_000)
    assert code(poll(worker, job, *[SILENT] * 12)) == "upstream_timeout"


def test_a_long_retry_after_does_not_put_a_video_to_sleep_until_its_deadline(worker: Worker) -> None:
    job = worker.rendering()
    waits = poll(worker, job, NoAnswer(reason="429", answer=SAID, retry_after_s=3000)).due_at - worker.time()
    assert waits == 150


def test_while_its_key_is_refused_a_videos_deadline_stands_still(worker: Worker) -> None:
    job = worker.rendering()
    poll(worker, job, *[REFUSED] * 100)
    assert worker.time() - job.created_at == 3000
    assert poll(worker, job, at(10)).status is Status.RENDERING
    assert worker.world.queries.upstream_keys()[0].pause_reason == "auth"
    began = worker.time()
    while worker.now(job).status is Status.RENDERING:
        poll(worker, job, at(10))
    assert 540 <= worker.time() - began <= 630


@pytest.mark.parametrize(("reason", "expected"), [("auth", "upstream_auth"), ("quota", "insufficient_quota")])
def test_a_key_refused_for_as_long_as_a_video_may_queue_ends_the_wait(
    make_worker: Callable[..., Worker], reason: str, expected: str
) -> None:
    worker = make_worker(limits=replace(LIMITS, queue_timeout_s=120))
    job = worker.rendering()
    refused = KeyRefused(reason=reason, message="no", answer=SAID)  # type: ignore[arg-type]
    assert poll(worker, job, *[refused] * 4).status is Status.RENDERING
    assert code(poll(worker, job, refused)) == expected


def test_a_video_of_an_upstream_that_is_no_longer_configured_ends_too(worker: Worker) -> None:
    job = worker.rendering()
    bare = worker.again(configured=False)
    began = bare.time()
    while bare.now(job).status is Status.RENDERING:
        bare.time.now = max(bare.time.now, bare.now(job).due_at)
        assert bare.run(bare.poll) == 1
    assert bare.time() - began == 1830
    assert code(bare.now(job)) == "upstream_timeout"


def test_polls_wait_for_the_keys_rate_and_all_get_their_turn(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(max_concurrent=20)
    for number in range(8):
        worker.posted(prompt=f"cat {number}")
    worker.run(worker.submit)
    worker.upstream.unfinished_polls = 100
    slow = worker.again(requests_per_minute=12)
    polled: list[float] = []
    for _ in range(120):
        slow.time.on(1)
        polled += [slow.time()] * slow.run(slow.poll)
    for instant in polled:
        assert sum(instant <= other < instant + 60 for other in polled) <= 12
    assert set(worker.upstream.polled) == {f"up_{number}" for number in range(1, 9)}


def test_an_answer_for_a_video_that_was_cancelled_meanwhile_changes_nothing(worker: Worker) -> None:
    job = worker.rendering()
    worker.time.on(30)
    [piece] = worker.poll.claim(worker="a", limit=1, moment=worker.moment())
    worker.world.recorder.cancel(job.id, client="ann", now=worker.time())
    piece()
    assert worker.now(job).status is Status.CANCELLED
    assert worker.events(job)[-1] == "cancelled"
