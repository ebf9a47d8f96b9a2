"""The dialects that the simulator speaks beside OpenAI's."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest
import requests

from gateway.demo.simulator import Simulator
from gateway.demo.simulator.dialects.registry import DIALECTS
from gateway.upstreams.dialects import DIALECTS as UPSTREAMS
from tests.service.simulator.driver import SETTINGS, Client, picture


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
    assert made.can_list or not facts.can_list
    assert facts.prompt_max == made.prompt_max


def test_an_unknown_dialect_is_refused_by_name() -> None:
    with pytest.raises(
        ValueError, match="no dialect 'sora'; there are openai, apiyi, azure, vllm-omni, sglang, litellm, openrouter"
    ):
        Simulator(replace(SETTINGS, dialect="sora"))


def test_openrouter_takes_json_of_its_own_and_shows_links_once_finished(start: Callable[..., Client]) -> None:
    client = start(dialect="openrouter", models=None)
    made = client.submit("a cat", model="google/veo-3.1", duration=8, size="1280x720").json()
    assert made["status"] == "pending"
    assert made["polling_url"] == f"{client.simulator.base_url}/videos/{made['id']}"
    assert client.submit("a cat", seconds="8").status_code == 400
    assert client.raw("POST", "/api/v1/videos", files={"prompt": (None, "a cat")}).status_code == 400
    assert client.get("").status_code in {404, 405}
    assert client.delete(f"/{made['id']}").status_code in {404, 405}
    client.simulator.render(made["id"])
    done = client.get(f"/{made['id']}").json()
    assert (done["status"], done["usage"]) == ("completed", {"cost": 3.2, "is_byok": False})
    assert client.raw("GET", done["unsigned_urls"][0]).content[4:8] == b"ftyp"
    assert client.raw("GET", "/api/v1/videos/models").json()["data"][0]["id"] == "google/veo-3.1"
    assert client.raw("GET", "/api/v1/key").status_code == 200


def test_openrouter_takes_a_picture_as_the_first_frame_alone(start: Callable[..., Client]) -> None:
    client = start(dialect="openrouter", models=None)
    url = {"url": "data:image/png;base64," + base64.b64encode(picture(64, 36)).decode()}
    frame = {"type": "image_url", "image_url": url, "frame_type": "first_frame"}
    assert client.submit(frame_images=[frame]).status_code == 200
    assert client.submit(frame_images=[{**frame, "frame_type": "last_frame"}]).status_code == 400
    assert client.submit(frame_images=[url]).status_code == 400
    assert client.submit(input_reference={"image_url": url["url"]}).status_code == 400
    assert [bool(video.picture) for video in client.simulator.books().videos] == [True]


def test_openrouter_says_failures_as_text(start: Callable[..., Client]) -> None:
    client = start(dialect="openrouter", models=None)
    failed = client.get(f"/{client.made('a cat sim:fail-error')}").json()
    assert (failed["status"], failed["error"]) == ("failed", "The model failed to make the video.")
    quota = client.submit("a cat sim:submit-quota")
    assert (quota.status_code, quota.json()["error"]["code"]) == (402, 402)
