"""Several upstreams: a video is made by the first that can and will, and what was accepted stays where it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gateway.demo.simulator import Simulator
from gateway.demo.simulator.protocol import Served
from gateway.serving.preparing import check_upstreams
from gateway.settings import SettingsError
from gateway.worker.rerouting import reroute
from tests.service.ground import Ground, open_ground
from tests.service.rig import SIZE, Rig
from tests.service.timed import Time

WIDE = "160x72"

CONFIG = """
[[upstreams]]
name = "first"
url = "UPSTREAM"
dialect = "{dialect}"
keys = ["env:SIM_KEY"]
max_concurrent = {most}
[upstreams.models."sora-2"]
sizes = ["128x72"]
seconds = [4]

[[upstreams]]
name = "second"
url = "{second}"
keys = ["env:SIM_KEY"]
[upstreams.models."sora-2"]
name = "sora-2-two"
sizes = ["128x72", "160x72"]
seconds = [4]
"""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


class Pair:
    """A gateway with two upstreams, each a simulator of its own."""

    def __init__(self, ground: Ground, stack: ExitStack, *, dialect: str = "openai", most: int = 5) -> None:
        time = Time()
        served = {"sora-2-two": Served(sizes=(SIZE, WIDE), seconds=(4,))}
        self.second: Simulator = stack.enter_context(ground.simulator(time, models=served))
        self.config = CONFIG.format(second=self.second.base_url, dialect=dialect, most=most)
        self.rig: Rig = stack.enter_context(
            ground.rig(time=time, config=self.config, dialect=dialect, upstream_strict="true")
        )
        self.first = self.rig.simulator

    def made(self) -> tuple[int, int]:
        return len(self.first.books().videos), len(self.second.books().videos)

    def completed(self, video_id: str) -> None:
        self.rig.play(self.rig.final(video_id))
        video = self.rig.video(video_id)
        assert video["status"] == "completed", self.rig.happened(video_id)
        assert self.rig.fetched(video_id)[4:8] == b"ftyp"

    def submitted_to(self, video_id: str) -> list[str]:
        return [e["detail"]["upstream"] for e in self.rig.events(video_id) if e["event"] == "submitting"]

    def reasons(self, video_id: str) -> list[tuple[str, str]]:
        told = {"key_refused", "not_served", "not_accepted"}
        return [(e["event"], e["detail"]["reason"]) for e in self.rig.events(video_id) if e["event"] in told]


@pytest.fixture
def pair(ground: Ground) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(ground, stack)


def test_the_first_upstream_of_the_file_makes_what_it_can(pair: Pair) -> None:
    video_id = pair.rig.post()
    pair.completed(video_id)
    assert pair.made() == (1, 0)
    assert pair.submitted_to(video_id) == ["first"]


@pytest.mark.parametrize("dialect", ["openai", "apiyi"])
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("submit-401*all", ("key_refused", "auth")),
        ("submit-quota*all", ("key_refused", "quota")),
        ("submit-404*all", ("not_served", "model_not_found")),
    ],
)
def test_the_next_one_makes_it_where_the_first_refuses_and_the_events_say_why(
    ground: Ground, dialect: str, fault: str, told: tuple[str, str]
) -> None:
    with ExitStack() as stack:
        pair = Pair(ground, stack, dialect=dialect)
        pair.first.faults(fault)
        video_id = pair.rig.post()
        pair.completed(video_id)
        assert pair.made() == (0, 1)
        assert pair.submitted_to(video_id) == ["first", "second"]
        assert pair.reasons(video_id) == [told]


def test_the_next_one_makes_it_at_once_where_the_first_does_not_answer_at_all(pair: Pair) -> None:
    pair.first.stop()
    began = pair.rig.time.wall()
    video_id = pair.rig.post()
    pair.rig.play(lambda: len(pair.second.books().submissions) == 1)
    assert pair.rig.time.wall() - began < 2.0
    pair.completed(video_id)
    assert pair.submitted_to(video_id) == ["first", "second"]
    assert [event for event, _ in pair.reasons(video_id)] == ["not_accepted"]


def test_one_that_answers_401_then_quota_then_no_model_then_nothing_costs_no_video(pair: Pair) -> None:
    videos = []
    for fault in ("submit-401*all", "submit-quota*all", "submit-404*all", ""):
        pair.first.faults(*([fault] if fault else []))
        if not fault:
            pair.first.stop()
        videos.append(pair.rig.post())
        # Long enough that a paused key is probed with this one.
        pair.rig.leap(700.0)
        pair.completed(videos[-1])
    assert pair.made() == (0, 4)
    told = [pair.reasons(video_id)[0] for video_id in videos]
    assert told[:3] == [("key_refused", "auth"), ("key_refused", "quota"), ("not_served", "model_not_found")]
    assert told[3][0] == "not_accepted"


def test_one_that_is_only_full_is_waited_for(ground: Ground) -> None:
    with ExitStack() as stack:
        pair = Pair(ground, stack, most=1)
        videos = [pair.rig.post() for _ in range(3)]
        pair.rig.play(pair.rig.final(*videos))
        assert pair.made() == (3, 0)


def test_one_that_limits_the_rate_is_waited_for(pair: Pair) -> None:
    pair.first.faults("submit-429=3*2")
    video_id = pair.rig.post()
    pair.completed(video_id)
    assert pair.made() == (1, 0)


def test_a_size_that_only_the_second_has_goes_to_the_second(pair: Pair) -> None:
    video_id = pair.rig.post(size=WIDE)
    pair.completed(video_id)
    assert pair.submitted_to(video_id) == ["second"]
    model = pair.rig.api.get("/v1/models/sora-2").json
    assert model["sizes"] == [SIZE, WIDE]


def test_a_paused_upstream_gets_nothing_new_and_what_it_accepted_is_still_fetched_from_it(pair: Pair) -> None:
    before = pair.rig.post()
    pair.rig.play(lambda: pair.rig.status(before) == "in_progress")
    pair.rig.pause("first")
    after = pair.rig.post()
    pair.completed(before)
    pair.completed(after)
    assert (pair.submitted_to(before), pair.submitted_to(after)) == (["first"], ["second"])
    assert pair.rig.resume("first") == 1
    pair.completed(pair.rig.post())
    assert pair.made() == (2, 1)


def test_a_refused_upstream_is_taken_up_again_by_itself(pair: Pair) -> None:
    pair.first.faults("submit-401*1")
    pair.completed(pair.rig.post())
    assert pair.made() == (0, 1)
    pair.rig.leap(60.0)
    pair.completed(pair.rig.post())
    assert pair.rig.paused() == []
    pair.completed(pair.rig.post())
    assert pair.made() == (2, 1)


def test_a_lost_answer_is_looked_for_where_it_was_lost_and_never_submitted_elsewhere(pair: Pair) -> None:
    pair.first.faults("submit-reset-after*1")
    video_id = pair.rig.post()
    pair.completed(video_id)
    assert pair.made() == (1, 0)
    assert pair.submitted_to(video_id) == ["first"]


def test_what_every_upstream_refuses_waits_and_says_so(pair: Pair) -> None:
    pair.first.faults("submit-quota*all")
    pair.second.faults("submit-401*all")
    video_id = pair.rig.post()
    pair.rig.play(lambda: len(pair.rig.paused()) == 2)
    assert pair.rig.status(video_id) == "queued"
    assert [(key["upstream"], key["reason"]) for key in pair.rig.paused()] == [("first", "quota"), ("second", "auth")]
    pair.second.faults()
    pair.completed(video_id)
    assert pair.made() == (0, 1)


def test_what_waited_for_an_upstream_that_is_gone_is_taken_by_who_serves_it_now(pair: Pair) -> None:
    video_id = pair.rig.post()
    narrow = pair.rig.post(size=WIDE)
    worker = pair.rig.workers[0]
    catalogue = pair.rig.installation.catalogue
    only_second = {name: [o for o in offers if o.upstream == "second"] for name, offers in catalogue.models.items()}
    assert reroute(worker.process.housekeeping.claims, type(catalogue)(models=only_second)) == 1
    pair.completed(video_id)
    pair.completed(narrow)
    assert pair.made() == (0, 2)


def test_a_start_without_an_upstream_that_still_makes_videos_is_refused(pair: Pair) -> None:
    video_id = pair.rig.post()
    pair.rig.play(lambda: pair.rig.status(video_id) == "in_progress")
    installation = pair.rig.installation
    check_upstreams(installation)
    kept = {"second": installation.upstreams["second"]}
    installation.__dict__["upstreams"] = kept
    with pytest.raises(SettingsError, match="upstream 'first' is not configured, but still has 1 unfinished video"):
        check_upstreams(installation)
