"""Thumbnails and spritesheets in the whole gateway: there when a video is told of, and else no trouble to anybody."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

import pytest
import requests
import sqlalchemy as sa
from PIL import Image

from gateway.db.tables import objects
from gateway.upstreams.dialects import DIALECTS
from gateway.worker.limits import Limits
from tests.service.ground import Ground, open_ground, upstream_table
from tests.service.rig import Rig

VARIANTS = {"thumbnail": "image/webp", "spritesheet": "image/jpeg"}
WITHOUT = sorted(name for name, dialect in DIALECTS.items() if not dialect.facts.variants)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture(params=["openai", "azure"])
def rig(ground: Ground, request: pytest.FixtureRequest) -> Rig:
    return ground.shared(dialect=request.param)


def made(rig: Rig, word: str = "") -> str:
    video_id = rig.post(rig.prompt(word))
    rig.play(rig.final(video_id))
    rig.ends(video_id, "completed")
    return video_id


def ask(rig: Rig, video_id: str, variant: str) -> requests.Response | str:
    """The picture that the client gets, or the code of the answer that says why there is none."""
    answer = rig.api.get(f"/v1/videos/{video_id}/content?variant={variant}")
    if answer.status_code != 302:
        return str(answer.json["error"]["code"])
    with requests.Session() as session:
        session.trust_env = False
        return session.get(answer.headers["Location"], timeout=10)


def kept(rig: Rig, video_id: str) -> int:
    with rig.installation.database.read() as connection:
        mine = objects.c.key.like(f"%{video_id}%"), objects.c.state == "kept"
        return int(connection.scalar(sa.select(sa.func.count()).where(*mine)) or 0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_upstream_made_beside_a_video_is_there_as_soon_as_it_is_told_of(rig: Rig, variant: str) -> None:
    video_id = made(rig)
    found = ask(rig, video_id, variant)
    assert isinstance(found, requests.Response)
    assert (found.status_code, found.headers["Content-Type"]) == (200, VARIANTS[variant])
    assert f"{video_id}-{variant}." in found.headers["Content-Disposition"]
    with Image.open(io.BytesIO(found.content)) as picture:
        picture.load()
        assert picture.format == VARIANTS[variant].removeprefix("image/").upper()
    assert rig.callbacks(video_id)[0].video["content"]["content_type"] == "video/mp4"


def test_they_are_removed_with_the_video(ground: Ground, rig: Rig) -> None:
    video_id = made(rig)
    assert kept(rig, video_id) == 3
    rig.api.http.delete(f"/v1/videos/{video_id}", headers=rig.api.headers["alice"])
    rig.play(lambda: not rig.leftovers())
    assert kept(rig, video_id) == 0
    assert ground.objects(video_id) == []


@pytest.mark.parametrize("dialect", WITHOUT)
def test_a_dialect_without_any_is_not_asked_and_says_so(ground: Ground, dialect: str) -> None:
    rig = ground.shared(dialect=dialect)
    video_id = made(rig)
    assert [ask(rig, video_id, variant) for variant in VARIANTS] == ["variant_not_available"] * 2
    assert rig.simulator.books().count("variants") == 0


def test_an_upstream_of_which_the_file_says_that_it_has_none_is_not_asked(ground: Ground) -> None:
    with ground.rig(config=upstream_table("plain", "variants = false")) as rig:
        video_id = made(rig)
        assert ask(rig, video_id, "thumbnail") == "variant_not_available"
        assert rig.simulator.books().count("variants") == 0


@pytest.mark.parametrize(
    "fault",
    [
        "400", "401", "403", "404", "410", "quota", "425", "500", "503-plain", "html", "json", "wrong", "blank",
        "reset", "cut", "reset-late",
    ],
)  # fmt: skip
def test_a_picture_that_cannot_be_had_costs_the_video_nothing(ground: Ground, fault: str) -> None:
    rig = ground.shared(dialect="openai")
    video_id = made(rig, f"variant-{fault}*all")
    assert [ask(rig, video_id, variant) for variant in VARIANTS] == ["variant_not_available"] * 2
    assert rig.paused() == []
    (video,) = ground.objects(video_id)
    assert video.endswith(".mp4")
    made(rig)


@pytest.mark.parametrize("fault", ["stall", "slow=100", "drip=10", "endless"])
def test_a_picture_that_does_not_come_is_not_waited_for(
    ground: Ground, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.wiring.worker.Limits", partial(Limits, variants_s=0.5))
    with ground.rig() as rig:
        video_id = made(rig, f"variant-{fault}*all")
        assert ask(rig, video_id, "thumbnail") == "variant_not_available"


def test_a_picture_is_found_behind_a_redirect(rig: Rig) -> None:
    video_id = made(rig, "variant-redirect")
    assert all(isinstance(ask(rig, video_id, variant), requests.Response) for variant in VARIANTS)


def test_a_429_beside_a_video_slows_the_key_down_and_no_more(ground: Ground) -> None:
    with ground.rig() as rig:
        video_id = made(rig, "variant-429=2*all")
        assert ask(rig, video_id, "thumbnail") == "variant_not_available"
        assert rig.simulator.books().count("variants") == 1
        made(rig)
