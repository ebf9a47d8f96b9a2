"""Whole jobs through the real LiteLLM proxy: gateway (dialect litellm) → LiteLLM → simulated upstream."""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.e2e.harness import Video, World
from tests.e2e.processes import LONG_S, eventually
from tests.litellm.proxy import running_proxy
from tests.s3 import weed_server


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("litellm")
    settings = {"GATEWAY_UPSTREAM_DIALECT": "litellm"}
    with weed_server() as store, World(directory=folder, store=store, upstream={}, settings=settings) as world:
        master_key = f"sk-litellm-{secrets.token_urlsafe(18)}"
        with running_proxy(
            upstream_url=world.simulator.base_url, upstream_key=world.upstream_key, master_key=master_key, folder=folder
        ) as url:
            world.settings |= {"GATEWAY_UPSTREAM_URL": url, "GATEWAY_UPSTREAM_KEY": master_key}
            world.serve()
            yield world
            assert master_key not in world.logs()
    assert world.spoken_secrets() == []


def posted(world: World, prompt: str) -> str:
    return str(world.post(prompt, model="sora-2", size="1280x720", seconds="4")["id"])


def failed(world: World, prompt: str) -> Video:
    return world.await_status(posted(world, prompt), "failed")


def test_check_finds_the_proxy_well(world: World) -> None:
    checked = world.run("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_video_goes_through_and_is_paid_for_once(world: World) -> None:
    prompt = "a cat through two gateways"
    video = world.assert_done_once(posted(world, prompt), prompt)
    assert (video["size"], video["seconds"]) == ("1280x720", "4")


def test_a_picture_goes_through_untouched(world: World) -> None:
    prompt, picture = "a cat from a picture", io.BytesIO()
    Image.new("RGB", (1280, 720), "orange").save(picture, "PNG")
    answer = world.http.post(
        f"{world.url}/v1/videos",
        data={"prompt": prompt, "model": "sora-2", "size": "1280x720", "seconds": "4"},
        files={"input_reference": ("cat.png", picture.getvalue(), "image/png")},
        timeout=LONG_S,
    )
    world.await_status(answer.json()["id"], "completed")
    (made,) = world.made(prompt)
    assert made.picture == hashlib.sha256(picture.getvalue()).hexdigest()


def test_a_video_that_fails_upstream_fails_with_the_upstream_s_words_alone(world: World) -> None:
    error = failed(world, "a cat sim:fail-error")["error"]
    assert error == {"code": "upstream_error", "message": "The model failed to make the video."}


def test_a_video_that_moderation_withholds_is_called_so(world: World) -> None:
    assert failed(world, "a cat sim:fail-moderation")["error"]["code"] == "content_policy_violation"


def test_a_failed_job_inside_an_error_inside_an_error_is_found(world: World) -> None:
    error = failed(world, "a cat sim:fail-http=500")["error"]
    assert error == {"code": "upstream_error", "message": "CUDA out of memory"}


def test_a_prompt_that_moderation_refuses_is_not_submitted_again(world: World) -> None:
    prompt = "a cat sim:submit-moderation"
    error = failed(world, prompt)["error"]
    assert error["code"] == "content_policy_violation"
    assert "litellm" not in error["message"].lower()
    assert world.posts(prompt) == 1


def test_a_rate_limit_is_waited_for_as_long_as_the_upstream_said(world: World) -> None:
    prompt = "a cat sim:submit-429=3"
    video_id = posted(world, prompt)
    world.assert_done_once(video_id, prompt)
    history = world.events(video_id)
    (limited,) = [at for at, event in enumerate(history) if event["event"] == "not_accepted"]
    assert history[limited + 1]["at"] - history[limited]["at"] >= 3
    assert world.posts(prompt) == 2


def test_an_empty_balance_pauses_the_key_and_fails_no_video(world: World) -> None:
    prompt = "a cat sim:submit-quota"
    video_id = posted(world, prompt)

    def paused() -> list[str]:
        keys = world.http.get(f"{world.url}/readyz", timeout=LONG_S).json()["paused_keys"]
        return [str(key["reason"]) for key in keys]

    assert eventually(paused, bool, "paused") == ["quota"]
    assert world.run("upstreams", "resume", "default").returncode == 0
    world.assert_done_once(video_id, prompt)


@pytest.mark.parametrize("word", ["submit-500-after", "submit-reset-after"])
def test_an_answer_that_was_lost_behind_the_proxy_is_never_paid_for_twice(world: World, word: str) -> None:
    prompt = f"a cat sim:{word}"
    assert failed(world, prompt)["error"]["code"] == "submission_unknown"
    assert len(world.made(prompt)) == world.posts(prompt) == 1


def test_a_poll_that_breaks_behind_the_proxy_fails_no_video(world: World) -> None:
    prompt = "a cat sim:poll-503=1*2"
    world.assert_done_once(posted(world, prompt), prompt)


def test_content_that_breaks_behind_the_proxy_is_fetched_again(world: World) -> None:
    prompt = "a cat sim:content-502*1"
    world.assert_done_once(posted(world, prompt), prompt)
