"""`gateway demo` as a stranger runs it, and what it leaves behind: a film, and no process."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import psutil

from gateway.demo import mp4
from gateway.demo.run import SECONDS
from tests.e2e.processes import LONG_S, Program, await_gone, eventually

TO_TRY = re.compile(r"^  (curl .+)\n", re.MULTILINE)


def test_the_demo_ends_well_with_a_film_that_plays_and_leaves_no_process(tmp_path: Path) -> None:
    demo = Program("demo", "-o", "film.mp4", cwd=tmp_path, settings={}, log=tmp_path / "said")
    family: set[psutil.Process] = set()

    def ended() -> bool:
        family.update(demo.tree())
        return demo.ended

    eventually(ended, bool, "ended", timeout_s=2 * LONG_S)
    assert demo.wait() == 0, (tmp_path / "said").read_text()
    seen = mp4.probe(tmp_path / "film.mp4")
    assert (seen.width, seen.height, round(seen.duration)) == (1280, 720, SECONDS)
    assert len(family) > 4
    await_gone(list(family), timeout_s=1)


def test_a_demo_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    demo = Program("demo", cwd=tmp_path, settings={}, log=tmp_path / "said")
    try:
        eventually(demo.log.read_text, lambda said: "POST /v1/videos" in said, "posted", timeout_s=2 * LONG_S)
        family = demo.tree()
        assert len(family) > 4
        demo.kill()
        await_gone(family)
    finally:
        demo.kill_tree()


def test_a_demo_that_is_kept_prints_a_line_to_try_and_shows_the_callback_that_it_brings(tmp_path: Path) -> None:
    demo = Program("demo", "--keep", cwd=tmp_path, settings={}, log=tmp_path / "said")
    try:
        eventually(demo.log.read_text, lambda said: bool(TO_TRY.search(said)), "kept", timeout_s=2 * LONG_S)
        (line,) = TO_TRY.findall(demo.log.read_text())
        answer = subprocess.run(shlex.split(line), capture_output=True, check=True, timeout=LONG_S)
        video = json.loads(answer.stdout)["id"]
        told = f"video.completed  {video}  verified"
        eventually(demo.log.read_text, lambda said: told in said, "called back", timeout_s=2 * LONG_S)
        assert demo.stop()[0] == 0
    finally:
        demo.kill_tree()


def test_a_demo_that_gets_sigterm_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    demo = Program("demo", "--keep", cwd=tmp_path, settings={"TMPDIR": str(folder)}, log=tmp_path / "said")
    try:
        eventually(demo.log.read_text, lambda said: "POST /v1/videos" in said, "posted", timeout_s=2 * LONG_S)
        family = demo.tree()
        assert list(folder.iterdir())
        demo.stop()
        await_gone(family)
        assert not list(folder.iterdir())
    finally:
        demo.kill_tree()
