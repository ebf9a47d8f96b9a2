"""Pictures that are none, too large or of the wrong size, and parts that are no picture."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from werkzeug.datastructures import FileStorage

from gateway.jobs.catalogue import Catalogue
from tests.api_world import OFFER, World, make_world, picture
from tests.service.refused import error, post_form


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_world(tmp_path_factory.mktemp("world"))
    yield made
    made.database.close()


def test_a_file_part_of_another_name_is_400(world: World) -> None:
    form = {"prompt": "p", "image": (io.BytesIO(picture()), "p.png")}
    answer = world.http.post("/v1/videos", data=form, headers=world.key("alice"))
    assert (answer.status_code, error(answer)["param"], error(answer)["code"]) == (400, "image", "unknown_parameter")


def test_two_pictures_are_400(world: World) -> None:
    parts = [(io.BytesIO(picture()), "a.png"), (io.BytesIO(picture()), "b.png")]
    answer = world.http.post("/v1/videos", data={"prompt": "p", "input_reference": parts}, headers=world.key("alice"))
    assert (answer.status_code, error(answer)["param"]) == (400, "input_reference")


def test_a_file_field_that_was_left_empty_is_no_picture(world: World) -> None:
    form = {"prompt": "p", "input_reference": (io.BytesIO(b""), "")}
    assert world.http.post("/v1/videos", data=form, headers=world.key("alice")).status_code == 202


def _png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _webp_promising(width: int, height: int) -> bytes:
    data = bytearray(picture("WEBP"))
    data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


def _extended_webp(width: int, height: int) -> bytes:
    body = (
        b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + width.to_bytes(3, "little") + height.to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", len(body) + 20) + body + bytes(20)


def _gif() -> bytes:
    out = io.BytesIO()
    Image.new("P", (8, 8)).save(out, "GIF")
    return out.getvalue()


BAD_PICTURES = {
    "text": (b"not a picture", "invalid_image"),
    "nothing": (b"", "invalid_image"),
    "a gif": (_gif(), "invalid_image"),
    "a page": (b"<html><body>502</body></html>", "invalid_image"),
    "a png cut off": (picture("PNG", (400, 400))[:-400], "invalid_image"),
    "a jpeg cut off": (picture("JPEG", (400, 400))[:-400], "invalid_image"),
    "a webp cut off": (picture("WEBP", (400, 400))[:-200], "invalid_image"),
    "a png with a broken checksum": (picture().replace(b"IDAT", b"IDAX"), "invalid_image"),
    "a header alone": (b"\x89PNG\r\n\x1a\n", "invalid_image"),
    "a png bomb": (_png(30_000, 30_000, bytes(1000)), "image_too_large"),
    "a png beyond 50 megapixels": (_png(10_000, 6_000, bytes(1000)), "image_too_large"),
    "a long thin png": (_png(20_000, 1, bytes(20_001)), "image_too_large"),
    "a webp bomb": (_webp_promising(16_383, 16_383), "image_too_large"),
    "an extended webp bomb": (_extended_webp(16_000, 16_000), "image_too_large"),
    "more than 10 MB": (picture() + bytes(10 * 1024 * 1024), "image_too_large"),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_bad_picture_is_400_and_the_answer_says_what_is_allowed(world: World, name: str) -> None:
    data, code = BAD_PICTURES[name]
    file = FileStorage(io.BytesIO(data), "p.png", "input_reference", "image/png")
    answer = post_form(world, {"prompt": "p", "input_reference": file})
    found = error(answer)
    assert (answer.status_code, found["param"], found["code"]) == (400, "input_reference", code), found
    assert "PNG, JPEG or WebP, at most 10 MB" in found["message"]
    assert world.bucket.objects == {}


def test_a_picture_must_be_as_large_as_the_video_where_the_upstream_wants_it(tmp_path: Path) -> None:
    strict = Catalogue(models={"sora-2": [replace(OFFER, image_must_match_size=True)]})
    world = make_world(tmp_path, catalogue=strict)
    fitting = "data:image/png;base64," + base64.b64encode(picture(size=(720, 1280))).decode()
    small = "data:image/png;base64," + base64.b64encode(picture()).decode()
    refused = world.post(input_reference={"image_url": small})
    assert world.post(input_reference={"image_url": fitting}).status_code == 202
    assert (refused.status_code, error(refused)["code"]) == (400, "invalid_image_size")
    assert "720x1280" in error(refused)["message"]
    world.database.close()


def test_a_data_url_in_a_form_may_be_as_large_as_a_picture(world: World) -> None:
    noise = Image.effect_noise((1500, 1500), 200)
    out = io.BytesIO()
    noise.save(out, "PNG")
    form = {
        "prompt": "p",
        "input_reference[image_url]": "data:image/png;base64," + base64.b64encode(out.getvalue()).decode(),
    }
    answer = post_form(world, form)
    assert answer.status_code == 202, answer.json
    world.bucket.objects.clear()
