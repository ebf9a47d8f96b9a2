"""Upstream keys: rates that no minute exceeds, pauses, one probe at a time, and the way back."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.jobs.job import Job
from gateway.jobs.ports import KeyState
from tests.contracts.world import LANE, NOW, World, race


def take(world: World, limit: int = 9, *, now: float = NOW) -> Sequence[Job]:
    return world.submissions.take_turn(LANE, worker="w", limit=limit, lease_s=60, now=now)


def pause(world: World, *, now: float = NOW, reason: str = "auth") -> None:
    world.lanes.pause("main", "one", reason=reason, answer="401 no", now=now)


def key_state(world: World) -> KeyState:
    (state,) = world.queries.upstream_keys()
    return state


# -- rates -------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    per_minute=st.sampled_from([1, 2, 7, 59, 60, 61, 120, 600, 3000]),
    steps=st.lists(st.tuples(st.floats(0, 25), st.integers(1, 500)), min_size=1, max_size=25),
)
def test_no_minute_holds_more_requests_than_the_limit_wherever_it_begins(
    world: World, per_minute: int, steps: list[tuple[float, int]]
) -> None:
    key = f"key{per_minute}-{len(steps)}-{hash(tuple(steps))}"
    now, taken = NOW, []
    for step, wanted in steps:
        now += step
        granted = world.lanes.take_requests("main", key, wanted=wanted, per_minute=per_minute, now=now)
        assert 0 <= granted <= wanted
        taken.append((now, granted))
    for start, _ in taken:
        assert sum(granted for at, granted in taken if start <= at < start + 60 - 1e-3) <= per_minute


@pytest.mark.parametrize("per_minute", [2, 10, 61])
def test_one_request_at_a_time_that_is_owed_still_keeps_the_limit(world: World, per_minute: int) -> None:
    taken: list[float] = []
    for tick in range(900):
        now = NOW + tick / 5
        if world.lanes.take_requests("main", "one", wanted=1, per_minute=per_minute, now=now):
            # Half of those that were granted need a second one at once, but never two in a row.
            second = len(taken) % 3 == 0
            taken += [now] * (1 + second)
            if second:
                world.lanes.take_requests("main", "one", wanted=1, per_minute=per_minute, now=now, owed=True)
    for start in taken:
        assert sum(start <= at < start + 60 - 1e-3 for at in taken) <= per_minute


@pytest.mark.parametrize("per_minute", [1, 30, 60, 600, 1200])
def test_asking_every_fifth_of_a_second_yields_nearly_the_whole_limit(world: World, per_minute: int) -> None:
    taken = [
        world.lanes.take_requests("main", "one", wanted=99, per_minute=per_minute, now=NOW + tick / 5)
        for tick in range(300)
    ]
    assert per_minute * 0.9 <= sum(taken) <= per_minute


def test_sixteen_threads_together_take_no_more_than_there_is(world: World) -> None:
    granted = race(lambda _: world.lanes.take_requests("main", "one", wanted=4, per_minute=600, now=NOW))
    assert sum(granted) == 10  # type: ignore[arg-type]


def test_a_clock_that_is_set_back_neither_stops_a_rate_nor_gives_anything_away(world: World) -> None:
    def take_one(now: float) -> int:
        return world.lanes.take_requests("main", "one", wanted=9, per_minute=62, now=now)

    assert [take_one(NOW), take_one(NOW - 1), take_one(NOW - 0.5), take_one(NOW + 1)] == [1, 0, 0, 1]
    assert [take_one(NOW - 3600), take_one(NOW - 3599.1), take_one(NOW - 3599)] == [0, 0, 1]


def test_requests_that_were_owed_are_waited_for_by_those_that_come_later(world: World) -> None:
    def take_one(now: float, *, wanted: int = 1, owed: bool = False) -> int:
        return world.lanes.take_requests("main", "one", wanted=wanted, per_minute=7, now=now, owed=owed)

    assert [take_one(NOW), take_one(NOW, wanted=3, owed=True)] == [1, 3]
    assert [take_one(NOW + after) for after in (1, 10, 39, 40, 41, 50)] == [0, 0, 0, 1, 0, 1]


def test_a_rate_that_was_left_alone_saves_nothing_up(world: World) -> None:
    assert world.lanes.take_requests("main", "one", wanted=9, per_minute=60, now=NOW) == 1
    assert world.lanes.take_requests("main", "one", wanted=9, per_minute=60, now=NOW + 86400) == 1


@pytest.mark.parametrize("per_minute", [1, 7, 60, 600])
def test_a_rate_tells_the_very_instant_from_which_it_grants_the_next_request(world: World, per_minute: int) -> None:
    def take(now: float, *, wanted: int = 1, owed: bool = False) -> int:
        return world.lanes.take_requests("main", "one", wanted=wanted, per_minute=per_minute, now=now, owed=owed)

    def free_at(now: float) -> float:
        return world.lanes.next_request_at("main", "one", per_minute=per_minute, now=now)

    assert free_at(NOW) == NOW
    take(NOW, wanted=99)
    take(NOW, wanted=2, owed=True)
    instant = free_at(NOW)
    assert NOW < instant <= NOW + 3 * 60
    assert [take(instant - 0.01), take(instant)] == [0, 1]
    assert free_at(instant + 600) == instant + 600


@pytest.mark.parametrize("wanted", [0, -3])
def test_wanting_nothing_takes_nothing(world: World, wanted: int) -> None:
    assert world.lanes.take_requests("main", "one", wanted=wanted, per_minute=60, now=NOW) == 0
    assert world.lanes.take_requests("main", "one", wanted=1, per_minute=60, now=NOW) == 1


def test_every_key_has_a_rate_of_its_own(world: World) -> None:
    for upstream, key in (("main", "one"), ("main", "two"), ("other", "one")):
        assert world.lanes.take_requests(upstream, key, wanted=1, per_minute=1, now=NOW) == 1


# -- pauses ------------------------------------------------------------------------------------------------------------


def test_a_paused_key_takes_no_jobs_until_its_probe_is_due_and_then_one(world: World) -> None:
    for _ in range(5):
        world.queued()
    pause(world)
    assert take(world, now=NOW + 29) == []
    assert len(take(world, now=NOW + 30)) == 1


def test_no_second_probe_goes_out_while_the_first_is_under_way(world: World) -> None:
    for _ in range(5):
        world.queued()
    pause(world)
    (probe,) = take(world, now=NOW + 30)
    assert world.submissions.begin(probe, LANE, fingerprint="f", due_at=NOW + 160, now=NOW + 31) is not None
    assert take(world, now=NOW + 32) == []
    assert take(world, now=NOW + 89) == []
    assert len(take(world, now=NOW + 90)) == 1


def test_sixteen_workers_send_one_probe(world: World) -> None:
    for _ in range(5):
        world.queued()
    pause(world)
    taken = race(lambda _: len(take(world, now=NOW + 30)))
    assert sum(taken) == 1  # type: ignore[arg-type]


def test_probes_that_are_refused_lie_further_and_further_apart(world: World) -> None:
    for _ in range(12):
        world.queued()
    pause(world)
    now, waits = NOW, []
    for _ in range(8):
        probe_at = key_state(world).probe_at
        assert probe_at is not None
        waits.append(probe_at - now)
        now = probe_at
        (job,) = take(world, now=now)
        pause(world, now=now)
        world.claims.release(job, due_at=now)
    assert waits == [30, 60, 120, 240, 480, 600, 600, 600]


def test_five_submits_refused_together_count_as_one_refusal(world: World) -> None:
    for second in range(5):
        pause(world, now=NOW + second)
    state = key_state(world)
    assert (state.paused_at, state.probe_at, state.last_answer_at) == (NOW, NOW + 30, NOW + 4)


def test_a_pause_is_told_with_its_reason_and_the_start_of_the_answer(world: World) -> None:
    world.lanes.pause("main", "one", reason="quota", answer="x" * 9000, now=NOW)
    state = key_state(world)
    assert (state.pause_reason, state.last_answer, state.slots_used) == ("quota", "x" * 500, 0)


def test_a_key_that_is_taken_again_is_paused_no_more(world: World) -> None:
    for _ in range(3):
        world.queued()
    pause(world)
    world.lanes.answered("main", "one", now=NOW + 31)
    state = key_state(world)
    assert (state.paused_at, state.pause_reason, state.probe_at) == (None, None, None)
    assert (state.last_answer, state.last_answer_at) == (None, NOW + 31)
    assert len(take(world, now=NOW + 31)) == 3
    pause(world, now=NOW + 40)
    assert key_state(world).probe_at == NOW + 70


def test_resuming_sends_a_probe_at_once_and_counts_the_paused_keys(world: World) -> None:
    world.queued()
    world.queued()
    for key in ("one", "two"):
        world.lanes.pause("main", key, reason="auth", answer="", now=NOW)
    world.lanes.take_requests("main", "three", wanted=1, per_minute=60, now=NOW)
    assert world.lanes.resume("main", "one", now=NOW + 1) == 1
    assert len(take(world, now=NOW + 1)) == 1
    assert world.lanes.resume("main", None, now=NOW + 1) == 2
    assert world.lanes.resume("other", None, now=NOW + 1) == 0
    assert world.lanes.resume("main", "three", now=NOW + 1) == 0


def test_a_key_that_never_was_heard_of_is_not_paused(world: World) -> None:
    world.lanes.answered("main", "new", now=NOW)
    assert world.queries.upstream_keys() == []


def test_sixteen_threads_meeting_a_new_key_make_one_row_of_it(world: World) -> None:
    results = race(lambda _: pause(world))
    assert results == [None] * 16
    assert key_state(world).slots_used == 0


def test_a_key_shows_the_slots_it_uses(world: World) -> None:
    world.submitting()
    world.rendering()
    world.storing()
    assert key_state(world).slots_used == 2


def test_what_the_operator_paused_is_never_probed_and_only_resuming_ends_it(world: World) -> None:
    world.queued()
    pause(world, reason="operator")
    world.lanes.answered("main", "one", now=NOW)
    pause(world, reason="auth", now=NOW + 1)
    assert take(world, now=NOW + 1e6) == []
    assert (key_state(world).pause_reason, key_state(world).paused_at) == ("operator", NOW)
    assert world.lanes.resume("main", "one", now=NOW + 2) == 1
    assert key_state(world).paused_at is None
    assert len(take(world, now=NOW + 2)) == 1


def test_what_is_owed_is_taken_at_once_and_paid_by_those_who_come_later(world: World) -> None:
    def wanted(at: float, *, owed: bool = False) -> int:
        return world.lanes.take_requests("main", "one", wanted=1, per_minute=62, now=at, owed=owed)

    assert [wanted(NOW), wanted(NOW, owed=True), wanted(NOW, owed=True)] == [1, 1, 1]
    assert [wanted(NOW + 1), wanted(NOW + 2), wanted(NOW + 3)] == [0, 0, 1]
