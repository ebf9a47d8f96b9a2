"""Every field wrong in turn, broken bodies, pictures that are none: 400 with the field and what is allowed."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.test import encode_multipart

from gateway.jobs.catalogue import Catalogue
from tests.api_world import OFFER, World, make_world, picture


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_world(tmp_path_factory.mktemp("world"))
    yield made
    made.database.close()


def error(answer: Any) -> dict[str, Any]:
    """Return the error of an answer after looking at what every error answer has."""
    body = answer.json
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.content_type == "application/json"
    found: dict[str, Any] = body["error"]
    return found


def post_form(world: World, form: dict[str, Any]) -> Any:
    """Post a multipart form from memory: beyond 500 kB the test client would leave a temporary file open."""
    boundary, body = encode_multipart(form)
    headers = {**world.key("alice"), "Content-Type": f"multipart/form-data; boundary={boundary}"}
    return world.http.post("/v1/videos", data=body, headers=headers)


LONG = "x" * 5000


@pytest.mark.parametrize(
    ("field", "value", "code", "said"),
    [
        ("prompt", None, "invalid_type", "text"),
        ("prompt", "", "invalid_value", "1 to 32,000"),
        ("prompt", " \n\t", "invalid_value", "white space"),
        ("prompt", "x" * 32_001, "invalid_value", "32,000"),
        ("prompt", 7, "invalid_type", "text"),
        ("prompt", ["x"], "invalid_type", "text"),
        ("prompt", "a\0b", "invalid_value", "NUL"),
        ("prompt", "a\ud800b", "invalid_value", "surrogate"),
        ("model", "sora-9", "model_not_found", "'sora-2'"),
        ("model", 2, "invalid_type", "model"),
        ("model", "", "invalid_value", "model"),
        ("model", "x" * 201, "invalid_value", "model"),
        ("size", "640x480", "invalid_value", "'720x1280', '1280x720'"),
        ("size", "", "invalid_value", "1280x720"),
        ("size", 720, "invalid_type", "1280x720"),
        ("size", "1280x720\n", "invalid_value", "1280x720"),
        ("seconds", 5, "invalid_value", "'4', '8', '12'"),
        ("seconds", "4.5", "invalid_type", "whole number"),
        ("seconds", 4.5, "invalid_type", "whole number"),
        ("seconds", 4.0, "invalid_type", "whole number"),
        ("seconds", True, "invalid_type", "whole number"),
        ("seconds", "four", "invalid_type", "whole number"),
        ("seconds", "", "invalid_type", "whole number"),
        ("seconds", 0, "invalid_type", "whole number"),
        ("seconds", -4, "invalid_type", "whole number"),
        ("seconds", "٤", "invalid_type", "whole number"),
        ("seconds", 10**400, "invalid_type", "whole number"),
        ("seconds", [4], "invalid_type", "whole number"),
        ("input_reference", "https://example.com/p.png", "invalid_type", "image_url"),
        ("input_reference", {}, "invalid_type", "image_url"),
        ("input_reference", {"file_id": "file_1"}, "invalid_type", "image_url"),
        ("input_reference", {"image_url": "https://example.com/", "x": "y"}, "invalid_type", "image_url"),
        ("input_reference", {"image_url": 7}, "invalid_type", "image_url"),
        ("input_reference", {"image_url": "ftp://example.com/p.png"}, "invalid_value", "http"),
        ("input_reference", {"image_url": "data:image/png;base64"}, "invalid_image", "PNG, JPEG or WebP"),
        ("input_reference", {"image_url": "data:image/png;base64,%%%"}, "invalid_image", "base64"),
        ("input_reference", {"image_url": "data:image/png;base64,aGVsbG8="}, "invalid_image", "PNG, JPEG or WebP"),
        ("callback_url", "", "invalid_value", "http"),
        ("callback_url", "example.com/hook", "invalid_value", "http"),
        ("callback_url", "ftp://example.com/", "invalid_value", "http"),
        ("callback_url", "https://", "invalid_value", "http"),
        ("callback_url", "https://exa mple.com/", "invalid_value", "http"),
        ("callback_url", "https://example.com:99999/", "invalid_value", "http"),
        ("callback_url", "https://[::1/", "invalid_value", "http"),
        ("callback_url", "https://example.com/" + LONG, "invalid_value", "2048"),
        ("callback_url", 7, "invalid_type", "http"),
        ("callback_events", ["video.completed"], "invalid_value", "callback_url"),
        ("callback_events", [], "invalid_value", "at least one"),
        ("callback_events", ["video.done"], "invalid_value", "video.completed"),
        ("callback_events", ["video.failed", "video.failed"], "invalid_value", "once"),
        ("callback_events", "video.failed", "invalid_type", "list"),
        ("callback_events", [7], "invalid_type", "list"),
        ("metadata", "x", "invalid_type", "16 pairs"),
        ("metadata", {"a": 1}, "invalid_type", "16 pairs"),
        ("metadata", {"a": None}, "invalid_type", "16 pairs"),
        ("metadata", {f"k{n}": "v" for n in range(17)}, "invalid_value", "16 pairs"),
        ("metadata", {"k" * 65: "v"}, "invalid_value", "64"),
        ("metadata", {"": "v"}, "invalid_value", "64"),
        ("metadata", {"k": "v" * 513}, "invalid_value", "512"),
        ("metadata", {"k\0": "v"}, "invalid_value", "NUL"),
        ("metadata", {"k": "\udfff"}, "invalid_value", "surrogate"),
        ("extra", {"fps": 24}, "unknown_parameter", "negative_prompt, seed"),
        ("extra", {"seed": 1, "fps": 24}, "unknown_parameter", "'fps'"),
        ("extra", "x", "invalid_type", "object"),
        ("extra", [1], "invalid_type", "object"),
        ("extra", {"seed": "\0"}, "invalid_value", "NUL"),
        ("extra", {"seed": LONG * 4}, "invalid_value", "16,384"),
        ("n", 2, "unknown_parameter", "prompt"),
        ("webhook", "https://example.com", "unknown_parameter", "callback_url"),
    ],
)
def test_a_wrong_field_is_400_and_the_answer_says_what_is_allowed(
    world: World, field: str, value: object, code: str, said: str
) -> None:
    answer = world.post(**{field: value})
    found = error(answer)
    assert answer.status_code == 400, found
    assert (found["type"], found["code"]) == ("invalid_request_error", code), found
    assert found["param"].split(".")[0] == field
    assert said in found["message"], found["message"]


def test_nothing_of_a_refused_post_is_kept(world: World) -> None:
    before = world.jobs_written()
    world.post(seconds=5)
    world.post(size="1x1", input_reference={"image_url": "data:;base64," + base64.b64encode(picture()).decode()})
    assert world.jobs_written() == before
    assert world.bucket.objects == {}


def test_a_missing_prompt_is_named(world: World) -> None:
    answer = world.http.post("/v1/videos", json={"model": "sora-2"}, headers=world.key("alice"))
    found = error(answer)
    assert (answer.status_code, found["param"], found["code"]) == (400, "prompt", "missing_required_parameter")


@pytest.mark.parametrize(
    "field", ["model", "size", "seconds", "input_reference", "callback_url", "callback_events", "metadata", "extra"]
)
def test_null_is_the_same_as_left_out(world: World, field: str) -> None:
    assert world.post(**{field: None}).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"text"', b"null", b'{"prompt": "a",}', b'{"prompt": NaN}',
        b'{"prompt":"a","extra":{"seed":1e999}}', b'{"prompt": "a", "prompt": "b"}', b"\xff\xfe", b'{"prompt": "\xff"}',
        b"[" * 100_000, b'{"seconds": ' + b"9" * 5000 + b"}",
        b'{"extra":' + b"[" * 500 + b"]" * 500 + b',"prompt":"x"}',
    ],
)  # fmt: skip
def test_a_broken_json_body_is_400(world: World, body: bytes) -> None:
    headers = {**world.key("alice"), "Content-Type": "application/json"}
    answer = world.http.post("/v1/videos", data=body, headers=headers)
    assert answer.status_code == 400
    assert error(answer)["type"] == "invalid_request_error"


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/octet-stream", "text/json"])
def test_a_body_of_another_type_is_415(world: World, kind: str) -> None:
    answer = world.http.post("/v1/videos", data=b'{"prompt":"x"}', headers={**world.key("alice"), "Content-Type": kind})
    assert (answer.status_code, error(answer)["code"]) == (415, "unsupported_content_type")
    assert "multipart/form-data" in error(answer)["message"]


def test_a_compressed_body_is_415(world: World) -> None:
    headers = {**world.key("alice"), "Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert world.http.post("/v1/videos", data=b"x", headers=headers).status_code == 415


def test_a_post_without_a_body_misses_the_prompt(world: World) -> None:
    answer = world.http.post("/v1/videos", headers=world.key("alice"))
    assert (answer.status_code, error(answer)["param"]) == (400, "prompt")


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ([("prompt", "a"), ("prompt", "b")], "prompt"),
        ([("prompt", "a"), ("metadata[k]", "1"), ("metadata[k]", "2")], "metadata[k]"),
        ([("prompt", "a"), ("metadata", "{}"), ("metadata[k]", "2"), ("metadata", "{}")], "metadata"),
        ([("prompt", "a"), ("metadata[k]", "2"), ("metadata", "{}")], "metadata"),
        ([("prompt", "a"), ("metadata", "text")], "metadata"),
        ([("prompt", "a"), ("metadata", '{"a":"1","a":"2"}')], "metadata"),
        ([("prompt", "a"), ("callback_events", "[")], "callback_events"),
        (
            [("prompt", "a"), ("callback_events", "video.failed"), ("callback_events[]", "video.failed")],
            "callback_events",
        ),
        ([("prompt", "a"), ("input_reference", "https://example.com/p.png")], "input_reference"),
        ([("prompt", "a"), ("prompt[x]", "b")], "prompt[x]"),
        ([("prompt", "a"), ("metadata[]", "b")], "metadata[]"),
        ([("prompt", "a"), ("colour", "b")], "colour"),
    ],
)
def test_a_wrong_form_is_400_and_named(world: World, form: list[tuple[str, str]], param: str) -> None:
    answer = world.http.post("/v1/videos", data=MultiDict(form), headers=world.key("alice"))
    assert (answer.status_code, error(answer)["param"]) == (400, param), answer.json


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na', "multipart/form-data; boundary=x"),
        (b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n--x--\r\n', "multipart/form-data"),
        (b"no boundary at all", "multipart/form-data; boundary=x"),
    ],
)  # fmt: skip
def test_a_broken_multipart_body_is_400(world: World, body: bytes, kind: str) -> None:
    answer = world.http.post("/v1/videos", data=body, headers={**world.key("alice"), "Content-Type": kind})
    assert (answer.status_code, error(answer)["param"]) == (400, "body")


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


# -- pictures ----------------------------------------------------------------------------------------------------------


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


def test_the_prompt_may_be_as_long_as_one_upstream_takes_it(tmp_path: Path) -> None:
    offers = [replace(OFFER, prompt_max=10), replace(OFFER, upstream="two", prompt_max=20)]
    world = make_world(tmp_path, catalogue=Catalogue(models={"sora-2": offers}))
    refused = world.post(prompt="x" * 21)
    assert world.post(prompt="x" * 20).status_code == 202
    assert (refused.status_code, error(refused)["param"]) == (400, "prompt")
    assert "at most 20" in error(refused)["message"]
    world.database.close()


def test_a_gateway_without_models_refuses_every_post(tmp_path: Path) -> None:
    world = make_world(tmp_path, catalogue=Catalogue(models={}))
    assert (world.post().status_code, error(world.post())["code"]) == (400, "model_not_found")
    world.database.close()


# -- callbacks ---------------------------------------------------------------------------------------------------------


def test_a_callback_without_a_secret_to_sign_with_is_refused(world: World) -> None:
    world.secretless.add("carol")
    answer = world.post("carol", callback_url="https://example.com/hook")
    assert (answer.status_code, error(answer)["param"]) == (400, "callback_url")
    assert "secret" in error(answer)["message"]
    assert world.post("carol").status_code == 202


def test_a_callback_that_the_guard_refuses_is_refused(world: World) -> None:
    world.refusals["http://10.0.0.1/hook"] = "must be a public address"
    answer = world.post(callback_url="http://10.0.0.1/hook")
    assert (answer.status_code, error(answer)["param"]) == (400, "callback_url")
    assert "must be a public address" in error(answer)["message"]


# -- bodies that are too large -----------------------------------------------------------------------------------------


class Drip(io.RawIOBase):
    """A body that is made as it is read, and counts what was taken of it."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self.left)
        buffer[:count] = bytes(count)
        self.left -= count
        return count


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_of_40_mb_is_413_and_read_to_its_end(world: World, announced: bool) -> None:
    body = Drip(40 * 1024 * 1024)
    environ: dict[str, Any] = {"wsgi.input": body, "wsgi.input_terminated": True}
    environ.update({"CONTENT_LENGTH": str(body.left)} if announced else {"HTTP_TRANSFER_ENCODING": "chunked"})
    answer = world.http.post(
        "/v1/videos", headers={**world.key("alice"), "Content-Type": "application/json"}, environ_overrides=environ
    )
    assert (answer.status_code, error(answer)["code"]) == (413, "body_too_large")
    assert "16777216" in error(answer)["message"]
    assert body.left == 0


def test_a_large_body_with_a_wrong_key_is_401_and_read_to_its_end(world: World) -> None:
    body = Drip(40 * 1024 * 1024)
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": str(body.left)}
    answer = world.http.post("/v1/videos", headers={"Authorization": "Bearer no"}, environ_overrides=environ)
    assert (answer.status_code, body.left) == (401, 0)


def test_a_form_with_too_many_parts_is_413(world: World) -> None:
    form = {f"metadata[{n}]": "x" for n in range(1200)}
    answer = world.http.post("/v1/videos", data=form, headers=world.key("alice"), content_type="multipart/form-data")
    assert (answer.status_code, error(answer)["code"]) == (413, "body_too_large")


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


def test_error_answers_never_repeat_a_long_value(world: World) -> None:
    for fields in (
        {LONG: "x"},
        {"model": "m" * 190},
        {"size": LONG},
        {"extra": {LONG: 1}},
        {"callback_events": [LONG]},
    ):
        assert len(json.dumps(error(world.post(**fields)))) < 1000
