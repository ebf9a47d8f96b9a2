"""The simulated upstream's protocol over real HTTP: fields, lists, keys, limits, connections."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from gateway.demo import mp4
from gateway.demo.simulator import Simulator
from tests.service.simulator.driver import SETTINGS, Client, picture

RETIRED = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")
"""What the SDK says on every call, since OpenAI's own service ended."""


@RETIRED
def test_the_openai_sdk_makes_lists_downloads_and_deletes_a_video(client: Client, tmp_path: Path) -> None:
    sdk = openai.OpenAI(api_key="any", base_url=client.simulator.base_url, max_retries=0)
    made = sdk.videos.create(prompt="a dog runs", seconds="8", size="1280x720", input_reference=("a.png", picture()))
    assert (made.status, made.progress, made.seconds, made.size, made.model) == ("queued", 0, "8", "1280x720", "sora-2")

    client.simulator.render(made.id, progress=40)
    assert (sdk.videos.retrieve(made.id).status, sdk.videos.retrieve(made.id).progress) == ("in_progress", 40)
    client.simulator.render(made.id)
    assert sdk.videos.retrieve(made.id).status == "completed"

    film = tmp_path / "film.mp4"
    sdk.videos.download_content(made.id).write_to_file(film)
    probe = mp4.probe(film)
    assert (probe.width, probe.height, probe.duration, probe.codec) == (1280, 720, 8.0, "h264")

    assert [video.id for video in sdk.videos.list()] == [made.id]
    assert sdk.videos.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(made.id)
    sdk.close()


@RETIRED
def test_the_sdk_sees_a_remix_and_the_models(client: Client) -> None:
    sdk = openai.OpenAI(api_key="any", base_url=client.simulator.base_url, max_retries=0)
    video_id = client.made(seconds="12")
    remix = sdk.videos.remix(video_id, prompt="the same at night")
    assert (remix.remixed_from_video_id, remix.seconds) == (video_id, "12")
    assert "sora-2-pro" in [model.id for model in sdk.models.list()]
    sdk.close()


@pytest.mark.parametrize("form", [True, False])
def test_a_picture_may_come_as_a_large_data_url(client: Client, form: bool) -> None:
    data = io.BytesIO()
    Image.effect_noise((1280, 720), 90).save(data, "PNG")
    link = "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
    assert len(link) > 1_000_000
    fields = {"prompt": "a dog", "size": "1280x720"}
    if form:
        parts = {name: (None, value) for name, value in {**fields, "input_reference[image_url]": link}.items()}
        answer = client.raw("POST", "/v1/videos", files=parts)
    else:
        answer = client.submit(**fields, input_reference={"image_url": link})
    assert answer.status_code == 200
    assert client.simulator.books().videos[0].picture == hashlib.sha256(data.getvalue()).hexdigest()


def test_a_submit_may_come_in_chunks(client: Client) -> None:
    blocks = iter([b'{"prompt":', b'"a cat"}'])
    answer = client.raw("POST", "/v1/videos", data=blocks, headers={"Content-Type": "application/json"})
    assert answer.json()["prompt"] == "a cat"


