"""Runs the examples of a language as their users do: with arguments and an environment, in a folder of their own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.examples.languages import EXAMPLES, Language
from tests.e2e.harness import World
from tests.e2e.processes import LONG_S, eventually, free_port


class Ended(Exception):
    """A receiver did not come so far as to listen; the message is what it said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receiver:
    """A running receiver: what it saves and what it says lies in `directory`."""

    directory: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def said(self) -> str:
        return (self.directory / "said.log").read_text(encoding="utf-8", errors="replace")

    def await_said(self, *words: str) -> str:
        """Wait until it has said all of them; return everything it said."""
        return eventually(self.said, lambda text: all(each in text for each in words), f"said: {words}")

    def post(self, body: bytes, headers: Mapping[str, str]) -> int | None:
        """Return the status of its answer; None where it closed the connection instead."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG_S)) as connection:
            with suppress(ConnectionError):
                connection.request("POST", "/hook", body=body, headers=dict(headers))
            with suppress(ConnectionError):
                return connection.getresponse().status
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """Both examples of one language; `made` is the folder of what was built from them."""

    language: Language
    made: Path

    def check(self) -> str:
        """Return what is to be said against the sources."""
        done = [self._run(self._words(check)) for check in self.language.checks]
        return "".join(one.stdout + one.stderr for one in done if one.returncode or one.stdout)

    def build(self) -> None:
        for words in self.language.builds:
            done = self._run(self._words(words))
            assert done.returncode == 0, done.stderr

    def generate(
        self, world: World, *, prompt: str, image: Path, target: Path, **given: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the first example to its end; `given` changes its environment."""
        environment = {"SORA_URL": world.url, "SORA_KEY": world.api_key, **given}
        return self.run_generate(str(image), prompt, str(target), **environment)

    def run_generate(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the first example with these arguments."""
        return self._run([*self._words(self.language.generate), *arguments], **environment)

    @contextmanager
    def receiver(self, directory: Path, secret: str) -> Iterator[Receiver]:
        """Have the second example listen, in a new folder. Raises Ended."""
        directory.mkdir()
        port = free_port()
        receiver = Receiver(directory=directory, port=port)
        with (directory / "said.log").open("wb") as log:
            process = subprocess.Popen(
                self._words(self.language.receive, port=port),
                env=_environment(SORA_WEBHOOK_SECRET=secret, PORT=str(port)),
                cwd=directory, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            eventually(lambda: process.poll() is not None or _listening(port), bool, "listening")
            if process.poll() is not None:
                raise Ended(receiver.said())
            yield receiver
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=LONG_S)

    def _words(self, words: Sequence[str], *, port: int = 0) -> list[str]:
        return [word.format(here=EXAMPLES, made=self.made, port=port) for word in words]

    def _run(self, words: Sequence[str], **given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=_environment(**given), cwd=self.made, capture_output=True, encoding="utf-8", timeout=LONG_S,
            check=False,
        )  # fmt: skip


def _environment(**given: str) -> dict[str, str]:
    """Return an environment like that of a server, whose locale is UTF-8."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", **given}


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
