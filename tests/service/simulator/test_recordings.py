"""The twins of LiteLLM and vLLM-Omni answer with the status, fields and types that the real ones were recorded with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests

from tests.recordings import LITELLM, VLLM_OMNI, recorded
from tests.service.simulator.driver import Client

WAN = "Wan-AI/Wan2.2-T2V-A14B-Diffusers"


def form(client: Client, **fields: str) -> requests.Response:
    parts = {name: (None, value) for name, value in fields.items()}
    return client.raw("POST", f"{client.simulator.base_url}/videos", files=parts)


def made(client: Client, prompt: str, *, progress: float = 100.0) -> str:
    """Order a video, bring it so far, and return the path of its content's folder."""
    video_id = str(form(client, prompt=prompt, seconds="4", size="128x72").json()["id"])
    client.simulator.render(video_id, progress=progress)
    return f"/{video_id}"


VLLM: Mapping[str, Callable[[Client], requests.Response]] = {
    "1 create multipart": lambda client: form(client, model=WAN, prompt="a cat", size="1280x720", seconds="4"),
    "3 retrieve while running": lambda client: client.get(made(client, "a cat", progress=50)),
    "4 content while running": lambda client: client.get(made(client, "a cat", progress=50) + "/content"),
    "5 retrieve done": lambda client: client.get(made(client, "a cat")),
    "6d content with Range": lambda client: client.get(made(client, "a") + "/content", headers={"Range": "bytes=0-99"}),
    "7b retrieve FAIL500": lambda client: client.get(made(client, "a cat sim:fail-error")),
    "7b retrieve FAIL400": lambda client: client.get(made(client, "a cat sim:fail-http=400")),
    "7c content FAIL500": lambda client: client.get(made(client, "a cat sim:fail-error") + "/content"),
    "8 create JSON body": lambda client: client.submit("json cat", seconds="4"),
    "9 wrong model": lambda client: form(client, model="sora-2", prompt="x"),
    "10 no prompt": lambda client: form(client, seconds="4"),
    "11 bad seconds": lambda client: form(client, prompt="x", seconds="abc"),
    "12 bad size": lambda client: form(client, prompt="x", size="720p"),
    "13b bad input_reference": lambda client: client.raw(
        "POST",
        "/v1/videos",
        files={"prompt": (None, "x"), "input_reference": ("r.png", b"notanimage", "image/png")},
    ),
    "14 unknown form field": lambda client: form(client, prompt="x", unknown_field="1"),
    "15 retrieve unknown id": lambda client: client.get("/video_nope"),
    "16 content unknown": lambda client: client.get("/video_nope/content"),
    "17 list": lambda client: client.get(made(client, "x", progress=50)[:0], params={"limit": "2"}),
    "18 delete done": lambda client: client.delete(made(client, "a cat")),
    "20 delete in progress": lambda client: client.delete(made(client, "a cat", progress=50)),
}

PROXY: Mapping[str, Callable[[Client], requests.Response]] = {
    "1 create multipart": lambda client: form(client, prompt="a cat", size="1280x720", seconds="8"),
    "2 retrieve (1st poll)": lambda client: client.get(made(client, "a cat", progress=50)),
    "3 content while in_progress": lambda client: client.get(made(client, "a cat", progress=50) + "/content"),
    "4 retrieve (2nd poll)": lambda client: client.get(made(client, "a cat")),
    "7b create json seconds int": lambda client: client.submit("json cat", seconds=10),
    "7d create json extra unknown field": lambda client: client.submit("json cat", seconds="4", negative_prompt="x"),
    "9 create RATELIMIT": lambda client: client.submit("a cat sim:submit-429=7"),
    "9 create MODERATE400": lambda client: client.submit("a cat sim:submit-moderation"),
    "9 create BOOM500": lambda client: client.submit("a cat sim:submit-500"),
    "9 create UNAUTH401": lambda client: client.submit("a cat sim:submit-401"),
    "10.1 retrieve failing": lambda client: client.get(made(client, "a cat sim:fail-moderation")),
    "10.9 content of failed": lambda client: client.get(made(client, "a cat sim:fail-moderation") + "/content"),
    "13 delete": lambda client: client.delete(made(client, "a cat")),
    "17b retrieve raw unquoted": lambda client: client.get("/video_stub/0008"),
}


