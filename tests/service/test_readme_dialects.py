"""The README's table of dialects: what it says to set for one is enough for a video through that dialect's twin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.demo.simulator.protocol import Served
from gateway.upstreams.dialects import DIALECTS
from tests.service.ground import Ground, open_ground
from tests.service.rig import SIZE

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([a-z-]+)` \|(.* \| .*) \|$", README[README.index("| dialect | for |") :], re.MULTILINE))


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


def to_set(row: str) -> Mapping[str, str]:
    """The settings that a row names, in lower case and without `GATEWAY_`."""
    return {name.lower(): value for name, value in re.findall(r"`GATEWAY_([A-Z_]+)=([^`]+)`", row.split(" | ")[1])}


def test_every_dialect_has_a_row() -> None:
    assert ROWS.keys() >= DIALECTS.keys()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_the_row_of_a_dialect_says_to_set_makes_a_video(ground: Ground, dialect: str) -> None:
    settings = dict(to_set(ROWS[dialect]))
    path = urlsplit(settings.pop("upstream_url")).path
    model = settings.get("upstream_models", "sora-2").rpartition("=")[2]
    settings.pop("upstream_key", None)
    with ground.rig(
        dialect=dialect,
        simulator={"models": {model: Served(sizes=(SIZE,), seconds=(4,))}},
        **{"upstream_models": "", **settings},
    ) as rig:
        assert urlsplit(rig.simulator.base_url).path == path
        video_id = rig.post(rig.prompt(), model="sora-2")
        rig.play(rig.final(video_id))
        rig.ends(video_id, "completed")
