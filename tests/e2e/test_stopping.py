"""SIGTERM: what is under way is finished or given back, in time, and nothing is lost."""

from __future__ import annotations

import ctypes
import platform
import signal
from pathlib import Path

import psutil
import pytest

from gateway.demo.inbox import Reply
from gateway.demo.simulator.books import Books
from tests.e2e.conftest import MakeWorld
from tests.e2e.harness import World
from tests.e2e.processes import Program, eventually

_TGKILL = {"x86_64": 234, "aarch64": 131}


def test_a_worker_stops_when_sigterm_is_delivered_to_another_thread_than_the_first(world: World) -> None:
    worker = world.start("worker")
    eventually(world.logs, lambda said: "is at work" in said, "at work")
    others = [thread.id for thread in psutil.Process(worker.pid).threads() if thread.id != worker.pid]
    # What the kernel does when the first thread is not ready to take it, such as right after SIGCONT.
    ctypes.CDLL(None).syscall(_TGKILL[platform.machine()], worker.pid, others[0], signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.parametrize("command", ["simulate", "listen"])
def test_a_tool_ends_well_at_sigterm(command: str, tmp_path: Path) -> None:
    tool = Program(command, "--bind", "127.0.0.1:0", cwd=tmp_path, settings={}, log=tmp_path / "said")
    try:
        eventually(tool.log.read_text, lambda said: "http://127.0.0.1:" in said, "listening")
        assert tool.stop()[0] == 0
    finally:
        tool.kill_tree()


def test_serve_ends_in_time_with_work_of_every_kind_under_way_and_nothing_is_lost(make_world: MakeWorld) -> None:
    world = make_world({"video_bytes": 4_000_000})
    prompts = {
        "submit": "slow to take sim:submit-slow=3",
        "poll": "slow to say sim:poll-slow=3",
        "content": "slow to come sim:content-drip=100000",
        "callback": "slow to thank",
    }
    gateway = world.serve()
    world.inbox.answer_with(Reply(after_s=3))
    videos = {"callback": world.post(prompts["callback"])["id"]}
    assert world.inbox.wait_for(lambda callbacks: len(callbacks) == 1, timeout_s=60)
    videos |= {kind: world.post(prompts[kind])["id"] for kind in ("content", "poll", "submit")}
    eventually(world.simulator.books, _busy, "submitting, polling and downloading")
    status, seconds = gateway.stop()
    assert status == 0, world.logs()[-3000:]
    assert seconds < 20
    world.serve()
    for kind, prompt in prompts.items():
        world.assert_done_once(videos[kind], prompt)
        assert world.posts(prompt) == 1


def test_serve_ends_in_time_when_nobody_answers_it_and_nothing_is_lost(make_world: MakeWorld) -> None:
    world = make_world({"video_bytes": 4_000_000})
    prompts = {
        "submit": "never told sim:submit-hold-after",
        "poll": "never said sim:poll-hold",
        "content": "never sent sim:content-hold",
        "callback": "never thanked",
    }
    gateway = world.serve()
    world.inbox.answer_with(Reply(after_s=60))
    videos = {"callback": world.post(prompts["callback"])["id"]}
    assert world.inbox.wait_for(lambda callbacks: len(callbacks) == 1, timeout_s=60)
    videos |= {kind: world.post(prompts[kind])["id"] for kind in ("content", "poll", "submit")}
    world.await_held("content", "poll", "submit")
    status, seconds = gateway.stop()
    assert status == 0, world.logs()[-3000:]
    assert seconds < 20
    world.serve()
    for kind, prompt in prompts.items():
        world.assert_done_once(videos[kind], prompt)
        assert world.posts(prompt) == 1


def _busy(books: Books) -> bool:
    """Whether all three have come in, each of which is answered slowly."""
    submitting = any("sim:submit" in note.prompt for note in books.submissions)
    polling = any("sim:poll" in video.prompt and video.polls for video in books.videos)
    downloading = any("sim:content" in video.prompt and video.content_requests for video in books.videos)
    return submitting and polling and downloading
