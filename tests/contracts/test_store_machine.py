"""The store under any sequence of steps, stale ones too: what it promises holds after each of them."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gateway.db.engine import Database
from gateway.db.tables import deliveries, history, jobs, objects, submissions
from gateway.jobs import lifecycle
from gateway.jobs.errors import Conflict, NotFound, StaleJob
from gateway.jobs.job import FINAL, Job, Reference, Status, Stored
from gateway.jobs.lifecycle import IllegalMove, Transition
from gateway.jobs.ports import Submission
from tests.contracts.world import FAILURE, HOOK, LANE, NOW, World

SLOTS = 3
SUBSCRIBED = ("video.completed", "video.failed", "video.cancelled")
STORED = Stored(object_key="unused", size=7, sha256="ab", content_type="video/mp4")
PICKS = st.integers(min_value=0, max_value=1000)


class Store(RuleBasedStateMachine):
    """Steps as workers and clients take them, on jobs as they were read at any time before."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "gateway.db"
        shutil.copy(self.template, path)
        self._database = Database(f"sqlite:///{path}", synchronous="off")
        self.world = World(self._database)
        self.now = NOW
        self.read: list[Job] = []
        self.submitted: list[Submission] = []
        self.erased: set[str] = set()

    def teardown(self) -> None:
        self._database.close()
        self._folder.cleanup()

    # -- steps ---------------------------------------------------------------------------------------------------------

    @rule(client=st.sampled_from(["ann", "bob"]), picture=st.booleans())
    def accept(self, client: str, picture: bool) -> None:
        reference = None
        if picture:
            key = f"picture-{len(self.read)}"
            self.world.ledger.begin(key, until=self.now + 60, now=self.now)
            reference = Reference(object_key=key)
        job = self.world.queued(client, at=self.now, callback_url=HOOK, callback_events=SUBSCRIBED, reference=reference)
        self.read.append(job)

    @rule()
    def begin_to_submit(self) -> None:
        lane = replace(LANE, max_concurrent=SLOTS)
        for job in self.world.submissions.take_turn(lane, worker="w", limit=2, lease_s=60, now=self.now):
            begun = self.world.submissions.begin(job, lane, fingerprint=job.id, due_at=self.now + 130, now=self.now)
            if begun is not None:
                self.read.append(begun[0])
                self.submitted.append(begun[1])

    @precondition(lambda self: self.submitted)
    @rule(pick=PICKS, said=st.sampled_from(["accepted", "accepted", "accepted", "refused", "lost"]))
    def answer(self, pick: int, said: str) -> None:
        """What the upstream said is always written, whatever became of the job; an answer comes once."""
        submission = self.submitted.pop(pick % len(self.submitted))
        job = next(job for job in reversed(self.read) if job.id == submission.job_id and job.upstream)
        if said == "accepted":
            name = f"up-{submission.id}"
            self.world.submissions.accepted(submission, upstream_job_id=name, now=self.now)
            self._record(job, lambda: lifecycle.accept(
                job, upstream_job_id=name, due_at=self.now + 30, at=self.now, detail={}
            ))  # fmt: skip
        elif said == "refused":
            self.world.submissions.refused(submission, absent=False, now=self.now)
            self._record(job, lambda: lifecycle.requeue(
                job, event="submit_refused", due_at=self.now, at=self.now, detail={}
            ))  # fmt: skip
        else:
            self.world.submissions.lost(submission, now=self.now)

    @rule(client=st.sampled_from(["ann", "bob"]), steps=st.integers(min_value=2, max_value=5))
    def hurry(self, client: str, steps: int) -> None:
        """A job that gets on without anything in between, as most do: else few would ever come far."""
        self.accept(client, picture=True)
        job_id = self.read[-1].id
        self.begin_to_submit()
        mine = [number for number, one in enumerate(self.submitted) if one.job_id == job_id]
        if mine:
            self.answer(mine[0], "accepted")
            for step in ("rendered", "complete")[: steps - 2]:
                self._step(self.world.queries.job(job_id, client=None), step)

    @rule(pick=PICKS)
    def get_on(self, pick: int) -> None:
        """The usual way of a job that the upstream took: rendered, then stored."""
        under_way = [row.id for row in self.world.rows(jobs) if row.status in {"rendering", "storing"}]
        if under_way:
            job = self.world.queries.job(under_way[pick % len(under_way)], client=None)
            self._step(job, "rendered" if job.status is Status.RENDERING else "complete")

    @precondition(lambda self: self.read)
    @rule(pick=PICKS, step=st.sampled_from(["progress", "again", "rendered", "complete", "fail"]))
    def act_on_what_was_read(self, pick: int, step: str) -> None:
        """A worker that read the job at any time before, and may have slept since."""
        job = self.read[pick % len(self.read)]
        if step != "complete" or job.status is Status.STORING:
            self._step(job, step)

    def _step(self, job: Job, step: str) -> None:
        at = self.now
        stored = self.world.stored(job, now=at) if step == "complete" else STORED
        steps: dict[str, Callable[[], Transition]] = {
            "progress": lambda: lifecycle.progress(job, percent=50, due_at=at + 30, at=at, detail={}),
            "again": lambda: lifecycle.again(job, event="tried", due_at=at + 30, at=at, detail={}),
            "rendered": lambda: lifecycle.begin_transfer(job, expires_at=None, at=at, detail={}),
            "fail": lambda: lifecycle.fail(job, FAILURE, at=at, upstream_done=True),
            "complete": lambda: lifecycle.complete(job, stored=stored, at=at, detail={}),
        }
        self._record(job, steps[step])

    def _record(self, job: Job, make: Callable[[], Transition]) -> None:
        """A transition from what was read: written where that still is so, else refused whole."""
        fresh = self._row(job.id).version == job.version
        try:
            transition = make()
        except IllegalMove:
            return
        if fresh:
            self.read.append(self.world.recorder.record(transition))
        else:
            with pytest.raises(StaleJob):
                self.world.recorder.record(transition)

    @precondition(lambda self: self.read)
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        job = self.read[pick % len(self.read)]
        row = self._row(job.id)
        try:
            self.read.append(self.world.recorder.cancel(job.id, client=job.client, now=self.now))
        except Conflict:
            assert row.status in {"completed", "failed"}
        except NotFound:
            assert job.id in self.erased
        else:
            assert self._row(job.id).status == "cancelled"

    @precondition(lambda self: self.read)
    @rule(pick=PICKS)
    def erase(self, pick: int) -> None:
        job = self.read[pick % len(self.read)]
        try:
            self.world.recorder.erase(job.id, client=job.client, now=self.now)
        except NotFound:
            assert job.id in self.erased
        self.erased.add(job.id)

    @rule(passed_s=st.sampled_from([1.0, 40.0, 200.0]))
    def wait(self, passed_s: float) -> None:
        self.now += passed_s

    @rule()
    def retire(self) -> None:
        self.world.ledger.retire(before=self.now - 100, limit=2, now=self.now)

    @rule()
    def sweep(self) -> None:
        for leftover in self.world.ledger.leftovers(limit=2, lease_s=60, now=self.now):
            self.world.ledger.swept(leftover, now=self.now)

    # -- promises ------------------------------------------------------------------------------------------------------

    @invariant()
    def every_history_is_one_walk_from_queued_with_at_most_one_end(self) -> None:
        for row in self.world.rows(jobs):
            told = [(one.status_before, one.status) for one in self.world.rows(history, job_id=row.id)]
            assert told[0] == (None, "queued")
            assert all(before == earlier for (before, _), (_, earlier) in zip(told[1:], told, strict=False))
            assert told[-1][1] == row.status
            ends = [after for before, after in told if after in FINAL and before not in FINAL]
            assert len(ends) == (row.status in FINAL)

    @invariant()
    def every_end_is_told_exactly_once(self) -> None:
        told = Counter((row.job_id, row.type) for row in self.world.rows(deliveries))
        assert set(told.values()) <= {1}
        for row in self.world.rows(jobs):
            if row.id not in self.erased:
                wanted = {(row.id, f"video.{row.status}")} if row.status in FINAL else set()
                assert {which for which in told if which[0] == row.id} == wanted

    @invariant()
    def no_more_places_are_taken_than_there_are(self) -> None:
        taken = Counter(row.job_id for row in self.world.rows(submissions) if row.slot_released_at is None)
        assert taken.total() <= SLOTS
        assert set(taken.values()) <= {1}
        for row in self.world.rows(jobs):
            if row.status in {"submitting", "rendering"}:
                assert taken[row.id] == 1
            if row.status in {"queued", "storing", "completed"}:
                assert taken[row.id] == 0

    @invariant()
    def what_is_kept_is_named_and_what_is_named_is_kept(self) -> None:
        kept = {row.key for row in self.world.rows(objects) if row.state == "kept"}
        named = set()
        for row in self.world.rows(jobs):
            if row.status == "completed" and row.removed_at is None:
                named.add(row.object_key)
            if row.status not in FINAL and row.reference:
                named.add(row.reference["object_key"])
        assert kept == named

    def _row(self, job_id: str) -> Any:
        return self.world.row(jobs, id=job_id)


def test_the_store_keeps_its_promises_under_any_sequence_of_steps(sqlite_template: Path) -> None:
    Store.template = sqlite_template
    run_state_machine_as_test(
        Store,
        settings=settings(
            max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )  # fmt: skip
