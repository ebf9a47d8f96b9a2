"""Whole jobs through every dialect and its twin: what a client sees is the same, whatever the upstream calls it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator

import pytest
from PIL import Image

from gateway.settings import ONLY
from gateway.upstreams.dialects import DIALECTS
from tests.service.ground import SIZE, Ground, open_ground
from tests.service.rig import Rig

SIDES = tuple(int(side) for side in SIZE.split("x"))


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture(params=sorted(DIALECTS))
def rig(request: pytest.FixtureRequest, ground: Ground) -> Rig:
    return ground.shared(dialect=request.param)


def test_a_video_is_made_stored_and_paid_for_once(rig: Rig) -> None:
    prompt = rig.prompt("render=20")
    video_id = rig.post(prompt)
    rig.play(rig.final(video_id))
    rig.ends(video_id, "completed")
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1


def test_a_picture_reaches_the_upstream_as_its_client_sent_it(rig: Rig) -> None:
    data = io.BytesIO()
    Image.new("RGB", SIDES, "orange").save(data, "PNG")
    video_id = rig.post(rig.prompt(), picture=io.BytesIO(data.getvalue()), callback_url=rig.inbox.url)
    rig.play(rig.final(video_id))
    rig.ends(video_id, "completed")
    assert rig.picture(video_id) == hashlib.sha256(data.getvalue()).hexdigest()


def test_a_render_that_fails_is_told_with_its_words_and_fetched_from_nowhere(rig: Rig) -> None:
    video_id = rig.post(rig.prompt("fail-error"))
    rig.play(rig.final(video_id))
    rig.ends(video_id, "failed", code="upstream_error")


def test_what_moderation_refuses_is_called_so(rig: Rig) -> None:
    prompt = rig.prompt("submit-moderation")
    video_id = rig.post(prompt)
    rig.play(rig.final(video_id))
    rig.ends(video_id, "failed", code="content_policy_violation")
    assert len(rig.submits(prompt)) == 1


def test_a_key_that_is_limited_waits_and_submits_again(rig: Rig) -> None:
    prompt = rig.prompt("submit-429*2")
    video_id = rig.post(prompt)
    rig.play(rig.final(video_id))
    rig.ends(video_id, "completed")
    assert len(rig.made(prompt)) == 1


def test_an_empty_balance_holds_the_key_and_fails_no_video(rig: Rig) -> None:
    video_id = rig.post(rig.prompt("submit-quota*2"))
    rig.play(lambda: bool(rig.paused()))
    assert [key["reason"] for key in rig.paused()] == ["quota"]
    rig.play(rig.final(video_id))
    rig.ends(video_id, "completed")


def test_a_lost_answer_is_paid_for_once(rig: Rig) -> None:
    prompt = rig.prompt("submit-reset-after")
    video_id = rig.post(prompt)
    rig.play(rig.final(video_id))
    assert len(rig.made(prompt)) == 1
    if rig.installation.upstreams[ONLY].dialect.facts.can_list:
        rig.ends(video_id, "completed")
    else:
        rig.ends(video_id, "failed", code="submission_unknown")


def test_what_openrouter_takes_is_kept_for_the_operator_and_its_open_links_nowhere(ground: Ground) -> None:
    rig = ground.shared(dialect="openrouter")
    video_id = rig.post(rig.prompt())
    rig.play(rig.final(video_id))
    rig.ends(video_id, "completed")
    history = rig.events(video_id)
    secret = hashlib.sha256((rig.upstream_id(video_id) or "").encode()).hexdigest()
    assert [event["detail"]["cost"] for event in history if "cost" in event["detail"]] == [1.6]
    assert any('"urls":"…"' in json.dumps(event, ensure_ascii=False).replace("\\", "") for event in history)
    with rig.installation.database.read() as connection:
        kept = "".join(connection.connection.dbapi_connection.iterdump())  # type: ignore[union-attr]
    assert secret not in kept
