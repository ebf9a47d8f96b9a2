"""Pictures that were damaged at random: each is refused clearly or taken, and none is trouble for the server."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.api_world import World, make_world
from tests.service.refused import error


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_world(tmp_path_factory.mktemp("world"))
    yield made
    made.database.close()


def _encoded(form: str) -> bytes:
    image, buffer = Image.linear_gradient("L").resize((64, 48)).convert("RGB"), io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


WHOLE = {form: _encoded(form) for form in ("PNG", "JPEG", "WEBP")}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A picture with a few bytes changed, near its head as likely as anywhere, cut off, or with something behind it."""
    data = bytearray(WHOLE[draw(st.sampled_from(sorted(WHOLE)))])
    near_the_head = draw(st.booleans())
    places = st.integers(min_value=0, max_value=min(len(data), 64 if near_the_head else len(data)) - 1)
    for place in draw(st.lists(places, max_size=6)):
        data[place] = draw(st.integers(min_value=0, max_value=255))
    length = draw(st.integers(min_value=0, max_value=len(data)) | st.just(len(data)))
    return bytes(data[:length]) + draw(st.binary(max_size=16))


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(data=damaged())
def test_a_damaged_picture_is_refused_by_name_or_taken(world: World, data: bytes) -> None:
    form = {"prompt": "p", "input_reference": (io.BytesIO(data), "picture.png")}
    answer = world.http.post("/v1/videos", data=form, headers=world.key("alice"))
    assert answer.status_code in {202, 400}, answer.data
    if answer.status_code == 400:
        assert error(answer)["param"] == "input_reference"
