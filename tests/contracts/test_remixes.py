"""Remixes: sent to the video they start from, with the key that made it, and told apart in the upstream's list."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.jobs.job import Job, Source
from gateway.outbound.session import Outbound
from gateway.upstreams import port
from gateway.upstreams.dialects import DIALECTS
from tests.contracts.world import LANE, NOW, World
from tests.servers import RawServer
from tests.upstreams import JOB, KEY, ODD_ID, Bench, a_request, each, resets, says, submit

ABLE = [name for name, dialect in DIALECTS.items() if dialect.facts.can_remix]


@pytest.fixture(params=ABLE)
def bench(request: pytest.FixtureRequest, outbounds: dict[str, Outbound]) -> Bench:
    return Bench(dialect=DIALECTS[request.param], **outbounds)


def remix(bench: Bench, source: str = "video_0") -> port.VideoRequest:
    return replace(a_request(bench), remix_of=source)


# -- what is sent, and what the answer means ---------------------------------------------------------------------------


def test_the_dialects_that_keep_openai_s_spelling_can_remix() -> None:
    assert sorted(ABLE) == ["azure", "openai"]


def test_a_remix_is_a_post_of_its_prompt_alone_to_the_video_it_starts_from(bench: Bench) -> None:
    with RawServer(each(says(200, {**JOB, "remixed_from_video_id": "video_0"}))) as server:
        outcome = submit(bench.at(server), remix(bench, ODD_ID))
        sent = server.request()
    assert isinstance(outcome, port.Accepted)
    assert outcome.upstream_job_id == "video_1"
    assert (sent.method, sent.target) == ("POST", bench.target("/v1/videos/video_bGl0%2FPn4%3D/remix"))
    assert sent.headers[bench.key_header[0]] == bench.key_header[1]
    assert sent.headers["content-type"] == "application/json"
    assert json.loads(sent.body) == {"prompt": "a cät"}


def test_a_remix_is_not_sent_where_its_sender_has_no_right_to_any_more(bench: Bench) -> None:
    with RawServer(each(says(200, JOB))) as server:
        outcome = bench.at(server).submit(remix(bench), KEY, before_send=lambda: False)
    assert outcome == port.NotSent()
    assert server.requests.empty()


@pytest.mark.parametrize("status", [404, 410])
def test_a_source_that_the_upstream_no_longer_has_has_a_code_of_its_own(bench: Bench, status: int) -> None:
    body = {"error": {"message": "Video with id 'video_0' not found.", "type": "invalid_request_error", "code": None}}
    with RawServer(each(says(status, body))) as server:
        outcome = submit(bench.at(server), remix(bench))
    assert isinstance(outcome, port.Refused)
    assert outcome.code == "upstream_job_lost"
    assert "video_0" not in outcome.message


def test_a_404_that_names_the_model_or_is_a_page_is_not_taken_for_a_lost_source(bench: Bench) -> None:
    model = {"error": {"message": "The model does not exist.", "code": "model_not_found"}}
    for answer, code in ((says(404, model), "model_not_found"), (says(404, b"<html>nginx</html>"), "invalid_request")):
        with RawServer(each(answer)) as server:
            outcome = submit(bench.at(server), remix(bench))
        assert isinstance(outcome, port.Refused)
        assert outcome.code == code


def test_an_answer_to_a_remix_that_is_lost_may_have_been_accepted(bench: Bench) -> None:
    with RawServer(each(resets)) as server:
        assert isinstance(submit(bench.at(server), remix(bench)), port.Unknown)


def test_the_list_tells_what_a_video_is_a_remix_of(bench: Bench) -> None:
    videos = [{**JOB, "id": "a", "remixed_from_video_id": "video_0"}, {**JOB, "id": "b", "remixed_from_video_id": None}]
    with RawServer(each(says(200, {"object": "list", "data": videos, "has_more": False}))) as server:
        page = bench.at(server).page(KEY, after=None)
    assert isinstance(page, port.Page)
    assert [video.remixed_from for video in page.videos] == ["video_0", None]


# -- whose turn it is --------------------------------------------------------------------------------------------------


ONE = replace(LANE, key="one", fingerprint="k1", others=["k2"])
TWO = replace(LANE, key="two", fingerprint="k2", others=["k1"])
FROM_TWO = Source(upstream_job_id="up_0", key_fingerprint="k2")


def take(world: World, lane: object, limit: int = 99) -> list[str]:
    taken = world.submissions.take_turn(lane, worker="w", limit=limit, lease_s=60, now=NOW)  # type: ignore[arg-type]
    return [job.id for job in taken]


def test_a_remix_comes_back_from_the_database_as_it_went_in(world: World) -> None:
    job = world.queued(remixed_from="video_x", source=FROM_TWO)
    found: Job = world.now_holds(job)
    assert (found.remixed_from, found.source) == ("video_x", FROM_TWO)
    assert world.now_holds(world.queued()).source is None


def test_a_remix_is_taken_with_the_key_that_made_its_source_and_no_other(world: World) -> None:
    remixed, plain = world.queued(source=FROM_TWO, at=NOW - 9), world.queued(at=NOW)
    assert take(world, ONE) == [plain.id]
    assert take(world, TWO) == [remixed.id]


def test_a_remix_that_waits_for_its_key_takes_no_turn_from_others_on_another_key(world: World) -> None:
    world.queued("ann", source=FROM_TWO, at=NOW - 9)
    mine, other = world.queued("ann", at=NOW - 5), world.queued("bob", at=NOW)
    assert take(world, ONE, 1) == [mine.id]
    assert take(world, ONE, 1) == [other.id]


def test_a_remix_whose_key_was_replaced_is_taken_with_the_keys_there_are(world: World) -> None:
    job = world.queued(source=Source(upstream_job_id="up_0", key_fingerprint="gone"))
    assert take(world, ONE) == [job.id]
