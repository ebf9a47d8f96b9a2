"""The API's limit: the same authentication, JSON and schema under the same gunicorn options, and no database.

Run as a program with the gateway's settings in its environment.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request
from gunicorn.app.base import BaseApplication

from gateway.api import bodies
from gateway.api.loading import load
from gateway.api.schemas import NewVideoSchema, Posted
from gateway.pictures.reader import ImageReader
from gateway.settings import Settings
from gateway.supervisor import die_with_parent
from gateway.wsgi import gunicorn_options

VIDEO = {
    "id": "video_0123456789abcdef0123456789abcdef", "object": "video", "model": "sora-2", "status": "queued",
    "progress": 0, "prompt": "", "size": "720x1280", "seconds": "4", "created_at": 1_796_000_000, "completed_at": None,
    "expires_at": None, "error": None, "remixed_from_video_id": None, "content": None, "callback_url": None,
    "metadata": {}, "url": None, "url_expires_at": None, "queue_position": None, "estimated_completion_at": None,
    "urls": {name: f"http://127.0.0.1:8080/v1/videos/0/{name}" for name in ("get", "content", "events", "cancel")},
}  # fmt: skip

PAGE = [VIDEO] * 20


def floor_app(settings: Settings) -> Flask:
    """Return an app that accepts videos and forgets them."""
    app = Flask("floor", static_folder=None)
    app.request_class = bodies.GatewayRequest
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]
    known = [hashlib.sha256(key.secret.reveal().encode()).digest() for key in settings.api_keys]

    @app.before_request
    def check() -> Response | None:
        if request.endpoint == "healthz":
            return None
        given = hashlib.sha256(request.headers.get("Authorization", "").removeprefix("Bearer ").encode()).digest()
        return None if any(hmac.compare_digest(given, one) for one in known) else Response(status=401)

    schema, images = NewVideoSchema(), ImageReader(at_once=2)

    @app.post("/v1/videos")
    def create() -> Response:
        body = bodies.read()
        posted: Posted = load(schema, body.fields)
        if body.picture is not None:
            images.read(body.picture)
        answer = jsonify({**VIDEO, "prompt": posted.request.prompt, "metadata": dict(posted.request.metadata)})
        answer.status_code = 202
        return answer

    @app.get("/v1/videos/<video_id>")
    def show(video_id: str) -> Response:
        return jsonify({**VIDEO, "id": video_id})

    @app.get("/v1/videos")
    def index() -> Response:
        return jsonify({"object": "list", "data": PAGE, "first_id": "0", "last_id": "0", "has_more": True})

    @app.get("/healthz")
    def healthz() -> Response:
        return jsonify({"status": "ok"})

    return app


class FloorServer(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """That app under the gateway's own gunicorn options."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = gunicorn_options(self._settings)
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return floor_app(self._settings)


if __name__ == "__main__":
    die_with_parent()
    FloorServer(Settings.from_env(os.environ, Path.cwd())).run()
