"""The simulated upstream, driven over real HTTP."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from PIL import Image

from gateway.demo import mp4
from gateway.demo.simulator import Simulator, SimulatorSettings
from gateway.demo.simulator.books import COUNTED
from gateway.demo.simulator.dialects.registry import DIALECTS
from gateway.demo.simulator.faults import TABLE, Stage
from gateway.demo.simulator.language import FaultError, described, parse
from gateway.demo.simulator.protocol import Served
from gateway.upstreams.dialects import DIALECTS as UPSTREAMS

MODELS = {name: Served(sizes=("128x72", "1280x720"), seconds=(4, 8, 12)) for name in ("sora-2", "sora-2-pro")}
SETTINGS = SimulatorSettings(render_s=math.inf, fps=1, max_concurrent=0, models=MODELS)
"""Nothing is finished by itself: tests move videos on by hand. The first size is one that is encoded in no time."""


class Client:
    """A plain client of one simulator."""

    def __init__(self, simulator: Simulator, key: str = "") -> None:
        self.simulator = simulator
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = key

    def close(self) -> None:
        self._session.close()

    def submit(self, prompt: str = "a cat", **fields: Any) -> requests.Response:
        return self._session.post(f"{self.simulator.base_url}/videos", json={"prompt": prompt, **fields}, timeout=10)

    def made(self, prompt: str = "a cat", **fields: Any) -> str:
        """Submit, finish, and return the id."""
        video_id: str = self.submit(prompt, **fields).json()["id"]
        self.simulator.render(video_id)
        return video_id

    def get(self, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", 10)
        return self._session.get(f"{self.simulator.base_url}/videos{path}", allow_redirects=False, **options)

    def delete(self, path: str) -> requests.Response:
        return self._session.delete(f"{self.simulator.base_url}/videos{path}", timeout=10)

    def control(self, path: str, **body: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.raw("POST", f"/_simulator/{path}", json=body).json()
        return result

    def raw(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request to the root of the server, or to a URL."""
        url = path if path.startswith("http") else f"{self.simulator.url}{path}"
        return self._session.request(method, url, timeout=30, **options)


@pytest.fixture
def start() -> Iterator[Callable[..., Client]]:
    """Starts simulators; every one ends with the test."""
    with contextlib.ExitStack() as stack:

        def started(**changes: Any) -> Client:
            simulator = stack.enter_context(Simulator(replace(SETTINGS, **changes)))
            return stack.enter_context(contextlib.closing(Client(simulator)))

        yield started


@pytest.fixture
def client(start: Callable[..., Client]) -> Client:
    return start()


def picture(width: int = 1280, height: int = 720, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), "orange").save(data, kind)
    return data.getvalue()


RETIRED = pytest.mark.filterwarnings("ignore:The Sora API is scheduled:DeprecationWarning")
"""What the SDK says on every call, since OpenAI's own service ended."""

# -- the protocol ------------------------------------------------------------------------------------------------------


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


def test_content_of_any_size_comes_in_ranges_and_with_the_hash_that_the_control_path_names(
    start: Callable[..., Client], tmp_path: Path
) -> None:
    client = start(video_bytes=3_000_000)
    ids = [client.made(f"film {number}") for number in range(2)]
    films = [client.get(f"/{video_id}/content").content for video_id in ids]
    assert [len(film) for film in films] == [3_000_000, 3_000_000]
    assert films[0] != films[1]
    named = client.raw("GET", f"/_simulator/videos/{ids[0]}").json()
    assert (named["bytes"], named["sha256"]) == (3_000_000, hashlib.sha256(films[0]).hexdigest())

    part = client.get(f"/{ids[0]}/content", headers={"Range": "bytes=2500000-2600000"})
    assert (part.status_code, part.headers["Content-Range"]) == (206, "bytes 2500000-2600000/3000000")
    assert part.content == films[0][2_500_000:2_600_001]
    assert client.get(f"/{ids[0]}/content", headers={"Range": "bytes=-5"}).content == films[0][-5:]
    assert client.get(f"/{ids[0]}/content", headers={"Range": "bytes=4000000-"}).status_code == 416

    path = tmp_path / "film.mp4"
    path.write_bytes(films[0])
    assert mp4.probe(path).duration == 4.0


@pytest.mark.parametrize(("variant", "kind"), [("thumbnail", "WEBP"), ("spritesheet", "JPEG")])
def test_a_variant_is_a_picture(client: Client, variant: str, kind: str) -> None:
    answer = client.get(f"/{client.made()}/content", params={"variant": variant})
    assert answer.headers["Content-Type"] == f"image/{kind.lower()}"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == kind