def agrees(twin: Any, real: Any, where: str = "") -> None:
    """Assert that both have the same fields, and in them what is of one kind."""
    if isinstance(real, dict):
        assert isinstance(twin, dict), where
        assert twin.keys() == real.keys(), where
        for name in real:
            agrees(twin[name], real[name], f"{where}.{name}")
    elif isinstance(real, list):
        assert isinstance(twin, list), where
        agrees(twin[0], real[0], f"{where}[0]")
    elif twin is not None and real is not None:
        assert type(twin) is type(real), where


def compared(answer: requests.Response, transcript: str, title: str) -> None:
    real = recorded(transcript, title)
    assert answer.status_code == real.status
    if real.body.startswith(b"{"):
        agrees(answer.json(), json.loads(real.body))


@pytest.mark.parametrize("title", VLLM)
def test_vllm_omni_s_twin_answers_as_recorded(start: Callable[..., Client], title: str) -> None:
    compared(VLLM[title](start(dialect="vllm-omni", models=None)), VLLM_OMNI, title)


@pytest.mark.parametrize("title", PROXY)
def test_litellm_s_twin_answers_as_recorded(start: Callable[..., Client], title: str) -> None:
    compared(PROXY[title](start(dialect="litellm", models=None)), LITELLM, title)


@pytest.mark.parametrize(
    ("title", "prompt"),
    [
        ("9 create RATELIMIT", "a cat sim:submit-429=7"),
        ("9 create MODERATE400", "a cat sim:submit-moderation"),
        ("9 create BOOM500", "a cat sim:submit-500"),
        ("9 create UNAUTH401", "a cat sim:submit-401"),
    ],
)
def test_litellm_s_twin_wraps_the_upstream_s_error_as_recorded(
    start: Callable[..., Client], title: str, prompt: str
) -> None:
    answer = start(dialect="litellm", models=None).submit(prompt)
    real = recorded(LITELLM, title)
    told, heard = answer.json()["error"], json.loads(real.body)["error"]
    assert (told["type"], told["code"]) == (heard["type"], heard["code"])
    before, opened, rest = told["message"].partition("{")
    inner, tail = json.JSONDecoder().raw_decode(opened + rest)
    assert inner["error"].keys() == {"message", "type", "param", "code"}
    assert heard["message"].startswith(before + "{")
    assert heard["message"].endswith((opened + rest)[tail:])
    assert answer.headers.get("retry-after") == real.headers.get("retry-after")
    assert answer.headers.get("llm_provider-retry-after") == real.headers.get("llm_provider-retry-after")


def test_litellm_s_twin_shows_another_id_to_a_poll_as_recorded(start: Callable[..., Client]) -> None:
    client = start(dialect="litellm", models=None)
    video_id = client.submit("a cat").json()["id"]
    polled = client.get(f"/{video_id}").json()["id"]
    created = json.loads(recorded(LITELLM, "1 create multipart").body)["id"]
    seen = json.loads(recorded(LITELLM, "2 retrieve (1st poll)").body)["id"]
    assert polled != video_id
    assert seen != created
    # Both begin alike up to the deployment, which the poll's has lost.
    assert video_id[:60] == created[:60]
    assert polled[:60] == seen[:60]


def test_litellm_s_twin_tells_of_a_failed_video_within_an_error(start: Callable[..., Client]) -> None:
    client = start(dialect="litellm", models=None)
    answer = client.get(made(client, "a cat sim:fail-http=500"))
    message = answer.json()["error"]["message"]
    assert answer.status_code == 500
    assert json.JSONDecoder().raw_decode(message, message.index("{"))[0]["status"] == "failed"
