"""The inbox: a request is one video, however often it arrives and wherever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.db.tables import history, idempotency_keys, jobs, objects
from gateway.jobs.errors import KeyReused, QueueFull, Unavailable
from gateway.jobs.job import Reference, Source
from gateway.jobs.ports import Acceptance
from tests.contracts.world import NOW, World, new_job, post, race

DAY = 86400


def retry(world: World, client: str = "ann", *, body: str = "b", now: float = NOW, number: int = 1) -> Acceptance:
    return world.accept(new_job(client, at=now), request_hash=body, sdk_retry=number)


def test_an_accepted_job_is_there_with_its_history(world: World) -> None:
    job = new_job(metadata={"a": "b"}, extra={"seed": 1}, callback_url="https://x.example/", callback_events=("e",))
    assert world.accept(job) == Acceptance(job=job, replayed=False)
    assert world.queries.job(job.id, client="ann") == job
    row = world.row(history)
    assert (row.event, row.status_before, row.status, row.at) == ("queued", None, "queued", NOW)


def test_a_job_accepted_in_company_is_what_was_put_down(world: World) -> None:
    post(world, key=None)  # the first of a client goes another way
    job = new_job(
        at=NOW + 0.1234567,
        prompt="Käfer \U0001f41e 'und' \"so\" \\ %s :x",
        metadata={"näme": "\u2028"},
        extra={"seed": 1, "loras": [{"weight": 0.1, "name": None}], "on": True},
        callback_url="https://x.example/",
        callback_events=("video.completed", "video.failed"),
        reference=Reference(url="https://y.example/a.png"),
        routes=("main", "spare"),
        remixed_from="video_0",
        source=Source(upstream_job_id="up_0", key_fingerprint="k"),
    )
    assert world.accept(job) == Acceptance(job=job, replayed=False)
    assert world.queries.job(job.id, client="ann") == job
    row = world.rows(history, job_id=job.id)[0]
    assert (row.event, row.status_before, row.status, row.at, row.detail) == (
        "queued",
        None,
        "queued",
        job.created_at,
        {},
    )
    raw = world.rows(jobs, id=job.id)[0]
    assert (raw.request_hash, raw.sdk_retry, raw.variants, raw.progress) == (job.id, 0, None, job.progress)


# -- idempotency keys --------------------------------------------------------------------------------------------------


def test_the_same_key_and_body_give_the_first_video_again(world: World) -> None:
    first, second = post(world), post(world, now=NOW + 5)
    assert (second.replayed, second.job) == (True, first.job)
    assert len(world.rows(jobs)) == len(world.rows(history)) == 1
    found = world.inbox.replay("ann", request_hash="b", idempotency_key="k", now=NOW + 5)
    assert found == first.job


def test_a_replay_shows_the_video_as_it_is_by_now(world: World) -> None:
    job = post(world).job
    world.recorder.cancel(job.id, client="ann", now=NOW)
    assert post(world).job.status == "cancelled"


def test_the_same_key_with_another_body_is_refused(world: World) -> None:
    post(world)
    with pytest.raises(KeyReused) as refused:
        post(world, body="other")
    assert refused.value.code == "idempotency_key_reused"
    with pytest.raises(KeyReused):
        world.inbox.replay("ann", request_hash="other", idempotency_key="k", now=NOW)
    assert len(world.rows(jobs)) == 1


def test_a_key_belongs_to_its_client(world: World) -> None:
    ann, bob = post(world), post(world, "bob", body="other")
    assert not bob.replayed
    assert bob.job.id != ann.job.id
    assert world.inbox.replay("cid", request_hash="b", idempotency_key="k", now=NOW) is None


@pytest.mark.parametrize("key", ["", "a" * 255, "käse", "'; DROP TABLE jobs; --", "%", "🎬"])
def test_any_text_may_be_a_key(world: World, key: str) -> None:
    assert post(world, key=key).job == post(world, key=key).job
    assert not post(world, key=key + "x").replayed


def test_a_key_is_forgotten_after_a_day(world: World) -> None:
    first = post(world)
    assert post(world, now=NOW + DAY - 1).replayed
    assert world.inbox.replay("ann", request_hash="b", idempotency_key="k", now=NOW + DAY + 1) is None
    second = post(world, body="other", now=NOW + DAY + 1)
    assert not second.replayed
    assert second.job.id != first.job.id
    assert post(world, body="other", now=NOW + 2 * DAY).job == second.job


def test_old_keys_are_dropped_in_batches(world: World) -> None:
    for number in range(5):
        post(world, key=f"k{number}", now=NOW + number)
    assert [world.inbox.forget_keys(now=NOW + DAY + 3.5, limit=3) for _ in range(3)] == [3, 1, 0]
    assert [row.key for row in world.rows(idempotency_keys)] == ["k4"]


def test_sixteen_equal_requests_at_once_make_one_video_and_all_get_it(world: World) -> None:
    results = race(lambda _: post(world))
    assert [result for result in results if not isinstance(result, Acceptance)] == []
    assert sum(not result.replayed for result in results) == 1  # type: ignore[union-attr]
    assert len({result.job.id for result in results}) == 1  # type: ignore[union-attr]
    assert len(world.rows(jobs)) == 1


def test_of_sixteen_different_requests_with_one_key_one_is_accepted(world: World) -> None:
    results = race(lambda number: post(world, body=f"b{number}"))
    assert sum(isinstance(result, Acceptance) for result in results) == 1
    assert sum(isinstance(result, KeyReused) for result in results) == 15


def test_sixteen_requests_with_an_expired_key_make_one_new_video(world: World) -> None:
    post(world)
    results = race(lambda _: post(world, body="other", now=NOW + DAY + 1))
    assert len({result.job.id for result in results}) == 1  # type: ignore[union-attr]
    assert len(world.rows(jobs)) == 2


# -- retries by the SDK ------------------------------------------------------------------------------------------------


def test_an_sdks_retry_is_answered_with_the_video_that_its_first_try_made(world: World) -> None:
    first = post(world, key=None)
    again = retry(world, now=NOW + 5)
    assert (again.replayed, again.job.id) == (True, first.job.id)


def test_every_retry_of_one_call_gets_the_same_video(world: World) -> None:
    first = post(world, key=None)
    assert [retry(world, number=number).job.id for number in (1, 2, 3)] == [first.job.id] * 3


def test_retries_of_a_call_whose_first_try_never_came_get_the_video_that_the_first_of_them_made(world: World) -> None:
    made = retry(world, number=1)
    assert not made.replayed
    assert retry(world, number=2).job.id == made.job.id


def test_a_first_retry_of_another_call_is_not_matched_again(world: World) -> None:
    first = post(world, key=None)
    assert retry(world).job.id == first.job.id
    second = retry(world)
    assert not second.replayed
    assert not retry(world).replayed


def test_two_equal_calls_that_are_both_retried_twice_make_two_videos(world: World) -> None:
    made = {post(world, key=None).job.id for _ in range(2)}
    for number in (1, 2):
        assert {retry(world, number=number).job.id for _ in range(2)} == made


def test_two_equal_videos_are_matched_by_two_retries_the_oldest_first(world: World) -> None:
    made = [post(world, key=None, now=NOW + number).job.id for number in range(2)]
    assert [retry(world, now=NOW + 9).job.id for _ in range(2)] == made


@pytest.mark.parametrize(
    "other", [{"body": "other"}, {"client": "bob"}, {"now": NOW + 601}], ids=["body", "client", "too late"]
)
def test_a_retry_is_not_matched_to_what_it_is_not(world: World, other: dict[str, object]) -> None:
    post(world, key=None)
    assert not retry(world, **other).replayed  # type: ignore[arg-type]


def test_a_retry_is_not_answered_with_a_deleted_video(world: World) -> None:
    world.recorder.erase(post(world, key=None).job.id, client="ann", now=NOW)
    assert not retry(world).replayed


def test_equal_requests_that_are_no_retries_are_all_made(world: World) -> None:
    assert len({post(world, key=None).job.id for _ in range(3)}) == 3


def test_sixteen_retries_at_once_share_out_the_videos_without_one_being_given_twice(world: World) -> None:
    made = {post(world, key=None).job.id for _ in range(8)}
    results = race(lambda _: retry(world))
    replayed = [result.job.id for result in results if isinstance(result, Acceptance) and result.replayed]
    fresh = [result.job.id for result in results if isinstance(result, Acceptance) and not result.replayed]
    assert len(replayed) + len(fresh) == 16
    assert made <= set(replayed)
    assert len(replayed) == len(set(replayed))


# -- the queue's bound -------------------------------------------------------------------------------------------------


def test_the_queue_is_full_exactly_at_the_limit(world: World) -> None:
    for _ in range(3):
        post(world, key=None, max_unfinished=3)
    with pytest.raises(QueueFull):
        post(world, key=None, max_unfinished=3)
    assert not post(world, "bob", key=None, max_unfinished=3).replayed


def test_sixteen_requests_at_once_fill_the_queue_exactly(world: World) -> None:
    results = race(lambda _: post(world, key=None, max_unfinished=5))
    assert sum(isinstance(result, Acceptance) for result in results) == 5
    assert sum(isinstance(result, QueueFull) for result in results) == 11
    assert len(world.rows(jobs)) == 5


def test_what_is_finished_or_deleted_makes_room(world: World) -> None:
    job = post(world, key=None, max_unfinished=2).job
    other = post(world, key=None, max_unfinished=2).job
    world.recorder.cancel(job.id, client="ann", now=NOW)
    post(world, key=None, max_unfinished=2)
    world.recorder.erase(other.id, client="ann", now=NOW)
    assert not post(world, key=None, max_unfinished=2).replayed


def test_a_repeat_is_answered_even_when_the_queue_is_full(world: World) -> None:
    post(world, max_unfinished=1)
    assert post(world, max_unfinished=1).replayed


def test_a_refused_request_leaves_no_key_behind(world: World) -> None:
    post(world, key=None)
    with pytest.raises(QueueFull):
        post(world, key="new", max_unfinished=1)
    assert world.rows(idempotency_keys) == []


# -- pictures ----------------------------------------------------------------------------------------------------------


def with_picture() -> Reference:
    return Reference(content_type="image/png", sha256="ab", size=3, object_key="ref.png")


def test_the_picture_of_an_accepted_job_is_kept(world: World) -> None:
    world.ledger.begin("ref.png", until=NOW + 60, now=NOW)
    world.queued(reference=with_picture())
    assert (world.row(objects).state, world.row(objects).due_at) == ("kept", None)


def test_a_replay_leaves_the_picture_of_the_second_request_to_the_sweep(world: World) -> None:
    post(world)
    world.ledger.begin("ref.png", until=NOW + 60, now=NOW)
    job = replace(new_job(), reference=with_picture())
    assert world.accept(job, request_hash="b", idempotency_key="k").replayed
    assert world.row(objects).state == "writing"


def test_a_job_whose_picture_the_sweep_has_taken_is_not_accepted(world: World) -> None:
    world.ledger.begin("ref.png", until=NOW, now=NOW)
    world.ledger.leftovers(limit=1, lease_s=60, now=NOW)
    with pytest.raises(Unavailable):
        world.queued(reference=with_picture())
    assert world.rows(jobs) == []
