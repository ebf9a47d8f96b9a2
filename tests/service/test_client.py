"""A client of the gateway: one video for one command, and only a whole download gets its name."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.client.gateway import Gateway, Refused, Unreachable
from gateway.client.saving import Damaged, save
from gateway.outbound.deadline import Deadlines
from gateway.outbound.session import Outbound

FILM = bytes(range(256)) * 4000

Answer = Callable[[BaseHTTPRequestHandler], None]


class Stage:
    """A server that plays a gateway by a script, an answer for each request, and the time of its client."""

    def __init__(self, url: str, gateway: Gateway) -> None:
        self.url = url
        self.gateway = gateway
        self.script: list[Answer] = []
        self.seen: list[tuple[str, str, dict[str, str]]] = []


@pytest.fixture
def stage() -> Iterator[Stage]:
    with served() as stage:
        yield stage


@contextmanager
def served() -> Iterator[Stage]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            stage.seen.append((self.command, self.path, dict(self.headers.items())))
            self.rfile.read(int(self.headers.get("content-length", 0)))
            stage.script.pop(0)(self)

        do_POST = do_GET  # noqa: N815 - the base class looks for that name

        def log_message(self, *args: object) -> None:
            del args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    deadlines, clock = Deadlines(), [0.0]
    outbound = Outbound(pool_size=1, deadlines=deadlines, reuse=False)

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    url = f"http://127.0.0.1:{server.server_address[1]}"
    stage = Stage(url, Gateway(url=url, key="sk-1", outbound=outbound, monotonic=lambda: clock[0], sleep=sleep))
    try:
        yield stage
    finally:
        outbound.close()
        deadlines.close()
        server.shutdown()
        server.server_close()


def says(status: int, body: Any = None, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        handler.send_response(status)
        for name, text in headers.items():
            handler.send_header(name.replace("_", "-"), text)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def cut(start: int, end: int, status: int = 200) -> Answer:
    """Sends these bytes of the film, and then the connection breaks."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("content-length", str(len(FILM) - start))
        handler.end_headers()
        handler.wfile.write(FILM[start:end])
        handler.close_connection = True

    return answer


VIDEO = {
    "id": "video_1", "status": "completed",
    "content": {"bytes": len(FILM), "sha256": hashlib.sha256(FILM).hexdigest()},
}  # fmt: skip


def saved(stage: Stage, target: Path, video: dict[str, Any] = VIDEO) -> bytes:
    save(stage.gateway, video, target, show=lambda _: None)
    return target.read_bytes()


def test_a_post_whose_answer_is_lost_is_repeated_under_the_same_key(stage: Stage) -> None:
    stage.script = [hangs_up, says(503, {}, retry_after="1"), says(202, {"id": "video_1"})]
    assert stage.gateway.create({"prompt": "a boat"}, None) == {"id": "video_1"}
    keys = {headers["Idempotency-Key"] for _, _, headers in stage.seen}
    assert (len(stage.seen), len(keys)) == (3, 1)


def test_a_gateway_that_restarts_is_waited_for_and_one_that_was_never_there_is_not(stage: Stage) -> None:
    stage.script = [says(200, {"status": "queued"}), *[hangs_up] * 20, says(200, {"status": "completed"})]
    assert [video["status"] for video in stage.gateway.changes("video_1")] == ["queued", "completed"]
    stage.script = [hangs_up] * 20
    with pytest.raises(Unreachable):
        stage.gateway.video("video_1")


def test_it_asks_again_when_the_gateway_says(stage: Stage) -> None:
    stage.script = [says(200, {"status": "queued"}, openai_poll_after_ms="5000"), says(200, {"status": "failed"})]
    assert len(list(stage.gateway.changes("video_1"))) == 2
    assert stage.gateway.monotonic() == 5.0


def test_a_download_that_is_cut_goes_on_where_it_was(stage: Stage, tmp_path: Path) -> None:
    def rest(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
        cut(start, len(FILM), 206)(handler)

    stage.script = [cut(0, 300_000), rest]
    assert saved(stage, tmp_path / "film.mp4") == FILM
    assert len(stage.seen) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_a_server_that_knows_no_ranges_begins_anew(stage: Stage, tmp_path: Path) -> None:
    stage.script = [cut(0, 300_000), cut(0, len(FILM))]
    assert saved(stage, tmp_path / "film.mp4") == FILM


def test_a_download_that_brings_nothing_any_more_is_given_up_and_has_no_name(stage: Stage, tmp_path: Path) -> None:
    stage.script = [cut(0, 300_000), *[hangs_up] * 20]
    with pytest.raises(Unreachable, match="broke off 6 times"):
        saved(stage, tmp_path / "film.mp4")
    assert not (tmp_path / "film.mp4").exists()


def test_a_download_whose_hash_is_another_is_not_kept(stage: Stage, tmp_path: Path) -> None:
    stage.script = [says(200, FILM[::-1])]
    with pytest.raises(Damaged, match="SHA-256"):
        saved(stage, tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


def test_the_key_goes_to_the_gateway_and_not_to_the_bucket(stage: Stage, tmp_path: Path) -> None:
    with served() as bucket:
        bucket.script = [says(200, FILM)]
        stage.script = [says(302, {}, location=f"{bucket.url}/film?signature=1")]
        assert saved(stage, tmp_path / "film.mp4") == FILM
        assert "Authorization" in stage.seen[0][2]
        assert "Authorization" not in bucket.seen[0][2]


def test_what_is_no_gateway_is_told_so(stage: Stage) -> None:
    stage.script = [says(200, b"<html>")]
    with pytest.raises(Refused, match="is that the URL of a gateway"):
        stage.gateway.video("video_1")
    stage.script = [says(404, b"<html>")]
    with pytest.raises(Refused, match="HTTP 404"):
        stage.gateway.video("video_1")
