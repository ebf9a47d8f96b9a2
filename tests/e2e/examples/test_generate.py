"""The examples that submit, wait and download, against a real gateway and a simulated upstream."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path

import pytest
import requests

from tests.e2e.examples.running import Examples, Receiver
from tests.e2e.harness import World
from tests.e2e.processes import LONG_S
from tests.servers import Conversation, RawServer

PROMPT = "参考配图，使得动物们活跃起来"  # noqa: RUF001 - the reference client's own


def test_the_sources_are_sound(examples: Examples) -> None:
    assert examples.check() == ""


def test_it_polls_and_saves_what_the_upstream_made_of_the_picture_and_the_words(
    examples: Examples, world: World, image: Path, tmp_path: Path
) -> None:
    prompt = f"{PROMPT} {uuid.uuid4()}"
    done = examples.generate(world, prompt=prompt, image=image, target=tmp_path / "video.mp4")
    assert done.returncode == 0, done.stdout + done.stderr
    made = world.made(prompt)
    assert [(video.size, video.seconds, bool(video.picture)) for video in made] == [("1280x720", 4, True)]
    film = world.simulator.content_of(made[0].id)
    assert film is not None
    assert hashlib.sha256((tmp_path / "video.mp4").read_bytes()).hexdigest() == film.sha256()
    assert [path.name for path in tmp_path.iterdir()] == ["video.mp4"]
    assert " is accepted\n" in done.stdout
    assert "saved " in done.stdout


@pytest.mark.parametrize(
    "prompt", ["</etc/hostname", '@/etc/hostname;type=text/html "status":"failed" \\" two\r\nlines']
)
def test_a_prompt_is_sent_as_it_is(examples: Examples, world: World, image: Path, tmp_path: Path, prompt: str) -> None:
    done = examples.generate(world, prompt=f"{prompt} {uuid.uuid4()}", image=image, target=tmp_path / "video.mp4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert any(entry.prompt.startswith(f"{prompt} ") for entry in world.simulator.books().videos)


def test_words_that_the_locale_cannot_read_are_sent_right_or_not_at_all(
    examples: Examples, world: World, image: Path, tmp_path: Path
) -> None:
    mark = str(uuid.uuid4())
    done = examples.generate(world, prompt=f"{PROMPT} {mark}", image=image, target=tmp_path / "video.mp4", LC_ALL="C")
    sent = [note.prompt for note in world.simulator.books().submissions if mark in note.prompt]
    assert sent == [f"{PROMPT} {mark}"] * (done.returncode == 0)
    assert done.returncode == 0 or "LC_ALL" in done.stderr


def test_a_video_that_fails_is_explained_and_the_status_is_not_0(
    examples: Examples, world: World, image: Path, tmp_path: Path
) -> None:
    done = examples.generate(world, prompt="a fox sim:fail-moderation", image=image, target=tmp_path / "video.mp4")
    assert done.returncode == 1
    assert "failed: " in done.stderr
    assert "(code content_policy_violation)" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_prompt_it_says_how_it_is_called(examples: Examples, image: Path) -> None:
    done = examples.run_generate(str(image))
    assert done.returncode != 0
    assert "generate" in done.stderr.lower()


def test_a_refused_request_is_explained_and_the_status_is_not_0(
    examples: Examples, world: World, tmp_path: Path
) -> None:
    image = tmp_path / "image.png"
    image.write_text("no picture")
    done = examples.generate(world, prompt=PROMPT, image=image, target=tmp_path / "video.mp4")
    assert done.returncode == 1
    assert "HTTP 400: " in done.stderr
    assert "param input_reference)" in done.stderr
    wrong = examples.generate(world, prompt=PROMPT, image=image, target=tmp_path / "video.mp4", SORA_KEY="sk-wrong")
    assert wrong.returncode == 1
    assert "HTTP 401: " in wrong.stderr
    assert "(code invalid_api_key" in wrong.stderr


def test_a_post_whose_answer_was_lost_is_repeated_and_makes_one_video(
    examples: Examples, world: World, image: Path, tmp_path: Path
) -> None:
    lost: list[str] = []

    def script(conversation: Conversation) -> None:
        while (request := conversation.read_request()) is not None:
            headers = {name: text for name, text in request.headers.items() if name not in {"host", "connection"}}
            answer = requests.request(
                request.method, f"{world.url}{request.target}", headers=headers, data=request.body, timeout=LONG_S
            )
            if request.method == "POST" and not lost:
                lost.append(answer.json()["id"])
                conversation.reset()
                return
            after = answer.headers.get("openai-poll-after-ms", "0")
            conversation.answer(answer.status_code, answer.content, openai_poll_after_ms=after)

    prompt = f"a patient fox {uuid.uuid4()}"
    with RawServer(script) as relay:
        done = examples.generate(world, prompt=prompt, image=image, target=tmp_path / "video.mp4", SORA_URL=relay.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{lost[0]} is accepted" in done.stdout
    assert len(world.made(prompt)) == 1


def test_a_damaged_download_never_bears_the_name_of_a_whole_one(
    examples: Examples, world: World, image: Path, tmp_path: Path
) -> None:
    def script(conversation: Conversation) -> None:
        while (request := conversation.read_request()) is not None:
            if request.target == "/video":
                conversation.answer(200, b"no film")
                continue
            content = {"bytes": 7, "sha256": "0" * 64}
            video = {"id": "video_1", "status": "queued" if request.method == "POST" else "completed", "progress": 100}
            body = {**video, "url": f"{conversation.server.url}/video", "content": content, "error": None}
            conversation.answer(202 if request.method == "POST" else 200, json.dumps(body).encode())

    with RawServer(script) as server:
        done = examples.generate(world, prompt="a fox", image=image, target=tmp_path / "video.mp4", SORA_URL=server.url)
    assert done.returncode == 1, done.stdout + done.stderr
    assert not (tmp_path / "video.mp4").exists()


def test_a_page_of_a_proxy_is_told_as_it_is(examples: Examples, world: World, image: Path, tmp_path: Path) -> None:
    def script(conversation: Conversation) -> None:
        while conversation.read_request() is not None:
            conversation.answer(403, b"<html>Forbidden by the office</html>", content_type="text/html")

    with RawServer(script) as server:
        done = examples.generate(world, prompt="a fox", image=image, target=tmp_path / "video.mp4", SORA_URL=server.url)
    assert done.returncode == 1
    assert "HTTP 403: <html>Forbidden by the office</html>" in done.stderr


def test_with_a_callback_url_it_submits_and_the_receiver_saves(
    examples: Examples, world: World, image: Path, receiver: Receiver
) -> None:
    prompt = f"{PROMPT} {uuid.uuid4()}"
    target = receiver.directory / "never.mp4"
    done = examples.generate(world, prompt=prompt, image=image, target=target, SORA_CALLBACK_URL=receiver.url)
    assert done.returncode == 0, done.stdout + done.stderr
    video_id, _, _ = done.stdout.partition(" is accepted")
    receiver.await_said(f"{video_id} is saved: {video_id}.mp4")
    film = world.simulator.content_of(world.made(prompt)[0].id)
    assert film is not None
    assert hashlib.sha256((receiver.directory / f"{video_id}.mp4").read_bytes()).hexdigest() == film.sha256()
    assert not target.exists()
    assert not list(receiver.directory.glob("*.part"))


def test_with_a_callback_url_a_failure_is_explained_by_the_receiver(
    examples: Examples, world: World, image: Path, receiver: Receiver
) -> None:
    done = examples.generate(
        world, prompt="a fox sim:fail-moderation", image=image, target=receiver.directory / "never.mp4",
        SORA_CALLBACK_URL=receiver.url,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    video_id, _, _ = done.stdout.partition(" is accepted")
    said = receiver.await_said(f"{video_id} failed: ")
    assert "(code content_policy_violation)" in said
