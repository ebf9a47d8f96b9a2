"""Transfers under their lease: it lasts as long as bytes move, and no longer."""

from __future__ import annotations

import pytest

from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Job, Status
from tests.service.test_worker_transfer import fetch, states
from tests.worker_remotes import FILM, film
from tests.worker_world import Worker


def test_a_slow_transfer_keeps_its_claim_and_its_object_for_as_long_as_bytes_move(worker: Worker) -> None:
    job = worker.storing()

    def slowly() -> None:
        worker.time.on(30)
        assert worker.run(worker.transfer) == 0
        worker.housekeeping.sweep(worker.time())

    long_film = FILM * 10
    done = fetch(worker, job, film(long_film, at=slowly))
    assert worker.time() - job.created_at > 1000
    assert done.stored is not None
    assert worker.bucket.objects[done.stored.object_key] == long_film


def test_a_slow_first_byte_is_waited_for_by_one_try_alone(worker: Worker) -> None:
    worker.storing()
    [piece] = worker.transfer.claim(worker="a", limit=5, moment=worker.moment())
    worker.time.on(240)
    assert worker.transfer.claim(worker="b", limit=5, moment=worker.moment()) == []
    piece()


def test_a_lease_is_written_at_every_third_and_not_at_every_part(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = worker.storing()
    extended: list[float] = []
    extend = worker.world.claims.extend

    def counted(job: Job, *, until: float) -> bool:
        extended.append(until)
        return extend(job, until=until)

    monkeypatch.setattr(worker.world.claims, "extend", counted)
    fetch(worker, job, film(FILM * 10, at=lambda: worker.time.on(1)))
    moved_s = worker.time() - job.created_at - 30
    assert len(extended) == int(moved_s // 40)


def test_a_database_that_is_busy_for_a_moment_does_not_end_a_transfer(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = worker.storing()
    extend = worker.world.claims.extend
    tried: list[float] = []

    def busy_at_first(job: Job, *, until: float) -> bool:
        tried.append(until)
        if len(tried) < 3:
            raise Unavailable("busy", code="unavailable")
        return extend(job, until=until)

    monkeypatch.setattr(worker.world.claims, "extend", busy_at_first)
    assert fetch(worker, job, film(FILM * 10, at=lambda: worker.time.on(10))).status is Status.COMPLETED


def test_a_transfer_is_given_up_when_its_lease_ran_out_unextended(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = worker.storing()

    def away(job: Job, *, until: float) -> bool:
        raise Unavailable("away", code="unavailable")

    monkeypatch.setattr(worker.world.claims, "extend", away)
    assert fetch(worker, job, film(FILM * 10, at=lambda: worker.time.on(10))).status is Status.STORING
    assert states(worker) == ["garbage"]


def test_a_transfer_that_is_given_up_is_given_back_though_the_database_is_away_at_first(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = worker.storing()
    release, tried = worker.world.claims.release, []

    def away_at_first(job: Job, *, due_at: float) -> None:
        tried.append(due_at)
        if len(tried) == 1:
            raise Unavailable("away", code="unavailable")
        release(job, due_at=due_at)

    monkeypatch.setattr(worker.world.claims, "release", away_at_first)
    monkeypatch.setattr(worker.world.claims, "extend", lambda job, *, until: False)
    begun_at = worker.time()
    fetch(worker, job, film(FILM * 10, at=lambda: worker.time.on(10)))
    left = worker.now(job)
    assert left.claimed_by is None
    assert begun_at < left.due_at <= worker.time()
