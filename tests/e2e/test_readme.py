"""The four terminals of the README lead to a verified callback, as they stand there but for the ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from gateway.supervisor import PARENT
from tests.e2e.processes import LONG_S, environment, eventually, free_port
from tests.s3 import Store

README = Path(__file__).parents[2] / "README.md"

Terminal = Callable[[str, str], Path]
"""Starts a name's commands in the background; returns the file of what they say."""


@pytest.fixture
def typed(store: Store) -> Mapping[str, str]:
    """Return what is typed into each terminal, by number, with free ports and this run's store."""
    ports = {port: str(free_port()) for port in ("8080", "8090", "9000")}
    changed = {
        "http://127.0.0.1:8333": store.endpoint_url,
        "AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local-secret": (
            f"AWS_ACCESS_KEY_ID={store.access_key} AWS_SECRET_ACCESS_KEY={store.secret_key}"
        ),
        "GATEWAY_S3_BUCKET=videos": (
            f"GATEWAY_S3_BUCKET={store.bucket} GATEWAY_S3_PREFIX=readme GATEWAY_BIND=127.0.0.1:8080"
        ),
        "SORA_KEY=sk-shop": "SORA_KEY=sk-shop SORA_URL=http://127.0.0.1:8080",
        **{f"127.0.0.1:{port}": f"127.0.0.1:{free}" for port, free in ports.items()},
    }
    text = README.read_text(encoding="utf-8")
    for stands, used in changed.items():
        assert stands in text, stands
        text = text.replace(stands, used)
    found = dict(re.findall(r"```sh\n# ([1-4]): [^\n]*\n(.*?)```", text, re.DOTALL))
    assert list(found) == ["1", "2", "3", "4"]
    # The tests' own S3 server is already there, with ports of its own.
    found["1"] = found["1"][found["1"].index("gateway simulate") :]
    return found


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Open terminals whose programs end with the test."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {name: text for name, text in environment({"PATH": path}).items() if name != PARENT}
    opened: list[subprocess.Popen[bytes]] = []

    def open_one(name: str, commands: str) -> Path:
        log = tmp_path / f"{name}.log"
        with log.open("wb") as said:
            opened.append(
                subprocess.Popen(
                    ["bash", "-c", commands],
                    cwd=tmp_path,
                    env=environ,
                    stdout=said,
                    stderr=said,
                    start_new_session=True,
                )
            )
        return log

    yield open_one
    for one in opened:
        with suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGTERM)
        one.wait(timeout=LONG_S)


def says(log: Path, words: str) -> None:
    eventually(lambda: log.read_text(errors="replace"), lambda said: words in said, words)


def test_four_terminals_lead_to_a_verified_callback_and_a_saved_video(
    typed: Mapping[str, str], terminal: Terminal, tmp_path: Path
) -> None:
    terminal("upstream", typed["1"])
    receiver = terminal("receiver", typed["2"])
    gateway = terminal("gateway", typed["3"])
    says(gateway, "API keys: there are some")
    url = re.findall(r"http://[\d.:]+(?=/v1/videos)", typed["4"])[0]

    def ready() -> bool:
        with suppress(requests.ConnectionError):
            return requests.get(f"{url}/readyz", timeout=LONG_S).ok
        return False

    eventually(ready, bool, "ready")
    client = terminal("client", typed["4"])
    says(client, "Saved dog.mp4")
    says(receiver, "verified")
    assert (tmp_path / "dog.mp4").read_bytes()[4:8] == b"ftyp"
    assert "attempt 1, answered 200" in receiver.read_text()
