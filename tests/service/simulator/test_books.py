"""The simulator's books and control paths, and what of them outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gateway.demo.simulator import Simulator
from gateway.demo.simulator.books import COUNTED
from gateway.demo.simulator.faults import TABLE
from tests.service.simulator.driver import SETTINGS, Client, picture


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
    client = start(keys={"one": "sk-1"}, max_concurrent=1, requests_per_minute=9)
    owner = Client(client.simulator, "sk-1")
    video_id = owner.submit("a cat sim:content-redirect").json()["id"]
    for _ in range(2):
        owner.submit("another")
    client.simulator.render()
    owner.raw("GET", owner.get(f"/{video_id}/content").headers["Location"])
    owner.get(f"/{video_id}/content?variant=thumbnail")
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
