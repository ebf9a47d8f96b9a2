"""Reference pictures in the whole gateway: upright, without metadata, and as large as an upstream wants them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from PIL import Image

from gateway.demo.simulator.protocol import Served
from gateway.pictures.reader import ImageReader
from tests.servers import RawServer, answering
from tests.service.ground import SIZE, Ground, open_ground, upstream_table
from tests.service.rig import Rig
from tests.service.timed import Time

WIDE, HIGH = (int(side) for side in SIZE.split("x"))

PICKY = upstream_table("picky", "image_must_match_size = true")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture
def azure(ground: Ground) -> Rig:
    return ground.shared(dialect="azure")


def photo(size: tuple[int, int], orientation: int = 1) -> bytes:
    """A photo as telephones make them: the sensor's picture, and how it was held."""
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    exif[0x010F] = "a telephone at 48.8584 N"
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, "JPEG", exif=exif)
    return out.getvalue()


def refused(rig: Rig, picture: bytes) -> tuple[int, str]:
    answer = rig.api.post(prompt="p", size=SIZE, seconds="4", picture=io.BytesIO(picture))
    return answer.status_code, answer.json["error"]["code"]


def test_a_photo_goes_up_upright_and_without_where_it_was_taken(azure: Rig) -> None:
    data = photo((HIGH, WIDE), orientation=6)
    clean = ImageReader(at_once=1).read(data)
    assert b"48.8584" in data
    assert b"48.8584" not in clean.data
    video_id = azure.post(azure.prompt(), picture=io.BytesIO(data))
    azure.play(azure.final(video_id))
    azure.ends(video_id, "completed")
    assert azure.picture(video_id) == clean.sha256 != hashlib.sha256(data).hexdigest()


def test_a_picture_that_is_not_as_large_as_the_video_is_refused_at_the_post(azure: Rig) -> None:
    before = len(azure.simulator.books().submissions)
    assert refused(azure, photo((WIDE, HIGH), orientation=6)) == (400, "invalid_image_size")
    assert refused(azure, photo((WIDE * 2, HIGH * 2))) == (400, "invalid_image_size")
    assert len(azure.simulator.books().submissions) == before


def test_equal_files_are_equal_requests_whatever_became_of_them(azure: Rig) -> None:
    def post(data: bytes) -> tuple[int, object]:
        form = {"prompt": "p", "size": SIZE, "seconds": "4", "input_reference": (io.BytesIO(data), "p.jpg")}
        headers = {**azure.api.headers["alice"], "Idempotency-Key": "photo-1"}
        answer = azure.api.http.post("/v1/videos", data=form, headers=headers)
        return answer.status_code, answer.json.get("id")

    data = photo((HIGH, WIDE), orientation=8)
    status, video_id = post(data)
    assert (status, post(data)) == (202, (202, video_id))
    # The same pixels upright, and yet another file.
    assert post(ImageReader(at_once=1).read(data).data)[0] == 422
    azure.api.cancel(str(video_id))
    azure.play(lambda: azure.slots() == 0)


def test_an_upstream_of_the_reference_dialect_takes_any_picture_unless_the_file_says_otherwise(ground: Ground) -> None:
    small = photo((40, 30))
    lenient = ground.shared(dialect="openai")
    video_id = lenient.post(lenient.prompt(), picture=io.BytesIO(small))
    lenient.play(lenient.final(video_id))
    lenient.ends(video_id, "completed")
    with ground.rig(config=PICKY) as picky:
        assert refused(picky, small) == (400, "invalid_image_size")


def test_a_fetched_picture_of_another_size_fails_the_video_before_anything_is_submitted(ground: Ground) -> None:
    with ground.rig(config=PICKY) as rig, RawServer(answering(body=photo((40, 30)))) as pictures:
        video_id = rig.post(input_reference={"image_url": pictures.url})
        rig.play(rig.final(video_id))
        video = rig.ends(video_id, "failed", code="invalid_reference")
        assert "40x30" in video["error"]["message"]
        assert SIZE in video["error"]["message"]
        assert not rig.simulator.books().submissions


def test_a_fetched_picture_goes_up_clean_to_the_first_upstream_that_takes_it(ground: Ground) -> None:
    data, time = photo((30, 40), orientation=6), Time()
    with ExitStack() as stack:
        other = stack.enter_context(ground.simulator(time, models={"sora-2": Served(sizes=(SIZE,), seconds=(4,))}))
        config = PICKY + upstream_table("any", url=other.base_url)
        rig = stack.enter_context(ground.rig(time=time, config=config))
        pictures = stack.enter_context(RawServer(answering(body=data)))
        video_id = rig.post(input_reference={"image_url": pictures.url})
        rig.play(rig.final(video_id))
        assert rig.status(video_id) == "completed"
        assert "picture_unfitting" in rig.happened(video_id)
        assert not rig.simulator.books().submissions
        assert other.books().videos[0].picture == ImageReader(at_once=1).read(data).sha256
