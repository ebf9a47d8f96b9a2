"""The life of a job: the table of arrows is the truth, and every named transition does what its name says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.jobs import lifecycle
from gateway.jobs.job import FINAL, SHOWN_AS, UNFINISHED, Failure, Job, Reference, Status, Stored
from gateway.jobs.lifecycle import ARROWS, IllegalMove, Transition

NOW = 1_796_000_000.0
FAILURE = Failure(code="upstream_error", message="no")
STORED = Stored(object_key="k", size=1, sha256="ab", content_type="video/mp4")
LINKED = Reference(url="https://pictures.example/p.png?X-Amz-Signature=abc")

ALLOWED = {
    ("queued", "submitting"), ("queued", "failed"), ("queued", "cancelled"),
    ("submitting", "rendering"), ("submitting", "queued"), ("submitting", "failed"), ("submitting", "cancelled"),
    ("rendering", "storing"), ("rendering", "failed"), ("rendering", "cancelled"),
    ("storing", "completed"), ("storing", "failed"), ("storing", "cancelled"),
}  # fmt: skip
"""Written out a second time on purpose: whoever changes the table has to mean it."""

Move = Callable[[Job], Transition]

MOVES: dict[str, tuple[Status, Move]] = {
    "submit": (Status.SUBMITTING, lambda job: lifecycle.submit(job, upstream="u", key="k", due_at=NOW + 9, at=NOW)),
    "accept": (
        Status.RENDERING,
        lambda job: lifecycle.accept(job, upstream_job_id="up", due_at=NOW + 30, at=NOW, detail={"a": 1}),
    ),
    "requeue": (Status.QUEUED, lambda job: lifecycle.requeue(job, event="e", due_at=NOW + 5, at=NOW, detail={})),
    "begin_transfer": (
        Status.STORING,
        lambda job: lifecycle.begin_transfer(job, expires_at=NOW + 99, at=NOW, detail={}),
    ),
    "complete": (Status.COMPLETED, lambda job: lifecycle.complete(job, stored=STORED, at=NOW, detail={})),
    "fail": (Status.FAILED, lambda job: lifecycle.fail(job, FAILURE, at=NOW, upstream_done=False)),
    "cancel": (Status.CANCELLED, lambda job: lifecycle.cancel(job, at=NOW)),
}
NOTES: dict[str, Move] = {
    "progress": lambda job: lifecycle.progress(job, percent=50, due_at=NOW + 30, at=NOW, detail={}),
    "answered": lambda job: lifecycle.answered(job, due_at=NOW + 30, at=NOW, detail={}),
    "again": lambda job: lifecycle.again(job, event="e", due_at=NOW + 30, at=NOW, detail={}, missing=True),
}


def job_in(status: Status, **fields: object) -> Job:
    """A job that has been through things: everything that a transition may reset is set."""
    usual: dict[str, object] = {
        "id": "video_1", "client": "ann", "status": status, "version": 7, "model": "m", "size": "720x1280",
        "seconds": 4, "created_at": NOW - 99, "due_at": NOW - 1, "prompt": "a cat", "claim_token": 3,
        "claimed_by": "w", "claimed_at": NOW - 2, "tries": 4, "missing": 2, "missing_since": NOW - 9,
        "stood_still_s": 8.0, "upstream": "u", "upstream_key": "k", "reference": LINKED,
    }  # fmt: skip
    return Job(**(usual | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("before", Status)
@pytest.mark.parametrize("name", MOVES)
def test_a_named_transition_is_made_exactly_where_the_table_has_its_arrow(before: Status, name: str) -> None:
    after, move = MOVES[name]
    if (before, after) not in ALLOWED:
        with pytest.raises(IllegalMove):
            move(job_in(before))
        return
    made = move(job_in(before))
    assert (made.before.status, made.after.status, made.moved) == (before, after, True)
    assert (made.after.version, made.at) == (8, NOW)


def test_the_table_has_these_arrows_and_no_others() -> None:
    assert {(before.value, after.value) for before, arrows in ARROWS.items() for after in arrows} == ALLOWED
    assert set(ARROWS) == set(Status)


def test_every_status_is_either_final_or_unfinished_and_has_a_word_of_the_protocol() -> None:
    assert set(Status) == FINAL | UNFINISHED
    assert not FINAL & UNFINISHED
    assert {status for status in Status if not ARROWS[status]} == FINAL
    assert {SHOWN_AS[status] for status in Status} == {"queued", "in_progress", "completed", "failed", "cancelled"}


@pytest.mark.parametrize(("before", "after"), sorted(ALLOWED))
def test_every_move_starts_the_counts_of_the_new_step_anew(before: str, after: str) -> None:
    made = next(move for name, (to, move) in MOVES.items() if to == after)(job_in(Status(before)))
    assert (made.after.missing, made.after.missing_since, made.after.stood_still_s) == (0, None, 0.0)
    # Going round from the queue through a refused submit and back is one step that is tried again.
    kept = {("queued", "submitting"): 4, ("submitting", "queued"): 5}
    assert made.after.tries == kept.get((before, after), 0)


@pytest.mark.parametrize(("before", "after"), sorted(ALLOWED))
def test_every_move_drops_the_claim_except_the_intent_whose_claimer_goes_on(before: str, after: str) -> None:
    made = next(move for name, (to, move) in MOVES.items() if to == after)(job_in(Status(before)))
    assert made.after.claimed_by == ("w" if after == "submitting" else None)
    assert made.after.claim_token == 3


FREES = {
    ("submitting", "queued"): True, ("rendering", "storing"): True, ("queued", "cancelled"): True,
    ("storing", "cancelled"): True, ("submitting", "cancelled"): False, ("rendering", "cancelled"): False,
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), sorted(ALLOWED))
def test_a_slot_is_freed_only_where_the_upstream_is_known_to_be_done(before: str, after: str) -> None:
    made = next(move for name, (to, move) in MOVES.items() if to == after)(job_in(Status(before)))
    assert made.frees_slot is FREES.get((before, after), False)


@pytest.mark.parametrize("done", [True, False])
def test_a_failure_frees_the_slot_as_its_finder_says(done: bool) -> None:
    made = lifecycle.fail(job_in(Status.RENDERING), FAILURE, at=NOW, upstream_done=done, detail={"answer": "raw"})
    assert made.frees_slot is done
    assert made.detail == {"code": "upstream_error", "message": "no", "answer": "raw"}
    assert made.after.error == FAILURE


def test_the_intent_names_the_upstream_and_when_reconciling_may_begin() -> None:
    made = lifecycle.submit(job_in(Status.QUEUED, upstream=None), upstream="u", key="k", due_at=NOW + 9, at=NOW)
    assert (made.after.upstream, made.after.upstream_key, made.after.due_at) == ("u", "k", NOW + 9)
    assert made.detail == {"upstream": "u", "key": "k"}


def test_acceptance_starts_the_videos_own_clock() -> None:
    after = MOVES["accept"][1](job_in(Status.SUBMITTING)).after
    assert (after.upstream_job_id, after.accepted_at, after.due_at) == ("up", NOW, NOW + 30)


def test_going_back_to_the_queue_forgets_the_upstream() -> None:
    after = MOVES["requeue"][1](job_in(Status.SUBMITTING)).after
    assert (after.upstream, after.upstream_key, after.due_at) == (None, None, NOW + 5)


def test_a_transfer_is_due_at_once_and_keeps_until_when_the_content_lasts() -> None:
    after = MOVES["begin_transfer"][1](job_in(Status.RENDERING)).after
    assert (after.due_at, after.progress, after.rendered_at) == (NOW, 99, NOW)
    assert after.content_expires_at == NOW + 99


@pytest.mark.parametrize("name", ["complete", "fail", "cancel"])
def test_the_end_has_a_time_and_forgets_the_link_to_the_reference(name: str) -> None:
    before = {"complete": Status.STORING}.get(name, Status.RENDERING)
    after = MOVES[name][1](job_in(before)).after
    assert (after.finished_at, after.reference, after.final) == (NOW, None, True)
    assert (after.stored is not None) == (name == "complete")
    assert (after.error is not None) == (name == "fail")


def test_the_link_to_the_reference_is_kept_for_as_long_as_the_job_may_be_submitted_again() -> None:
    assert MOVES["submit"][1](job_in(Status.QUEUED)).after.reference == LINKED
    assert MOVES["requeue"][1](job_in(Status.SUBMITTING)).after.reference == LINKED


def test_the_end_keeps_a_reference_of_our_own_bucket_for_the_sweep() -> None:
    ours = Reference(object_key="ann/reference.png", content_type="image/png", sha256="ab", size=3)
    assert lifecycle.cancel(job_in(Status.QUEUED, reference=ours), at=NOW).after.reference == ours


@pytest.mark.parametrize("status", sorted(UNFINISHED))
@pytest.mark.parametrize("name", NOTES)
def test_a_note_changes_no_status_but_the_version(status: Status, name: str) -> None:
    made = NOTES[name](job_in(status))
    assert (made.moved, made.after.status, made.after.version) == (False, status, 8)
    assert (made.after.claimed_by, made.after.due_at, made.frees_slot) == (None, NOW + 30, False)


@pytest.mark.parametrize("status", sorted(FINAL))
@pytest.mark.parametrize("name", NOTES)
def test_nothing_can_be_noted_of_a_job_that_is_final(status: Status, name: str) -> None:
    with pytest.raises(IllegalMove):
        NOTES[name](job_in(status))


@pytest.mark.parametrize("name", ["progress", "answered"])
def test_a_valid_answer_starts_the_counts_anew_but_not_the_time_that_stood_still(name: str) -> None:
    after = NOTES[name](job_in(Status.RENDERING)).after
    assert (after.tries, after.missing, after.missing_since, after.stood_still_s) == (0, 0, None, 8.0)


def test_a_try_that_brought_nothing_counts() -> None:
    job = replace(job_in(Status.RENDERING), tries=0, missing=0, missing_since=None, stood_still_s=0.0)
    once = lifecycle.again(job, event="e", due_at=NOW, at=NOW, detail={}, missing=True, stood_still_s=1.5).after
    twice = lifecycle.again(
        once, event="e", due_at=NOW, at=NOW + 4, detail={}, missing=True, stood_still_s=2, bucket_failed=True
    ).after
    other = lifecycle.again(twice, event="e", due_at=NOW, at=NOW + 9, detail={}).after
    assert (once.tries, once.missing, once.missing_since, once.bucket_failed) == (1, 1, NOW, False)
    assert (twice.tries, twice.missing, twice.missing_since, twice.stood_still_s) == (2, 2, NOW, 3.5)
    assert (other.tries, other.missing, other.missing_since, other.bucket_failed) == (3, 2, NOW, True)


@given(st.lists(st.sampled_from(sorted([*MOVES, *NOTES])), max_size=40))
def test_no_walk_of_named_transitions_leaves_the_table_or_a_final_status(names: list[str]) -> None:
    job = job_in(Status.QUEUED)
    for name in names:
        before = job
        try:
            made = NOTES[name](job) if name in NOTES else MOVES[name][1](job)
        except IllegalMove:
            continue
        assert not before.final
        assert made.before is before
        assert made.after.version == before.version + 1
        assert made.after.status is before.status or (before.status, made.after.status) in ALLOWED
        job = made.after
    assert (job.finished_at is not None) == job.final
    assert (job.stored is not None) == (job.status is Status.COMPLETED)
    assert (job.error is not None) == (job.status is Status.FAILED)
    assert job.upstream_job_id is not None or job.status not in {Status.RENDERING, Status.STORING, Status.COMPLETED}


def test_the_diagram_shows_every_arrow_and_every_end() -> None:
    lines = [line.strip() for line in lifecycle.diagram().splitlines()]
    assert lines[:2] == ["stateDiagram-v2", "[*] --> queued"]
    assert {tuple(line.split(" --> ")) for line in lines[2:]} == ALLOWED | {(end.value, "[*]") for end in FINAL}


def test_tries_in_a_row_that_bring_nothing_are_told_each_at_first_and_then_ever_more_rarely() -> None:
    job, told = replace(job_in(Status.RENDERING), tries=0), []
    for _ in range(3000):
        transition = lifecycle.again(job, event="e", due_at=NOW, at=NOW, detail={"reason": "503"})
        told += [transition.detail["in_a_row"]] if transition.noted else []
        job = transition.after
    assert told == [*range(1, 11), 16, 32, 64, 128, 256, 512, 1024, 2048]
    assert job.tries == 3000
