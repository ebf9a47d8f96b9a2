"""Bodies that are broken, of another type or too large, and forms that say a thing twice."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug.datastructures import MultiDict

from tests.api_world import World, make_world
from tests.service.refused import error


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = make_world(tmp_path_factory.mktemp("world"))
    yield made
    made.database.close()


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
