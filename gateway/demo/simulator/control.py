"""The paths under `/_simulator` by which a test reads the books and pulls the strings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from flask import Flask, Response, request

from gateway.demo.simulator.answers import answer
from gateway.demo.simulator.faults import TABLE, Stage
from gateway.demo.simulator.language import FaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.demo.simulator.books import Books
    from gateway.demo.simulator.films import Film

_LONGEST_WAIT_S = 300.0


class Strings(Protocol):
    """What can be pulled: `Simulator` has it all."""

    def books(self) -> Books:
        """Return the books."""

    def wait_for(self, wanted: Callable[[Books], bool], *, timeout_s: float) -> Books | None:
        """Wait for the books to be as wanted."""

    def faults(self, *words: str) -> None:
        """Replace the faults of the server."""

    def render(self, video_id: str | None = None, *, progress: float = 100.0) -> int:
        """Move videos on."""

    def release(self, stage: Stage | None = None) -> int:
        """Let go what is held."""

    def content_of(self, video_id: str) -> Film | None:
        """Return a video's content."""


class Control:
    """The paths, each one string."""

    def __init__(self, *, strings: Strings) -> None:
        self._strings = strings

    def register(self, app: Flask) -> None:
        """Add the paths."""
        add = app.add_url_rule
        add("/_simulator/books", "books", self.books)
        add("/_simulator/wait", "wait", self.wait)
        add("/_simulator/faults", "faults", self.faults, methods=["GET", "POST", "DELETE"])
        add("/_simulator/render", "render", self.render, methods=["POST"])
        add("/_simulator/release", "release", self.release, methods=["POST"])
        add("/_simulator/videos/<video_id>", "fingerprint", self.fingerprint)

    def books(self) -> Response:
        """Answer the books."""
        return answer(self._strings.books().as_dict())

    def wait(self) -> Response:
        """Answer the books once `?count=NAME&at_least=N` holds (`holding`: held now); 408 after `timeout` s."""
        name = request.args.get("count", "accepted")
        least = request.args.get("at_least", 1, type=int)
        timeout_s = min(request.args.get("timeout", 10.0, type=float), _LONGEST_WAIT_S)

        def wanted(books: Books) -> bool:
            return (len(books.holding) if name == "holding" else books.count(name)) >= least

        books = self._strings.wait_for(wanted, timeout_s=timeout_s)
        return answer({"error": "not in time"}, status=408) if books is None else answer(books.as_dict())

    def faults(self) -> Response:
        """Answer the table (GET), replace the server's faults (POST `{"faults": [...]}`), or end them (DELETE)."""
        if request.method == "GET":
            return answer(
                {row.name: {"stage": row.stage, "does": row.does, "value": row.value} for row in TABLE.values()}
            )
        words: Sequence[str] = [] if request.method == "DELETE" else self._body().get("faults", [])
        try:
            self._strings.faults(*words)
        except FaultError as error:
            return answer({"error": str(error)}, status=400)
        return answer({"faults": list(words)})

    def render(self) -> Response:
        """Bring a video (`id`), or all in progress, to `progress` percent (100: finished)."""
        body = self._body()
        return answer({"videos": self._strings.render(body.get("id"), progress=float(body.get("progress", 100)))})

    def release(self) -> Response:
        """Let go what is held, of one `stage` or all."""
        stage = self._body().get("stage")
        return answer({"released": self._strings.release(Stage(stage) if stage else None)})

    def fingerprint(self, video_id: str) -> Response:
        """Answer length and SHA-256 of a video's content."""
        film = self._strings.content_of(video_id)
        if film is None:
            return answer({"error": "no such video"}, status=404)
        return answer({"id": video_id, "bytes": film.length, "sha256": film.sha256()})

    def _body(self) -> dict[str, Any]:
        body = request.get_json(silent=True)
        return body if isinstance(body, dict) else {}