def test_the_list_pages_newest_first_and_back(client: Client) -> None:
    ids = [client.submit(f"number {number}").json()["id"] for number in range(5)]
    first = client.get("", params={"limit": 2}).json()
    assert ([video["id"] for video in first["data"]], first["has_more"]) == (ids[:2:-1], True)
    second = client.get("", params={"limit": 3, "after": first["last_id"]}).json()
    assert ([video["id"] for video in second["data"]], second["has_more"]) == (ids[2::-1], False)
    assert [video["id"] for video in client.get("", params={"order": "asc"}).json()["data"]] == ids
    assert client.get("", params={"after": "video_of_another"}).status_code == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "sora-9"}, "model"),
        ({"size": "10x10"}, "size"),
        ({"seconds": "5"}, "seconds"),
        ({"seconds": 4}, "seconds"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"prompt": "sim:no-such-fault"}, "prompt"),
        ({"prompt": "sim:list-500"}, "prompt"),
        ({"seed": 1}, "seed"),
        ({"input_reference": "a.png"}, "input_reference"),
        ({"input_reference": {"image_url": "http://127.0.0.1/a.png"}}, "input_reference"),
        ({"input_reference": {"image_url": "data:image/png;base64,aGVsbG8="}}, "input_reference"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(client: Client, fields: dict[str, Any], param: str) -> None:
    answer = client.submit(**fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert client.simulator.books().count("accepted") == 0


@pytest.mark.parametrize(("width", "kind"), [(1280, "PNG"), (1280, "WEBP"), (64, "JPEG")])
def test_a_reference_picture_of_any_size_is_kept_with_the_video(client: Client, width: int, kind: str) -> None:
    files = {"input_reference": ("a", picture(width, kind=kind))}
    answer = client.raw("POST", "/v1/videos", data={"prompt": "a cat", "size": "1280x720"}, files=files)
    assert answer.status_code == 200
    shown = [video.picture for video in client.simulator.books().videos]
    assert shown == [hashlib.sha256(picture(width, kind=kind)).hexdigest()]


def test_a_key_sees_only_its_own_videos(start: Callable[..., Client]) -> None:
    simulator = start(keys={"one": "sk-1", "two": "sk-2"}).simulator
    one, two, stranger = (Client(simulator, key) for key in ("Bearer sk-1", "sk-2", "Bearer sk-3"))
    video_id = one.submit().json()["id"]
    assert (one.get(f"/{video_id}").status_code, two.get(f"/{video_id}").status_code) == (200, 404)
    assert (len(one.get("").json()["data"]), len(two.get("").json()["data"])) == (1, 0)
    assert (stranger.submit().status_code, stranger.get("").json()["error"]["code"]) == (401, "invalid_api_key")
    assert [video.key for video in simulator.books().videos] == ["one"]
    for each in (one, two, stranger):
        each.close()


def test_videos_in_progress_are_limited_per_key_and_a_delete_gives_the_slot_back(start: Callable[..., Client]) -> None:
    client = start(max_concurrent=2)
    ids = [client.submit().json()["id"] for _ in range(2)]
    assert (client.submit().status_code, client.delete(f"/{ids[0]}").status_code) == (429, 200)
    assert (client.submit().status_code, client.submit().status_code) == (200, 429)
    client.simulator.render(ids[1])
    assert client.submit().status_code == 200
    books = client.simulator.books()
    assert (books.count("cancels"), books.count("refused_concurrency"), books.most_in_progress) == (1, 2, {"anyone": 2})


def test_requests_a_minute_are_limited_with_a_retry_after() -> None:
    now = [100.0]
    settings = replace(SETTINGS, requests_per_minute=2)
    with Simulator(settings, monotonic=lambda: now[0]) as simulator, contextlib.closing(Client(simulator)) as client:
        assert [client.get("").status_code for _ in range(3)] == [200, 200, 429]
        assert client.get("").headers["Retry-After"] == "60"
        now[0] += 60
        assert client.get("").status_code == 200


def test_progress_follows_the_clock() -> None:
    now = [0.0]
    with (
        Simulator(replace(SETTINGS, render_s=10), monotonic=lambda: now[0]) as simulator,
        contextlib.closing(Client(simulator)) as client,
    ):
        video_id = client.submit().json()["id"]
        shown = []
        for now[0] in (0.1, 5.0, 9.99, 10.0):
            video = client.get(f"/{video_id}").json()
            shown.append((video["status"], video["progress"]))
        assert shown == [("queued", 1), ("in_progress", 50), ("in_progress", 99), ("completed", 100)]


def test_a_connection_serves_many_requests(client: Client) -> None:
    connection = http.client.HTTPConnection(client.simulator.url.removeprefix("http://"), timeout=10)
    connection.connect()
    mine = connection.sock
    video_id = client.made("a cat sim:content-chunked")
    for path in ("", f"/{video_id}", f"/{video_id}/content", "/nothing", ""):
        connection.request("GET", f"/v1/videos{path}")
        assert connection.getresponse().read()
        assert connection.sock is mine
    connection.close()


def test_a_body_over_the_limit_is_413_and_an_unknown_path_404(client: Client) -> None:
    connection = http.client.HTTPConnection(client.simulator.url.removeprefix("http://"), timeout=10)
    connection.putrequest("POST", "/v1/videos")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    assert (client.get("/a/b/c").status_code, client.get("/a/b/c").json()["error"]["code"]) == (404, None)


def test_every_answer_is_json_that_names_its_video(client: Client) -> None:
    answer = client.submit()
    assert json.loads(answer.text)["id"].startswith("video_")
    assert answer.headers["openai-poll-after-ms"] == "1000"