def test_content_is_refused_before_completion_and_after_its_expiry(client: Client) -> None:
    video_id = client.submit("a cat sim:expires=0").json()["id"]
    assert client.get(f"/{video_id}/content").json()["error"]["code"] == "not_ready"
    client.simulator.render()
    assert client.get(f"/{video_id}").json()["status"] == "completed"
    answer = client.get(f"/{video_id}/content")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "content_expired")


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


# -- the other dialect -------------------------------------------------------------------------------------------------


def test_apiyi_spells_it_its_own_way(start: Callable[..., Client]) -> None:
    client = start(dialect="apiyi", models=None)
    made = client.submit("a cat", seconds="15", size="1280x720").json()
    assert (made["status"], made["url"], "object" in made) == ("submitted", None, False)
    assert client.submit(seconds="4").status_code == 400
    assert client.get("").status_code in {404, 405}
    assert client.delete(f"/{made['id']}").status_code in {404, 405}
    client.simulator.render(made["id"])
    video = client.get(f"/{made['id']}").json()
    assert video["url"] == f"{client.simulator.base_url}/videos/{made['id']}/content"
    assert [client.get(f"/{made['id']}/content").status_code for _ in range(2)] == [400, 200]


def test_apiyi_says_failures_as_text_and_calls_a_moderated_grok_completed(start: Callable[..., Client]) -> None:
    client = start(dialect="apiyi", models=None)
    failed = client.get(f"/{client.made('a cat sim:fail-moderation')}").json()
    assert (failed["status"], failed["error"]) == ("failed", "Content policy violation")
    grok = client.made("a cat sim:fail-moderation", model="grok-imagine-video", seconds="4")
    shown = client.get(f"/{grok}").json()
    assert (shown["status"], shown["error"]["code"], shown["url"]) == ("completed", "moderation_blocked", None)
    assert client.get(f"/{grok}/content").status_code == 400
    quota = client.submit("a cat sim:submit-quota")
    assert (quota.status_code, quota.json()["error"]["code"]) == (403, "insufficient_user_quota")


def test_vllm_omni_takes_forms_only_and_answers_polls_of_a_failed_video_with_its_error(
    start: Callable[..., Client],
) -> None:
    client = start(dialect="vllm-omni", models=None)

    def form(**fields: str) -> requests.Response:
        return client.raw("POST", "/v1/videos", files={name: (None, value) for name, value in fields.items()})

    assert client.submit().json()["error"] == {
        "message": "Missing required parameter: 'prompt'.",
        "type": "Bad Request",
        "param": "body.prompt",
        "code": 400,
    }
    assert form(prompt="a cat", seconds="abc").status_code == 400
    assert form(prompt="a cat", size="720p").status_code == 400
    video_id = form(prompt="a cat sim:fail-error", seconds="3", size="64x36", unknown="1").json()["id"]
    client.simulator.render(video_id, progress=50)
    running = client.get(f"/{video_id}").json()
    assert (running["status"], running["progress"]) == ("in_progress", 0)
    assert client.get(f"/{video_id}/content").status_code == 404
    client.simulator.render(video_id)
    failed = client.get(f"/{video_id}")
    assert (failed.status_code, failed.json()["status"], failed.json()["error"]["code"]) == (500, "failed", 500)
    assert client.get(f"/{video_id}/content").status_code == 422
    whole = form(prompt="a cat", seconds="3", size="64x36").json()["id"]
    client.simulator.render(whole)
    assert client.get(f"/{whole}").json()["progress"] == 100
    assert client.get(f"/{whole}/content?variant=thumbnail").content[4:8] == b"ftyp"


@pytest.mark.parametrize("name", sorted(DIALECTS.keys() & UPSTREAMS.keys()))
def test_the_simulator_makes_whatever_the_gateways_dialect_lists(name: str) -> None:
    made, facts = DIALECTS[name](), UPSTREAMS[name].facts
    for model, listed in facts.models.items():
        served = made.models[model]
        assert not served.sizes or set(listed.sizes) <= set(served.sizes)
        assert not served.seconds or set(listed.seconds) <= set(served.seconds)
    assert (facts.can_list, facts.prompt_max) == (made.can_list, made.prompt_max)


# -- faults ------------------------------------------------------------------------------------------------------------

