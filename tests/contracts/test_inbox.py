"""The inbox: a request is one video, however often it arrives and wherever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.admission import Admission
from gateway.db.engine import Database
from gateway.db.tables import clients, history, idempotency_keys, jobs, objects
from gateway.jobs.errors import KeyReused, QueueFull, Unavailable
from gateway.jobs.job import Reference, Source
from gateway.jobs.ports import Acceptance
from tests.contracts.world import NOW, World, new_job, race

T = TypeVar("T")

DAY = 86400


def post(
    world: World, client: str = "ann", *, key: str | None = "k", body: str = "b", now: float = NOW, **more: object
) -> Acceptance:
    return world.accept(new_job(client, at=now), request_hash=body, idempotency_key=key, **more)


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


# -- at once -----------------------------------------------------------------------------------------------------------


def held_up(world: World, work: Callable[[int], T], *, threads: int) -> list[T | Exception]:
    """Let the first thread be held up by a lock of the database until all others wait behind it."""
    with ThreadPoolExecutor(threads) as pool:
        with world.database.write() as connection:
            if not world.database.sqlite:  # there no row that is written holds up an acceptance
                connection.exec_driver_sql("LOCK TABLE clients")
            waiting = [pool.submit(work, number) for number in range(threads)]
            everybody_waits(world, threads - 1)
        return [future.exception() or future.result() for future in waiting]


def everybody_waits(world: World, count: int) -> None:
    pause = threading.Event()
    while len(world.inbox._together._queue) < count:
        pause.wait(0.01)


def let_in(world: World, connection: Connection, client: str, *, alone: bool) -> bool:
    """Let a request of another process in, for as long as the transaction lasts."""
    admission = Admission(world.database.engine.dialect, at_once=8)
    return client in admission.let_in(connection, {client: 1000}, alone={client} if alone else set())


def somebody_waits_for_a_lock(world: World) -> None:
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    pause = threading.Event()
    count = 0
    while not count:
        pause.wait(0.01)
        with world.database.read() as connection:
            count = connection.scalar(waiting)


def test_those_who_wait_together_are_accepted_or_refused_each_on_its_own(world: World) -> None:
    for client in ("ann", "bob"):
        post(world, client, key=None)
    room = {"ann": 9, "bob": 1}

    def one(number: int) -> Acceptance:
        client = "ab"[number % 2]
        name = {"a": "ann", "b": "bob"}[client]
        return post(world, name, key=None, max_unfinished=room[name])

    results = held_up(world, one, threads=8)
    assert [type(result).__name__ for result in results] == ["Acceptance", "QueueFull"] * 4
    assert len(world.rows(jobs)) == len(world.rows(history)) == 2 + 4


def test_what_the_database_refuses_takes_nobody_else_with_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    post(world, key=None)

    def one(number: int) -> Acceptance:
        return world.accept(new_job(seconds=None if number == 3 else 4))

    results = held_up(world, one, threads=6)
    assert [isinstance(result, sa.exc.IntegrityError) for result in results] == [number == 3 for number in range(6)]
    assert len(world.rows(jobs)) == 1 + 5
    assert caplog.text.count("could not be accepted together") == 1


def test_equal_requests_that_wait_together_make_one_video(world: World) -> None:
    post(world, key=None)
    results = held_up(world, lambda _: post(world, key="same"), threads=6)
    assert sorted(result.replayed for result in results if isinstance(result, Acceptance)) == [False] + [True] * 5
    assert len(world.rows(jobs)) == 2


def test_equal_requests_to_two_processes_make_one_video(world: World, open_database: Callable[..., Database]) -> None:
    worlds = world, World(open_database())
    post(world, key=None)
    for key in map(str, range(20)):
        results = race(partial(lambda key, number: post(worlds[number], key=key), key), threads=2)
        assert {result.replayed for result in results if isinstance(result, Acceptance)} == {False, True}
    assert len(world.rows(jobs)) == 1 + 20


def test_two_processes_fill_a_queue_exactly(world: World, open_database: Callable[..., Database]) -> None:
    worlds = world, World(open_database())
    post(world, key=None)
    for full in range(2, 22):
        results = race(
            partial(lambda full, number: post(worlds[number], key=None, max_unfinished=full), full), threads=2
        )
        assert {type(result).__name__ for result in results} == {"Acceptance", "QueueFull"}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock for all
def test_a_client_whose_row_is_held_is_let_in_all_the_same(world: World) -> None:
    post(world, "ann", key=None)
    with world.database.write() as connection:
        connection.execute(sa.update(clients).values(turn=7).where(clients.c.name == "ann"))
        assert not post(world, "ann", key=None).replayed
        assert not post(world, "ann", key="k").replayed


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock for all
@pytest.mark.parametrize(("key", "waits_for"), [(None, "ShareLock"), ("k", "ExclusiveLock")])
def test_a_client_of_whom_one_is_let_in_alone_holds_up_nobody_but_itself(
    world: World, key: str | None, waits_for: str
) -> None:
    for client in ("ann", "bob"):
        post(world, client, key=None)
    with ThreadPoolExecutor(1) as pool:
        with world.database.write() as connection:
            assert let_in(world, connection, "ann", alone=True)
            held = pool.submit(post, world, "ann", key=key)
            somebody_waits_for_a_lock(world)
            # Not alone where it need not be: whoever came meanwhile would have to wait behind it.
            assert connection.scalar(sa.text("SELECT mode FROM pg_locks WHERE NOT granted")) == waits_for
            assert not post(world, "bob", key=key).replayed
            assert not held.done()
        assert not held.result(20).replayed


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock for all
def test_who_looks_for_nothing_is_let_in_beside_others_and_who_looks_for_an_equal_is_not(world: World) -> None:
    post(world, "ann", key=None)
    with ThreadPoolExecutor(1) as pool:
        with world.database.write() as connection:
            assert let_in(world, connection, "ann", alone=False)
            assert not post(world, "ann", key=None).replayed
            looks = pool.submit(post, world, "ann", key="k")
            somebody_waits_for_a_lock(world)
            assert not looks.done()
        assert not looks.result(20).replayed


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock for all
def test_near_its_bound_a_client_is_let_in_alone_and_with_room_beside_others_again(world: World) -> None:
    made = [post(world, "ann", key=None, max_unfinished=514).job for _ in range(2)]
    with ThreadPoolExecutor(1) as pool:
        with world.database.write() as connection:
            assert let_in(world, connection, "ann", alone=False)
            assert not post(world, "ann", key=None, max_unfinished=514).replayed
            near = pool.submit(post, world, "ann", key=None, max_unfinished=514)
            somebody_waits_for_a_lock(world)
            assert not near.done()
        assert not near.result(20).replayed
    for job in made:
        world.recorder.cancel(job.id, client="ann", now=NOW)
    post(world, "ann", key=None, max_unfinished=515)
    with world.database.write() as connection:
        assert let_in(world, connection, "ann", alone=False)
        assert not post(world, "ann", key=None, max_unfinished=516).replayed


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one lock for all
def test_a_retry_whose_video_is_held_holds_up_nobody_but_itself(world: World) -> None:
    first = post(world, "ann", key=None)
    post(world, "bob", key=None)
    with ThreadPoolExecutor(1) as pool:
        with world.database.write() as connection:
            connection.execute(sa.update(jobs).values(progress=7).where(jobs.c.id == first.job.id))
            held = pool.submit(post, world, "ann", key=None, sdk_retry=1)
            somebody_waits_for_a_lock(world)
            assert not post(world, "bob", key=None).replayed
            assert not held.done()
        retried = held.result(20)
        assert (retried.replayed, retried.job.id) == (True, first.job.id)
