"""What OpenRouter alone spells differently, behind the upstream port."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from gateway.upstreams import port
from gateway.upstreams.dialects import DIALECTS
from tests.servers import RawServer, trap
from tests.upstreams import (
    API,
    CDN,
    KEY,
    MP4,
    PICTURE,
    SECRET,
    Bench,
    a_request,
    each,
    open_outbounds,
    read_all,
    says,
    submit,
)

JOB = {"id": "gen-vid-1-abc", "polling_url": "https://openrouter.ai/api/v1/videos/gen-vid-1-abc", "status": "pending"}
OPEN_LINK = "https://cdn.openrouter.example/open/9f8e7d6c5b4a39281706/video.mp4?sig=abc"


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with open_outbounds() as made:
        yield Bench(dialect=DIALECTS["openrouter"], **made)


def test_submit_sends_json_with_the_length_as_a_number_and_the_picture_as_first_frame(bench: Bench) -> None:
    with RawServer(each(says(200, JOB))) as server:
        outcome = submit(bench.at(server), a_request(bench, image=PICTURE, extra={"seed": 7, "prompt": "other"}))
        sent = server.request()
    body = json.loads(sent.body)
    frame = body.pop("frame_images")
    assert isinstance(outcome, port.Accepted)
    assert outcome.upstream_job_id == "gen-vid-1-abc"
    assert body == {"model": "Wan-AI/Wan2.2", "prompt": "a cät", "duration": 4, "size": "720x1280", "seed": 7}
    assert frame[0]["image_url"]["url"].startswith("data:image/png;base64,iVBO")
    assert [(entry["type"], entry["frame_type"]) for entry in frame] == [("image_url", "first_frame")]


@pytest.mark.parametrize(
    ("word", "error", "kind", "code"),
    [
        ("pending", None, port.Unfinished, None),
        ("in_progress", None, port.Unfinished, None),
        ("completed", None, port.Finished, None),
        ("failed", "The provider failed", port.Failed, "upstream_error"),
        ("failed", "Blocked by content moderation", port.Failed, "content_policy_violation"),
        ("cancelled", None, port.Failed, "upstream_cancelled"),
        ("expired", None, port.Failed, "upstream_expired"),
    ],
)
def test_poll_knows_every_status_and_errors_that_are_text(
    bench: Bench, word: str, error: str | None, kind: type, code: str | None
) -> None:
    with RawServer(each(says(200, JOB | {"status": word} | ({"error": error} if error else {})))) as server:
        outcome = bench.at(server).poll("gen-vid-1-abc", KEY)
    assert isinstance(outcome, kind)
    assert getattr(outcome, "code", None) == code
    if error:
        assert getattr(outcome, "message", None) == error


def test_poll_keeps_no_link_that_opens_to_whoever_holds_it(bench: Bench) -> None:
    unsigned = "https://openrouter.ai/api/v1/videos/gen-vid-1-abc/content?index=0"
    done = JOB | {"status": "completed", "unsigned_urls": [unsigned], "urls": [OPEN_LINK], "usage": {"cost": 3.2}}
    with RawServer(each(says(200, done))) as server:
        outcome = bench.at(server).poll("gen-vid-1-abc", KEY)
    assert isinstance(outcome, port.Finished)
    assert outcome.content_urls == (unsigned,)
    assert outcome.cost == 3.2
    assert "9f8e7d6c5b4a" not in repr(outcome)


def test_poll_keeps_no_such_link_either_when_the_answer_is_broken(bench: Bench) -> None:
    torn = json.dumps(JOB | {"status": "completed", "urls": [OPEN_LINK]}).encode()[:-3]
    with RawServer(each(says(200, torn))) as server:
        outcome = bench.at(server).poll("gen-vid-1-abc", KEY)
    assert isinstance(outcome, port.NoAnswer)
    assert "9f8e7d6c5b4a" not in outcome.answer.body


def test_refusal_of_its_moderation_is_called_so_and_quotes_no_prompt(bench: Bench) -> None:
    said = {"code": 403, "message": "The model requires moderation.", "metadata": {"flagged_input": "a cät"}}
    with RawServer(each(says(403, {"error": said}))) as server:
        outcome = submit(bench.at(server), a_request(bench))
    assert isinstance(outcome, port.Refused)
    assert outcome.code == "content_policy_violation"
    assert "a cät" not in outcome.answer.body


def test_submit_is_tried_again_when_no_provider_has_room(bench: Bench) -> None:
    said = {"code": 503, "message": "There is no available model provider that meets your routing requirements"}
    with RawServer(each(says(503, {"error": said}))) as server:
        outcome = submit(bench.at(server), a_request(bench))
    assert isinstance(outcome, port.NotAccepted)
    assert outcome.reason == "overloaded"


def test_content_comes_from_its_own_link_with_the_key(bench: Bench) -> None:
    with RawServer(each(says(200, MP4))) as server:
        urls = [f"http://{API}:{server.port}/v1/videos/x/content?index=1"]
        with bench.at(server).content("x", KEY, urls=urls) as content:
            assert isinstance(content, port.Content)
            assert read_all(content) == MP4
        sent = server.request()
    assert sent.target == "/v1/videos/x/content?index=1"
    assert sent.headers["authorization"] == f"Bearer {SECRET}"


def test_content_sends_no_key_when_the_link_leads_to_another_origin(bench: Bench) -> None:
    with RawServer(each(says(200, MP4))) as cdn, RawServer(trap) as server:
        with bench.at(server).content("x", KEY, urls=[f"http://{CDN}:{cdn.port}/v.mp4"]) as content:
            assert isinstance(content, port.Content)
        assert "authorization" not in cdn.request().headers
        assert server.connections == 0


def test_content_is_asked_for_by_index_when_the_job_names_no_link(bench: Bench) -> None:
    with RawServer(each(says(200, MP4))) as server:
        with bench.at(server).content("x", KEY, urls=()) as content:
            assert isinstance(content, port.Content)
        assert server.request().target == "/v1/videos/x/content?index=0"