BROKEN_OFF = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


def outcome(request: Callable[[], requests.Response]) -> object:
    """What a client of the fault sees, in a word."""
    try:
        answer = request()
    except BROKEN_OFF:
        return "broken off"
    kind = answer.headers["Content-Type"].split(";")[0]
    if kind == "text/html":
        return (answer.status_code, "html")
    if kind.startswith("video/"):
        return (answer.status_code, "film" if answer.content[4:8] == b"ftyp" else "no film")
    try:
        body = answer.json()
    except ValueError:
        return (answer.status_code, "no json")
    if isinstance(body, dict) and "error" in body and "status" not in body:
        return (answer.status_code, body["error"].get("code"))
    return (answer.status_code, "json")


PLAIN: dict[str, object] = {
    "408": (408, "request_timeout"),
    "409": (409, "conflict"),
    "425": (425, "too_early"),
    "401": (401, "invalid_api_key"),
    "403": (403, "permission_denied"),
    "500": (500, "server_error"),
    "quota": (429, "insufficient_quota"),
    "429": (429, "rate_limit_exceeded"),
    "429-bare": (429, "rate_limit_exceeded"),
    "503": (503, "server_is_overloaded"),
    "502": (502, "html"),
    "503-plain": (503, "html"),
    "504": (504, "html"),
    "html": (200, "html"),
    "reset": "broken off",
}
WRONG_JSON: dict[str, object] = {
    "cut": "broken off",
    "broken": (200, "no json"),
    "blank": (200, "no json"),
    "array": (200, "json"),
    "huge=100000": (200, "json"),
}
SUBMITS: dict[str, object] = {
    **PLAIN,
    "slow-down": (429, "slow_down"),
    "credit": (429, "credit_balance_exhausted"),
    "402": (402, "insufficient_quota"),
    "400": (400, "invalid_value"),
    "moderation": (400, "moderation_blocked"),
    "404": (404, "model_not_found"),
    "413": (413, "request_too_large"),
    "422": (422, "unprocessable"),
}
MADE: dict[str, object] = {
    **WRONG_JSON,
    "500-after": (500, "server_error"),
    "502-after": (502, "html"),
    "504-after": (504, "html"),
    "html-after": (200, "html"),
    "reset-after": "broken off",
    "no-id": (200, "json"),
    "id-as=task_id": (200, "json"),
    "slow=0": (200, "json"),
}


@pytest.mark.parametrize("name", SUBMITS)
def test_a_submit_fault_that_refuses_makes_no_video_and_the_next_submit_does(client: Client, name: str) -> None:
    prompt = f"a cat sim:submit-{name}"
    assert outcome(lambda: client.submit(prompt)) == SUBMITS[name]
    assert client.simulator.books().videos == []
    assert client.submit(prompt).status_code == 200
    notes = client.simulator.books().submissions
    assert [bool(note.video_id) for note in notes] == [False, True]
    assert [note.fault for note in notes] == [f"submit-{name}", ""]


@pytest.mark.parametrize("name", MADE)
def test_a_submit_fault_that_only_spoils_the_answer_makes_the_video(client: Client, name: str) -> None:
    assert outcome(lambda: client.submit(f"a cat sim:submit-{name}")) == MADE[name]
    (note,) = client.simulator.books().submissions
    (video,) = client.simulator.books().videos
    assert (note.video_id, note.fault) == (video.id, f"submit-{name.split('=', maxsplit=1)[0]}")


@pytest.mark.parametrize("name", [*PLAIN, *WRONG_JSON, "404", "slow=0", "status=thinking"])
def test_a_poll_fault_strikes_once_and_leaves_the_video_alone(client: Client, name: str) -> None:
    wanted = {**PLAIN, **WRONG_JSON, "404": (404, "not_found")}.get(name, (200, "json"))
    video_id = client.made(f"a cat sim:poll-{name}")
    assert outcome(lambda: client.get(f"/{video_id}")) == wanted
    assert client.get(f"/{video_id}").json()["status"] == "completed"


