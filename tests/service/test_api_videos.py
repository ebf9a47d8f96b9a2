"""Posting, looking at, listing, cancelling and deleting videos, over a real database."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.jobs.job import Status
from tests.api_world import PUBLIC, World, make_world, picture


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.database.close()


def test_a_post_is_answered_202_with_a_queued_video_and_its_place(world: World) -> None:
    answer = world.post(metadata={"order": "1"}, callback_url="https://example.com/hook")
    video = answer.json
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"{PUBLIC}/v1/videos/{video['id']}" == video["urls"]["get"]
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["openai-poll-after-ms"] == "5000"
    assert video == {
        "id": video["id"], "object": "video", "model": "sora-2", "status": "queued", "progress": 0,
        "prompt": "a paper boat", "size": "720x1280", "seconds": "4", "created_at": video["created_at"],
        "completed_at": None, "expires_at": None, "error": None, "remixed_from_video_id": None, "url": None,
        "url_expires_at": None, "content": None, "callback_url": "https://example.com/hook", "metadata": {"order": "1"},
        "urls": {
            "get": f"{PUBLIC}/v1/videos/{video['id']}", "content": f"{PUBLIC}/v1/videos/{video['id']}/content",
            "events": f"{PUBLIC}/v1/videos/{video['id']}/events", "cancel": f"{PUBLIC}/v1/videos/{video['id']}/cancel",
        },
        "queue_position": None, "estimated_completion_at": None,
    }  # fmt: skip
    job = world.job(video["id"])
    assert (job.client, job.status, job.due_at <= world.database.now()) == ("alice", Status.QUEUED, True)
    assert job.callback_events == ("video.completed", "video.failed")


@pytest.mark.parametrize("seconds", ["8", 8, "08"])
def test_a_post_takes_seconds_as_text_or_number(world: World, seconds: object) -> None:
    assert world.post(seconds=seconds).json["seconds"] == "8"


def test_a_form_and_json_with_the_same_fields_are_the_same_request(world: World) -> None:
    key = {"Idempotency-Key": "k"}
    fields = {"metadata": {"a": "1"}, "extra": {"seed": 7}, "callback_events": ["video.failed"], "seconds": 8}
    first = world.post(headers=key, callback_url="https://example.com/h", **fields)
    form = {
        "prompt": "a paper boat", "metadata[a]": "1", "extra[seed]": "7", "callback_events[]": ["video.failed"],
        "callback_url": "https://example.com/h", "seconds": "8",
    }  # fmt: skip
    headers = {**world.key("alice"), **key}
    multipart = world.http.post("/v1/videos", data=form, headers=headers, content_type="multipart/form-data")
    urlencoded = world.http.post("/v1/videos", data=form, headers=headers)
    assert first.status_code == 202
    assert multipart.json == urlencoded.json == first.json
    assert world.job(first.json["id"]).extra == {"seed": 7}


def test_a_form_takes_json_text_in_one_field(world: World) -> None:
    form = {
        "prompt": "p", "metadata": '{"a":"1"}', "callback_events": '["video.failed"]', "extra": '{"seed":7}',
        "callback_url": "https://example.com/h", "input_reference": '{"image_url":"https://example.com/p.png"}',
    }  # fmt: skip
    answer = world.http.post("/v1/videos", data=form, headers=world.key("alice"))
    assert answer.status_code == 202, answer.json
    job = world.job(answer.json["id"])
    assert (job.metadata, job.extra, job.callback_events) == ({"a": "1"}, {"seed": 7}, ("video.failed",))
    assert job.reference is not None
    assert job.reference.url == "https://example.com/p.png"


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_a_file_part_lies_in_the_bucket_under_the_jobs_own_key(world: World, kind: str, suffix: str) -> None:
    data = picture(kind)
    form = {"prompt": "p", "input_reference": (io.BytesIO(data), "p.bin")}
    answer = world.http.post("/v1/videos", data=form, headers=world.key("alice"))
    assert answer.status_code == 202, answer.json
    reference = world.job(answer.json["id"]).reference
    assert reference is not None
    assert reference.object_key.endswith(f"/{answer.json['id']}/reference.{suffix}")
    assert reference.object_key.startswith("alice/20")
    assert world.bucket.objects == {reference.object_key: data}
    assert reference.size == len(data)


def test_a_data_url_is_decoded_at_once_and_kept_as_a_file_is(world: World) -> None:
    data = picture()
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    answer = world.post(input_reference={"image_url": url})
    assert answer.status_code == 202, answer.json
    assert list(world.bucket.objects.values()) == [data]
    assert world.asked_targets == []


def test_a_remote_picture_is_checked_and_left_to_the_worker(world: World) -> None:
    url = "https://example.com/picture.png"
    accepted = world.post(input_reference={"image_url": url})
    world.refusals[url] = "must be public"
    refused = world.post(input_reference={"image_url": url})
    assert accepted.status_code == 202
    assert (refused.status_code, refused.json["error"]["param"]) == (400, "input_reference")
    assert "must be public" in refused.json["error"]["message"]


def test_a_bucket_that_is_down_is_503_and_nothing_is_kept(world: World) -> None:
    world.bucket.down = True
    form = {"prompt": "p", "input_reference": (io.BytesIO(picture()), "p.png")}
    answer = world.http.post("/v1/videos", data=form, headers=world.key("alice"))
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert world.jobs_written() == 0


def test_a_replay_gives_the_first_answer_again_and_uploads_nothing(world: World) -> None:
    def post() -> object:
        form = {"prompt": "p", "input_reference": (io.BytesIO(picture()), "p.png")}
        return world.http.post("/v1/videos", data=form, headers={**world.key("alice"), "Idempotency-Key": '"quoted"'})

    first = post()
    world.advance(first.json["id"], Status.COMPLETED)
    objects = dict(world.bucket.objects)
    again = post()
    assert (again.status_code, again.json) == (202, first.json)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Location"] == first.headers["Location"]
    assert world.bucket.objects == objects


def test_a_replay_is_answered_even_if_the_callback_is_refused_by_now(world: World) -> None:
    key = {"Idempotency-Key": "k"}
    first = world.post(headers=key, callback_url="https://example.com/h")
    world.refusals["https://example.com/h"] = "must exist"
    assert world.post(headers=key, callback_url="https://example.com/h").json == first.json


def test_a_replay_shows_the_prompt_that_was_removed_here(world: World) -> None:
    key = {"Idempotency-Key": "k"}
    first = world.post(headers=key, prompt="a boat")
    world.http.delete(f"/v1/videos/{first.json['id']}", headers=world.key("alice"))
    again = world.post(headers=key, prompt="a boat")
    assert (again.headers["Idempotent-Replayed"], again.json) == ("true", first.json)
    assert world.jobs_written() == 0


def test_an_idempotency_key_with_another_body_is_422(world: World) -> None:
    world.post(headers={"Idempotency-Key": "k"})
    answer = world.post(headers={"Idempotency-Key": "k"}, seconds=8)
    assert (answer.status_code, answer.json["error"]["code"]) == (422, "idempotency_key_reused")


def test_another_picture_is_another_request(world: World) -> None:
    def post(size: tuple[int, int]) -> int:
        form = {"prompt": "p", "input_reference": (io.BytesIO(picture(size=size)), "p.png")}
        headers = {**world.key("alice"), "Idempotency-Key": "k"}
        return world.http.post("/v1/videos", data=form, headers=headers).status_code

    assert [post((64, 48)), post((64, 48)), post((48, 64))] == [202, 202, 422]


def test_idempotency_keys_of_two_clients_do_not_meet(world: World) -> None:
    first = world.post("alice", headers={"Idempotency-Key": "k"})
    second = world.post("bob", headers={"Idempotency-Key": "k"}, seconds=8)
    assert (second.status_code, "Idempotent-Replayed" in second.headers) == (202, False)
    assert first.json["id"] != second.json["id"]


def test_two_equal_posts_at_once_make_one_video(world: World) -> None:
    headers = {**world.key("alice"), "Idempotency-Key": "k"}
    barrier = threading.Barrier(6)
    found: list[str] = []

    def post() -> None:
        barrier.wait(10)
        client = world.http.application.test_client()
        found.append(client.post("/v1/videos", json={"prompt": "p"}, headers=headers).json["id"])

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 6
    assert len(set(found)) == 1
    assert world.jobs_written() == 1


def test_a_retry_by_the_sdk_is_answered_with_the_video_it_made(world: World) -> None:
    first = world.post()
    retried = world.post(headers={"x-stainless-retry-count": "1"})
    fresh = world.post(headers={"x-stainless-retry-count": "0"})
    assert retried.json["id"] == first.json["id"] != fresh.json["id"]


@pytest.mark.parametrize("key", ["", "k" * 256, "schlüssel", "a\x07b", '""'])
def test_a_malformed_idempotency_key_is_400(world: World, key: str) -> None:
    answer = world.post(headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json["error"]["param"]) == (400, "Idempotency-Key")


def test_a_client_with_too_many_unfinished_videos_is_told_to_wait(tmp_path: Path) -> None:
    world = make_world(tmp_path, max_unfinished=1)
    world.post()
    refused = world.post()
    other = world.post("bob")
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "queue_full")
    assert int(refused.headers["Retry-After"]) >= 1
    assert other.status_code == 202
    world.database.close()


def test_a_picture_of_a_refused_post_is_left_to_the_sweep(tmp_path: Path) -> None:
    world = make_world(tmp_path, max_unfinished=0)
    form = {"prompt": "p", "input_reference": (io.BytesIO(picture()), "p.png")}
    answer = world.http.post("/v1/videos", data=form, headers=world.key("alice"))
    now = world.database.now()
    swept = world.services.intake._ledger.leftovers(limit=10, lease_s=60, now=now + 1)
    assert answer.status_code == 429
    assert [leftover.key for leftover in swept] == list(world.bucket.objects)
    world.database.close()


def test_a_video_shows_where_it_is(world: World) -> None:
    first, second = world.post().json["id"], world.post().json["id"]
    queued = world.get(f"/v1/videos/{second}")
    world.advance(first, Status.RENDERING)
    rendering = world.get(f"/v1/videos/{first}")
    assert (queued.json["status"], queued.json["queue_position"]) == ("queued", 2)
    assert world.get(f"/v1/videos/{second}").json["queue_position"] == 1
    assert (rendering.json["status"], rendering.json["queue_position"]) == ("in_progress", None)
    assert int(rendering.headers["openai-poll-after-ms"]) <= 5000


def test_the_completion_is_estimated_once_enough_are_known(world: World) -> None:
    for _ in range(5):
        world.advance(world.post().json["id"], Status.COMPLETED)
    now = world.database.now()
    unfinished = world.post().json["id"]
    unknown = world.post(seconds=8).json["id"]
    assert abs(world.get(f"/v1/videos/{unfinished}").json["estimated_completion_at"] - now) < 60
    assert world.get(f"/v1/videos/{unknown}").json["estimated_completion_at"] is None


def test_a_completed_video_has_a_fresh_link_each_time(world: World) -> None:
    video_id = world.post().json["id"]
    world.advance(video_id, Status.COMPLETED)
    first, second = world.get(f"/v1/videos/{video_id}").json, world.get(f"/v1/videos/{video_id}").json
    assert first["status"] == "completed"
    assert first["progress"] == 100
    assert first["completed_at"] >= first["created_at"]
    assert first["content"] == {"bytes": 10, "sha256": "ab" * 32, "content_type": "video/mp4"}
    assert first["url"] != second["url"]
    assert first["expires_at"] is None
    assert "openai-poll-after-ms" not in world.get(f"/v1/videos/{video_id}").headers
    assert world.get("/v1/videos").json["data"][0]["url"].startswith("https://bucket.test/")


def test_a_completed_video_says_when_retention_takes_it(tmp_path: Path) -> None:
    world = make_world(tmp_path, retention_s=3600.0)
    video_id = world.post().json["id"]
    world.advance(video_id, Status.COMPLETED)
    shown = world.get(f"/v1/videos/{video_id}").json
    assert shown["expires_at"] == pytest.approx(shown["completed_at"] + 3600, abs=1)
    world.database.close()


def test_a_failed_video_says_why(world: World) -> None:
    video_id = world.post().json["id"]
    world.fail(video_id)
    shown = world.get(f"/v1/videos/{video_id}").json
    assert (shown["status"], shown["completed_at"]) == ("failed", None)
    assert shown["error"] == {"code": "upstream_error", "message": "The upstream gave up."}


@pytest.mark.parametrize("path", ["", "/content", "/events", "/deliveries"])
def test_a_video_of_another_client_is_404(world: World, path: str) -> None:
    video_id = world.post("alice").json["id"]
    answer = world.get(f"/v1/videos/{video_id}{path}", "bob")
    unknown = world.get(f"/v1/videos/{video_id[:-1]}{path}", "bob")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_found")
    assert answer.json["error"]["message"].replace(video_id, video_id[:-1]) == unknown.json["error"]["message"]


def test_a_list_is_paged_and_filtered(world: World) -> None:
    ids = [world.post(metadata={"n": str(n), "odd.key": "x"}).json["id"] for n in range(5)]
    world.post("bob")
    world.fail(ids[0])
    first = world.get("/v1/videos?limit=2").json
    second = world.get(f"/v1/videos?limit=2&after={first['last_id']}").json
    third = world.get(f"/v1/videos?limit=2&after={second['last_id']}").json
    paged = [video["id"] for page in (first, second, third) for video in page["data"]]
    assert paged == ids[::-1]
    assert [page["has_more"] for page in (first, second, third)] == [True, True, False]
    assert (first["first_id"], first["object"]) == (ids[4], "list")
    assert [v["id"] for v in world.get("/v1/videos?order=asc").json["data"]] == ids
    assert [v["id"] for v in world.get("/v1/videos?status=failed").json["data"]] == [ids[0]]
    assert [v["id"] for v in world.get("/v1/videos?metadata[n]=3&metadata[odd.key]=x").json["data"]] == [ids[3]]
    assert world.get("/v1/videos?model=none").json["data"] == []


def test_a_list_from_another_clients_video_is_404(world: World) -> None:
    foreign = world.post("bob").json["id"]
    assert world.get(f"/v1/videos?after={foreign}").status_code == 404


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=101", "limit"), ("limit=-1", "limit"), ("limit=x", "limit"), ("limit=1&limit=2", "limit"),
        ("order=up", "order"), ("status=done", "status"), ("after=", "after"), ("colour=red", "colour"),
        ("metadata=x", "metadata"), (f"metadata[{'k' * 65}]=x", "metadata"), ("model=%00", "model"),
    ],
)  # fmt: skip
def test_a_wrong_query_is_400_and_named(world: World, query: str, param: str) -> None:
    answer = world.get(f"/v1/videos?{query}")
    assert (answer.status_code, answer.json["error"]["param"]) == (400, param)


def test_cancelling_ends_a_video_once(world: World) -> None:
    video_id = world.post().json["id"]
    url = f"/v1/videos/{video_id}/cancel"
    cancelled = world.http.post(url, headers=world.key("alice"))
    again = world.http.post(url, headers=world.key("alice"))
    foreign = world.http.post(url, headers=world.key("bob"))
    assert (cancelled.status_code, cancelled.json["status"]) == (200, "cancelled")
    assert (again.status_code, again.json["status"]) == (200, "cancelled")
    assert foreign.status_code == 404


def test_a_finished_video_cannot_be_cancelled(world: World) -> None:
    video_id = world.post().json["id"]
    world.advance(video_id, Status.COMPLETED)
    answer = world.http.post(f"/v1/videos/{video_id}/cancel", headers=world.key("alice"))
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "already_final")
    assert answer.headers["x-should-retry"] == "false"


def test_a_deleted_video_is_gone_from_everywhere(world: World) -> None:
    video_id = world.post().json["id"]
    foreign = world.http.delete(f"/v1/videos/{video_id}", headers=world.key("bob"))
    answer = world.http.delete(f"/v1/videos/{video_id}", headers=world.key("alice"))
    assert foreign.status_code == 404
    assert answer.json == {"id": video_id, "object": "video.deleted", "deleted": True}
    assert world.get(f"/v1/videos/{video_id}").status_code == 404
    assert world.get("/v1/videos").json["data"] == []
    assert world.http.delete(f"/v1/videos/{video_id}", headers=world.key("alice")).status_code == 404


def test_client_names_that_stores_would_mind_get_a_folder_of_their_own(world: World) -> None:
    form = {"prompt": "p", "input_reference": (io.BytesIO(picture()), "p.png")}
    world.http.post("/v1/videos", data=form, headers=world.key("../Ünï/x"))
    (key,) = world.bucket.objects
    assert ".." not in key
    assert key.isascii()
    assert key.count("/") == 5
