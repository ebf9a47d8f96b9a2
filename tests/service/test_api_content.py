"""The content of a video: redirected to or passed through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.db.ledger import SqlLedger
from gateway.jobs.job import Status
from tests.api_world import World, make_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def streaming(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, content_mode="stream", content_streams=2)
    yield made
    made.database.close()


def completed(world: World) -> str:
    video_id: str = world.post().json["id"]
    world.advance(video_id, Status.COMPLETED)
    return video_id


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("query", ["", "?variant=video"])
def test_content_redirects_to_a_fresh_link(world: World, method: str, query: str) -> None:
    url = f"/v1/videos/{completed(world)}/content{query}"
    first = world.http.open(url, method=method, headers=world.key("alice"))
    second = world.http.open(url, method=method, headers=world.key("alice"))
    assert first.status_code == 302
    assert first.headers["Location"].startswith("https://bucket.test/alice/")
    assert first.headers["Location"] != second.headers["Location"]
    assert first.headers["Cache-Control"] == "no-store"
    assert first.data == b""


@pytest.mark.parametrize("variant", ["thumbnail", "spritesheet"])
def test_a_variant_that_is_not_made_is_404_with_a_name(world: World, variant: str) -> None:
    answer = world.get(f"/v1/videos/{completed(world)}/content?variant={variant}")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "variant_not_available")


@pytest.mark.parametrize(("variant", "suffix"), [("thumbnail", "webp"), ("spritesheet", "jpg")])
def test_a_variant_that_was_stored_is_redirected_to_under_a_name_of_its_own(
    world: World, variant: str, suffix: str
) -> None:
    world.variants = (variant,)
    video_id = completed(world)
    answer = world.get(f"/v1/videos/{video_id}/content?variant={variant}")
    assert answer.status_code == 302
    assert f"/1-{variant}." in answer.headers["Location"]
    assert answer.headers["Location"].endswith(f"&name={video_id}-{variant}.{suffix}")
    other = "spritesheet" if variant == "thumbnail" else "thumbnail"
    missing = world.get(f"/v1/videos/{video_id}/content?variant={other}")
    assert (missing.status_code, missing.json["error"]["code"]) == (404, "variant_not_available")
    # What is shown and linked stays the video.
    shown = world.get(f"/v1/videos/{video_id}").json
    assert (shown["content"]["content_type"], "/1.mp4" in shown["url"]) == ("video/mp4", True)


def test_a_variant_is_passed_through_as_what_it_is(streaming: World) -> None:
    streaming.variants = ("thumbnail", "spritesheet")
    video_id = completed(streaming)
    for variant, kind, suffix in (("thumbnail", "image/webp", "webp"), ("spritesheet", "image/jpeg", "jpg")):
        url = f"/v1/videos/{video_id}/content?variant={variant}"
        answer = streaming.get(url)
        assert (answer.status_code, answer.data) == (200, variant.encode())
        assert answer.headers["Content-Type"] == kind
        assert answer.headers["Content-Disposition"] == f'inline; filename="{video_id}-{variant}.{suffix}"'
        asked = streaming.http.head(url, headers=streaming.key("alice"))
        assert (asked.headers["Content-Type"], asked.headers["Content-Length"]) == (kind, str(len(variant)))
        part = streaming.get(url, headers={"Range": "bytes=1-2"})
        assert (part.status_code, part.data) == (206, variant[1:3].encode())
        answer.close()
        part.close()


def test_a_variant_that_retention_removed_is_410(world: World) -> None:
    world.variants = ("thumbnail",)
    video_id = completed(world)
    now = world.database.now()
    SqlLedger(world.database).retire(before=now + 1, limit=10, now=now)
    answer = world.get(f"/v1/videos/{video_id}/content?variant=thumbnail")
    assert (answer.status_code, answer.json["error"]["code"]) == (410, "content_removed")


def test_an_unknown_variant_is_400_and_names_the_known(world: World) -> None:
    answer = world.get(f"/v1/videos/{completed(world)}/content?variant=gif")
    assert (answer.status_code, answer.json["error"]["param"]) == (400, "variant")
    assert "thumbnail" in answer.json["error"]["message"]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RENDERING, Status.STORING])
def test_content_of_an_unfinished_video_is_409_not_ready(world: World, status: Status) -> None:
    video_id = world.post().json["id"]
    world.advance(video_id, status)
    answer = world.get(f"/v1/videos/{video_id}/content")
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "not_ready")


def test_content_of_a_failed_video_is_409_and_says_why(world: World) -> None:
    video_id = world.post().json["id"]
    world.fail(video_id)
    answer = world.get(f"/v1/videos/{video_id}/content")
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "video_failed")
    assert "The upstream gave up." in answer.json["error"]["message"]


def test_content_of_a_cancelled_video_is_409(world: World) -> None:
    video_id = world.post().json["id"]
    world.http.post(f"/v1/videos/{video_id}/cancel", headers=world.key("alice"))
    answer = world.get(f"/v1/videos/{video_id}/content")
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "video_cancelled")


def test_content_that_retention_removed_is_410(world: World) -> None:
    video_id = completed(world)
    now = world.database.now()
    SqlLedger(world.database).retire(before=now + 1, limit=10, now=now)
    answer = world.get(f"/v1/videos/{video_id}/content")
    shown = world.get(f"/v1/videos/{video_id}").json
    assert (answer.status_code, answer.json["error"]["code"]) == (410, "content_removed")
    assert (shown["status"], shown["url"], shown["content"], shown["prompt"]) == ("completed", None, None, None)


def test_streaming_passes_the_bytes_through(streaming: World) -> None:
    answer = streaming.get(f"/v1/videos/{completed(streaming)}/content")
    assert (answer.status_code, answer.data) == (200, b"0123456789")
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Content-Length"] == "10"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"].startswith("inline; filename=")
    assert "x-amz-request-id" not in answer.headers


def test_streaming_passes_a_range_through(streaming: World) -> None:
    url = f"/v1/videos/{completed(streaming)}/content"
    part = streaming.get(url, headers={"Range": "bytes=2-4"})
    beyond = streaming.get(url, headers={"Range": "bytes=10-"})
    several = streaming.get(url, headers={"Range": "bytes=0-1,4-5"})
    assert (part.status_code, part.data, part.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */10")
    assert (several.status_code, several.data) == (200, b"0123456789")


def test_a_head_while_streaming_opens_nothing(streaming: World) -> None:
    video_id = completed(streaming)
    streaming.bucket.objects.clear()
    answer = streaming.http.head(f"/v1/videos/{video_id}/content", headers=streaming.key("alice"))
    assert (answer.status_code, answer.headers["Content-Length"], answer.data) == (200, "10", b"")


def test_streams_are_bounded_and_their_places_come_back(streaming: World) -> None:
    url, headers = f"/v1/videos/{completed(streaming)}/content", streaming.key("alice")
    held = [streaming.http.get(url, headers=headers, buffered=False) for _ in range(2)]
    refused = streaming.http.get(url, headers=headers)
    assert (refused.status_code, refused.json["error"]["code"]) == (503, "unavailable")
    assert "Retry-After" in refused.headers
    for answer in held:
        answer.close()
    assert streaming.bucket.opened == 0
    assert [streaming.http.get(url, headers=headers, buffered=True).status_code for _ in range(3)] == [200] * 3


def test_a_failed_opening_takes_no_place(streaming: World) -> None:
    url, headers = f"/v1/videos/{completed(streaming)}/content", streaming.key("alice")
    objects = dict(streaming.bucket.objects)
    streaming.bucket.objects.clear()
    missing = [streaming.http.get(url, headers=headers) for _ in range(5)]
    streaming.bucket.objects.update(objects)
    assert {(answer.status_code, answer.json["error"]["code"]) for answer in missing} == {(410, "content_removed")}
    assert streaming.http.get(url, headers=headers).status_code == 200


def test_a_link_lives_as_long_as_it_says(tmp_path: Path) -> None:
    world = make_world(tmp_path, url_ttl_s=60, wall=lambda: 1_800_000_000.5)
    shown = world.get(f"/v1/videos/{completed(world)}").json
    assert shown["url_expires_at"] == 1_800_000_060
    assert replace(world.job(shown["id"]), removed_at=1.0).stored is not None
    world.database.close()