CONTENTS: dict[str, object] = {
    **PLAIN,
    "400": (400, "not_ready"),
    "404": (404, "content_expired"),
    "410": (410, "content_expired"),
    "json": (200, None),
    "wrong": (200, "no film"),
    "blank": (200, "no film"),
    "cut": "broken off",
    "cut=1000": "broken off",
    "reset-late": "broken off",
    "slow=0": (200, "film"),
    "drip=100000000": (200, "film"),
    "chunked": (200, "film"),
    "close": (200, "film"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_content_fault_strikes_once_and_then_the_film_comes_whole(client: Client, name: str) -> None:
    video_id = client.made(f"a cat sim:content-{name}")
    assert outcome(lambda: client.get(f"/{video_id}/content")) == CONTENTS[name]
    whole = client.get(f"/{video_id}/content").content
    film = client.simulator.content_of(video_id)
    assert film is not None
    assert hashlib.sha256(whole).hexdigest() == film.sha256()


@pytest.mark.parametrize("name", [*PLAIN, *(word for word in WRONG_JSON if word != "blank"), "404", "slow=0"])
def test_a_list_fault_strikes_every_client_once(client: Client, name: str) -> None:
    client.simulator.faults(f"list-{name}")
    wanted = {**PLAIN, **WRONG_JSON, "404": (404, None)}.get(name, (200, "json"))
    assert outcome(lambda: client.get("")) == wanted
    assert client.get("").json()["object"] == "list"


@pytest.mark.parametrize("name", PLAIN)
def test_a_delete_fault_deletes_nothing(client: Client, name: str) -> None:
    video_id = client.submit(f"a cat sim:delete-{name}").json()["id"]
    assert outcome(lambda: client.delete(f"/{video_id}")) == PLAIN[name]
    assert client.get(f"/{video_id}").status_code == 200
    assert client.delete(f"/{video_id}").json()["deleted"] is True


@pytest.mark.parametrize(
    ("fate", "http", "status", "error"),
    [
        ("fail-moderation", 200, "failed", {"code": "moderation_blocked"}),
        ("fail-error", 200, "failed", {"code": "server_error"}),
        ("fail-string", 200, "failed", "Content generation failed"),
        ("fail-null", 200, "failed", None),
        ("fail-http", 500, "failed", {"code": "server_error"}),
        ("fail-http=400", 400, "failed", {"code": "server_error"}),
        ("completed-error", 200, "completed", {"code": "moderation_blocked"}),
        ("expired", 200, "expired", None),
        ("cancelled", 200, "cancelled", None),
        ("stuck", 200, "in_progress", None),
        ("stuck=7", 200, "in_progress", None),
    ],
)
def test_a_fate_is_how_the_video_ends(client: Client, fate: str, http: int, status: str, error: object) -> None:
    video_id = client.made(f"a cat sim:{fate}")
    answer = client.get(f"/{video_id}")
    shown = answer.json()
    assert (answer.status_code, shown["status"]) == (http, status)
    assert (shown["error"] if not isinstance(error, dict) else {"code": shown["error"]["code"]}) == error
    assert shown["progress"] == (7 if fate.endswith("=7") else 100 if status == "completed" else 99)
    assert client.get(f"/{video_id}/content").status_code == 404


def test_a_fault_with_a_count_and_a_start_strikes_exactly_then(client: Client) -> None:
    video_id = client.made("a cat sim:poll-404*2@3")
    assert [client.get(f"/{video_id}").status_code for _ in range(6)] == [200, 200, 404, 404, 200, 200]


def test_faults_of_one_stage_come_in_their_order(client: Client) -> None:
    prompt = "a cat sim:submit-429=7*2 sim:submit-503 sim:submit-500-after"
    answers = [client.submit(prompt) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [429, 429, 503, 500, 200]
    assert [answer.headers.get("Retry-After") for answer in answers] == ["7", "7", "1", None, None]
    assert client.simulator.books().count("accepted") == 2


def test_a_fault_for_ever_never_ends(client: Client) -> None:
    video_id = client.made("a cat sim:content-404*all")
    assert {client.get(f"/{video_id}/content").status_code for _ in range(5)} == {404}


def test_traits_change_how_a_video_is_shown(client: Client) -> None:
    video_id = client.made("a cat sim:synonyms sim:millis sim:no-progress sim:no-expiry sim:bytes=500000")
    shown = client.get(f"/{video_id}").json()
    assert (shown["status"], shown["created_at"] > 1e12) == ("succeeded", True)
    assert not {"progress", "expires_at"} & shown.keys()
    assert client.get(f"/{video_id}/content").headers["Content-Length"] == "500000"


def test_the_list_can_lag_hide_and_have_small_pages() -> None:
    now = [1_800_000_000.0]
    with Simulator(SETTINGS, wall=lambda: now[0]) as simulator, contextlib.closing(Client(simulator)) as client:
        late = client.submit("late sim:list-lag=30").json()["id"]
        client.submit("hidden sim:list-hide")
        shown = client.submit("shown").json()["id"]
        assert [video["id"] for video in client.get("").json()["data"]] == [shown]
        now[0] += 30
        assert [video["id"] for video in client.get("").json()["data"]] == [shown, late]
        simulator.faults("list-pages=1")
        assert (len(client.get("").json()["data"]), client.get("").json()["has_more"]) == (1, True)
        simulator.faults("list-hide")
        assert client.get("").json()["data"] == []


def test_a_redirect_leads_to_a_signed_path_on_the_origin_it_names(client: Client) -> None:
    port = client.simulator.url.rsplit(":", 1)[1]
    video_id = client.made(f"a cat sim:content-redirect=http://localhost:{port}")
    answer = client.get(f"/{video_id}/content")
    where = answer.headers["Location"]
    assert (answer.status_code, where.startswith(f"http://localhost:{port}/_simulator/files/")) == (302, True)
    here = where.replace("localhost", "127.0.0.1")
    assert client.raw("GET", here, headers={"Authorization": None}).content[4:8] == b"ftyp"
    assert client.raw("GET", here.split("?")[0], headers={"Authorization": None}).status_code == 403
    assert client.raw("GET", here, headers={"Authorization": "sk-1"}).status_code == 200
    books = client.simulator.books()
    assert (books.count("files"), books.count("files_with_key")) == (3, 1)


def test_a_stalled_content_keeps_the_connection_until_the_client_goes(client: Client) -> None:
    video_id = client.made("a cat sim:content-stall=100")
    # Encoded before the clock of the time-out runs.
    client.simulator.content_of(video_id)
    with client.get(f"/{video_id}/content", stream=True, timeout=0.3) as answer:
        assert answer.raw.read(100, decode_content=False)[4:8] == b"ftyp"
        with pytest.raises(Exception, match="timed out"):
            answer.raw.read(1)


def test_an_endless_content_goes_on_past_the_film(client: Client) -> None:
    video_id = client.made("a cat sim:content-endless")
    film = client.simulator.content_of(video_id)
    assert film is not None
    with client.get(f"/{video_id}/content", stream=True) as answer:
        assert "Content-Length" not in answer.headers
        assert len(answer.raw.read(film.length + 5_000_000)) == film.length + 5_000_000


@pytest.mark.parametrize(("word", "made"), [("submit-hold", 0), ("submit-hold-after", 1)])
def test_a_held_submit_waits_for_its_release(client: Client, word: str, made: int) -> None:
    answers: list[requests.Response] = []
    held = threading.Thread(target=lambda: answers.append(client.submit(f"a cat sim:{word}")))
    held.start()
    books = client.simulator.wait_for(lambda books: bool(books.holding))
    assert books is not None
    assert (books.holding, len(books.videos), answers) == (["submit"], made, [])
    assert client.control("release", stage="poll") == {"released": 0}
    assert client.control("release") == {"released": 1}
    held.join(10)
    assert answers[0].json()["status"] == "queued"
    assert client.simulator.books().count("accepted") == 1


def test_a_held_answer_ends_when_the_simulator_stops(start: Callable[..., Client]) -> None:
    client = start(faults=["poll-hold"])
    video_id = client.made()
    answers: list[object] = []
    held = threading.Thread(target=lambda: answers.append(outcome(lambda: client.get(f"/{video_id}"))))
    held.start()
    assert client.simulator.wait_for(lambda books: bool(books.holding))
    client.simulator.stop()
    held.join(10)
    assert answers == ["broken off"]


def test_a_content_can_be_held_in_its_middle(client: Client) -> None:
    video_id = client.made("a cat sim:content-hold")
    with client.get(f"/{video_id}/content", stream=True) as answer:
        assert client.simulator.wait_for(lambda books: bool(books.holding))
        assert client.simulator.books().count("downloads") == 0
        client.simulator.release()
        assert len(answer.content) == int(answer.headers["Content-Length"])
    assert client.simulator.wait_for(lambda books: books.count("downloads") == 1)


# -- books and control -------------------------------------------------------------------------------------------------


def test_the_books_tell_each_submission_apart_whatever_its_idempotency_key(client: Client) -> None:
    for _ in range(2):
        client.raw(
            "POST", "/v1/videos", json={"prompt": "a cat"}, headers={"Idempotency-Key": "same"}
        ).raise_for_status()
    books = client.raw("GET", "/_simulator/books").json()
    assert books["counts"] == {"submissions": 2, "accepted": 2}
    assert len({note["video_id"] for note in books["submissions"]}) == 2
    assert [note["idempotency_key"] for note in books["submissions"]] == ["same", "same"]


def test_every_count_of_the_books_is_explained(start: Callable[..., Client]) -> None:
    client = start(keys={"one": "sk-1"}, max_concurrent=1, requests_per_minute=8)
    owner = Client(client.simulator, "sk-1")
    video_id = owner.submit("a cat sim:content-redirect").json()["id"]
    for _ in range(2):
        owner.submit("another")
    client.simulator.render()
    owner.raw("GET", owner.get(f"/{video_id}/content").headers["Location"])
    owner.get("")
    owner.get(f"/{video_id}")
    owner.delete(f"/{owner.submit().json()['id']}")
    owner.submit()
    client.submit()
    owner.close()
    assert client.simulator.books().counts.keys() == COUNTED.keys() - {"held"}


def test_the_control_paths_set_and_end_faults_and_move_videos(client: Client) -> None:
    assert client.control("faults", faults=["submit-401*all"]) == {"faults": ["submit-401*all"]}
    assert client.submit().status_code == 401
    assert "error" in client.control("faults", faults=["nonsense"])
    assert client.submit().status_code == 401
    client.raw("DELETE", "/_simulator/faults").raise_for_status()
    video_id = client.submit().json()["id"]
    assert client.control("render", id=video_id, progress=70) == {"videos": 1}
    assert client.get(f"/{video_id}").json()["progress"] == 70
    assert client.raw("GET", "/_simulator/faults").json().keys() == TABLE.keys()


def test_the_wait_path_answers_when_it_has_happened_and_408_when_not(client: Client) -> None:
    client.submit()
    there = client.raw("GET", "/_simulator/wait", params={"count": "accepted"})
    assert there.json()["counts"]["accepted"] == 1
    late = client.raw("GET", "/_simulator/wait", params={"count": "deletes", "timeout": "0.01"})
    assert late.status_code == 408


def test_a_killed_simulator_goes_on_where_it_was(client: Client, tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    script = (
        "import sys, math; from pathlib import Path\n"
        "from gateway.demo.simulator import Simulator, SimulatorSettings\n"
        "settings = SimulatorSettings(render_s=math.inf, fps=1, state=Path(sys.argv[1]))\n"
        "Simulator(settings).serve_forever(ready=lambda url: print(url, flush=True))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(state)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        url = process.stdout.readline().strip()
        files = {"input_reference": ("a.png", picture())}
        fields = {"prompt": "a cat sim:poll-500*2", "size": "1280x720"}
        made = client.raw("POST", f"{url}/v1/videos", data=fields, files=files).json()
        assert client.raw("GET", f"{url}/v1/videos/{made['id']}").status_code == 500
        sha256 = client.raw("GET", f"{url}/_simulator/videos/{made['id']}").json()["sha256"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)

    with Simulator(replace(SETTINGS, state=state)) as simulator, contextlib.closing(Client(simulator)) as again:
        books = simulator.books()
        assert [(note.number, note.video_id, note.answer) for note in books.submissions] == [(1, made["id"], "200")]
        assert [again.get(f"/{made['id']}").status_code for _ in range(2)] == [500, 200]
        film = simulator.content_of(made["id"])
        assert film is not None
        assert film.sha256() == sha256


# -- the table ---------------------------------------------------------------------------------------------------------


def test_every_fault_is_described_and_can_be_asked_for() -> None:
    text = described()
    for name, row in TABLE.items():
        assert f"  {name}" in text
        assert parse(f"sim:{name}").row is row
    assert {row.stage for row in TABLE.values()} == set(Stage)


@pytest.mark.parametrize("word", ["nothing", "poll-500=3", "content-cut=many", "poll-500**2", "", "poll-500@"])
def test_a_word_that_is_no_fault_is_refused(word: str) -> None:
    with pytest.raises(FaultError):
        parse(word)


def test_an_unknown_dialect_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no dialect 'sora'; there are openai, apiyi, vllm-omni"):
        Simulator(replace(SETTINGS, dialect="sora"))


def test_every_answer_is_json_that_names_its_video(client: Client) -> None:
    answer = client.submit()
    assert json.loads(answer.text)["id"].startswith("video_")
    assert answer.headers["openai-poll-after-ms"] == "1000"
