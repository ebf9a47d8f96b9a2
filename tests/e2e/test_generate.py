"""`gateway generate`, `watch` and `download` against a running gateway, as people and as scripts use them."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api_world import picture as picture_of
from tests.e2e.harness import World
from tests.e2e.processes import LONG_S, free_port
from tests.s3 import Store


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[World]:
    """One running gateway for all of them."""
    world = World(directory=tmp_path_factory.mktemp("client"), store=store, upstream={}, settings={})
    with world:
        world.serve()
        yield world


def environment(world: World) -> dict[str, str]:
    own = {name: text for name, text in os.environ.items() if not name.startswith("GATEWAY_") and name != "CI"}
    return {**own, **world.settings}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "gateway", *words]


def said(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return dict(json.loads(done.stdout))


def test_generate_submits_watches_and_saves_and_tells_it_in_lines_where_nobody_watches(served: World) -> None:
    picture = served.directory / "boat.png"
    picture.write_bytes(picture_of(size=(1280, 720)))
    target = served.directory / "boat.mp4"
    done = served.run(
        "generate", "--prompt", "参考配图", "--image", str(picture), "--size", "1280x720", "-o", str(target)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert target.read_bytes()[4:8] == b"ftyp"
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"Video video_\w+: sora-2, 1280x720, 4 s", lines[0])
    assert lines[1].startswith("  rendering ")
    assert lines[-1].startswith(f"Saved {target} ({target.stat().st_size:,} bytes")
    assert "\x1b" not in done.stdout
    assert not list(served.directory.glob("*.part"))


def test_with_json_there_is_one_document_on_stdout_and_nothing_else(served: World) -> None:
    target = served.directory / "json.mp4"
    done = served.run("generate", "--prompt", "a boat", "--json", "-o", str(target))
    video = said(done)
    assert done.returncode == 0
    assert (video["status"], video["file"]) == ("completed", str(target))
    assert hashlib.sha256(target.read_bytes()).hexdigest() == video["content"]["sha256"]
    assert "rendering" in done.stderr
    watched = said(served.run("watch", video["id"], "--json"))
    assert (watched["id"], watched["status"]) == (video["id"], "completed")
    again = served.directory / "again.mp4"
    assert said(served.run("download", video["id"], "--json", "-o", str(again)))["file"] == str(again)
    assert again.read_bytes() == target.read_bytes()


def test_a_video_that_fails_is_told_with_its_reason_and_status_1(served: World) -> None:
    done = served.run("generate", "--prompt", "a boat sim:fail-moderation", "--json")
    assert (done.returncode, said(done)["error"]["code"]) == (1, "content_policy_violation")
    assert "The video failed: " in done.stderr
    assert "(content_policy_violation)" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("generate", "--prompt", "a boat", "--size", "1x1"), 2, "The size '1x1' is not served by 'sora-2'"),
        (("generate", "--prompt", "a boat", "--key", "sk-wrong"), 2, "(invalid_api_key)"),
        (("watch", "video_none"), 2, "There is no video 'video_none'"),
        (("download", "video_none"), 2, "There is no video 'video_none'"),
        (("generate",), 2, "Missing option '--prompt'"),
        (("generate", "--prompt", "a boat", "-o", "no/boat.mp4"), 2, "nothing can be written into the folder 'no'"),
        (("watch", "video_1", "--url", "127.0.0.1:8080"), 2, "expected http://… or https://…"),
    ],
)
def test_what_is_refused_is_told_in_the_gateways_words_with_status_2(
    served: World, words: tuple[str, ...], status: int, told: str
) -> None:
    posted = len(served.simulator.books().submissions)
    done = served.run(*words)
    assert (done.returncode, done.stdout) == (status, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "Come back" not in done.stderr
    assert len(served.simulator.books().submissions) == posted


def test_a_gateway_that_is_not_there_is_told_after_a_few_seconds_with_status_3(served: World) -> None:
    done = served.run("watch", "video_1", "--url", f"http://127.0.0.1:{free_port()}", "--key", "sk-1")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no answer from http://127.0.0.1" in done.stderr


def test_ctrl_c_leaves_the_video_going_and_says_how_to_come_back(served: World) -> None:
    process = subprocess.Popen(
        command("generate", "--prompt", "a boat sim:render=600"),
        env=environment(served), cwd=served.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    found = re.search(r"video_\w+", process.stdout.readline())
    assert found is not None
    while "rendering" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=LONG_S)
    assert process.returncode == 130
    assert f"gateway watch {found[0]}" in rest
    assert f"gateway download {found[0]}" in rest
    unfinished = served.run("download", found[0])
    assert (unfinished.returncode, f"gateway watch {found[0]}" in unfinished.stderr) == (1, True)
    served.http.post(f"{served.url}/v1/videos/{found[0]}/cancel", timeout=30)
    cancelled = served.run("watch", found[0])
    assert (cancelled.returncode, "The video was cancelled." in cancelled.stderr) == (1, True)


def test_ctrl_c_with_json_leaves_the_id_on_stdout(served: World) -> None:
    process = subprocess.Popen(
        command("generate", "--prompt", "a boat sim:render=600", "--json"),
        env=environment(served), cwd=served.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    found = re.search(r"video_\w+", process.stderr.readline())
    assert found is not None
    process.send_signal(signal.SIGINT)
    document, _ = process.communicate(timeout=LONG_S)
    expected = {"id": found[0], "error": {"message": "interrupted", "code": "interrupted"}}
    assert (process.returncode, json.loads(document)) == (130, expected)
    served.http.delete(f"{served.url}/v1/videos/{found[0]}", timeout=30)


def test_a_terminal_that_lacks_a_character_ends_no_command(served: World) -> None:
    served.settings["PYTHONIOENCODING"] = "ascii"
    done = served.run("generate", "--prompt", "参考配图", "-o", "动物.mp4", "--json")
    del served.settings["PYTHONIOENCODING"]
    assert done.returncode == 0, done.stderr
    assert (said(done)["prompt"], said(done)["file"]) == ("参考配图", "动物.mp4")
    assert (served.directory / "动物.mp4").exists()


def on_a_terminal(served: World, columns: int, *words: str) -> str:
    """What a command writes to a terminal; it has to succeed."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command(*words), env={**environment(served), "TERM": "xterm", "COLUMNS": str(columns)}, cwd=served.directory,
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    seen = bytearray()
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        seen += block
    os.close(leader)
    text = seen.decode()
    assert process.wait(timeout=LONG_S) == 0, text
    return text


def test_on_a_terminal_there_is_a_bar_on_a_line_that_is_redrawn(served: World, tmp_path: Path) -> None:
    text = on_a_terminal(served, 100, "generate", "--prompt", "a boat", "-o", str(tmp_path / "boat.mp4"))
    assert "━" in text
    assert "0:00:0" in text
    assert "\x1b[2K" in text
    assert "100%" in text


def test_on_a_narrow_terminal_the_bar_gives_way_and_the_line_stays_one(served: World) -> None:
    text = on_a_terminal(served, 40, "generate", "--prompt", "参考配图", "-o", "活跃起来.mp4")
    bars = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", text) if "━" in line]
    assert any(re.fullmatch(r"rendering \(completed\) ━+ 100% 0:00:\d\d", bar) for bar in bars), bars
    assert any(re.fullmatch(r"downloading ━+ [\d.]+/[\d.]+ kB 0:00:\d\d", bar) for bar in bars), bars
    assert max(map(len, bars)) <= 40
    assert "Saved 活跃起来.mp4" in text
