"""The requests that succeed and the callbacks, recorded from a whole gateway: its processes, an upstream, a bucket."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.api.callbacks import HEADERS
from gateway.api.examples import CALLBACKS, EVERY
from gateway.api.operation import Operation
from gateway.webhooks.events import TYPES
from tests.document.notebook import Notebook, Recorded
from tests.e2e.harness import World
from tests.e2e.processes import LONG_S, eventually, free_port
from tests.s3 import Store

PROMPT = "A paper boat sails across a puddle in the rain"


def recorded_answers(directory: Path, store: Store) -> Recorded:
    """Return what a new gateway answers to one of each request."""
    settings = {"GATEWAY_WEBHOOK_SCHEDULE_S": "1", "GATEWAY_UPSTREAM_MODELS": "sora-2"}
    with World(directory=directory, store=store, upstream={"render_s": 0.0}, settings=settings) as world:
        world.serve()
        notebook = Notebook(_sender(world), hosts=_hosts(world))
        for look_at in (_machines, _models, _a_video_that_is_made, _a_video_that_is_not, _callbacks, _endpoints):
            look_at(world, notebook)
        notebook.keep(EVERY, "414", _too_long_a_path(world))
        return notebook.recorded


def _sender(world: World) -> Any:
    def send(operation: Operation, path: str, body: Mapping[str, Any] | None) -> tuple[int, Any]:
        answer = world.http.request(operation.method, world.url + path, json=body, timeout=LONG_S)
        return answer.status_code, answer.json()

    return send


def _hosts(world: World) -> dict[str, str]:
    return {
        world.url: "https://gateway.example.com",
        f"{world.store.endpoint_url}/{world.store.bucket}": "https://bucket.example.com",
        world.inbox.url.rstrip("/"): "https://shop.example.com",
    }


def _hook(world: World) -> str:
    return f"{world.inbox.url.rstrip('/')}/hook"


def _machines(world: World, notebook: Notebook) -> None:
    notebook.ask("healthz")
    ready = f"{world.url}/readyz"
    eventually(lambda: world.http.get(ready).json()["worker_heartbeat_age_s"] is not None, bool, "a worker is there")
    notebook.ask("readyz")


def _models(world: World, notebook: Notebook) -> None:
    listed = notebook.ask("list_models")
    notebook.ask("get_model", model=listed["data"][0]["id"])


def _a_video_that_is_made(world: World, notebook: Notebook) -> None:
    asked = {"prompt": PROMPT, "size": "1280x720", "seconds": "4", "metadata": {"order": "4711"}}
    video_id = notebook.ask("create_video", {**asked, "callback_url": _hook(world)})["id"]
    world.await_status(video_id, "completed")
    (delivery,) = _told(world, video_id, "delivered")
    notebook.ask("get_video", video_id=video_id)
    notebook.ask("list_videos")
    notebook.ask("list_video_events", video_id=video_id)
    notebook.ask("list_video_deliveries", video_id=video_id)
    notebook.ask("list_deliveries")
    notebook.ask("redeliver", delivery_id=delivery["id"])
    notebook.ask("remix_video", {"prompt": "The same boat at night"}, video_id=video_id)
    notebook.ask("delete_video", video_id=video_id)


def _a_video_that_is_not(world: World, notebook: Notebook) -> None:
    assert world.run("upstreams", "pause", "default").returncode == 0
    notebook.ask("cancel_video", video_id=world.post(PROMPT, callback_url=_hook(world))["id"])
    assert world.run("upstreams", "resume", "default").returncode == 0
    lost = world.post(PROMPT, callback_url=f"http://127.0.0.1:{free_port()}/")["id"]
    _told(world, lost, "exhausted")
    notebook.ask("redeliver_failed", {"since": int(world.video(lost)["created_at"])})


def _callbacks(world: World, notebook: Notebook) -> None:
    """Keep a callback of each type, headers and body."""
    hook = {"callback_url": _hook(world)}
    world.post("sim:fail-moderation", **hook)
    stuck = world.post("sim:stuck=50", **hook, callback_events=["video.in_progress", "video.cancelled"])["id"]
    _come(world, "video.in_progress")
    world.http.post(f"{world.url}/v1/videos/{stuck}/cancel", timeout=LONG_S)
    for type_ in TYPES:
        callback = _come(world, type_)
        assert callback.verified
        headers = {name: callback.headers[name] for name in HEADERS}
        notebook.keep(CALLBACKS, type_, {"headers": headers, "body": json.loads(callback.body)})


def _endpoints(world: World, notebook: Notebook) -> None:
    types = ["video.completed", "video.failed"]
    made = notebook.ask("create_webhook_endpoint", {"name": "shop", "url": _hook(world), "event_types": types})
    world.inbox.trust(world.webhook_secret, made["signing_secret"])
    one = {"webhook_endpoint_id": made["id"]}
    notebook.ask("list_webhook_endpoints")
    notebook.ask("get_webhook_endpoint", **one)
    notebook.ask("test_webhook_endpoint", {"event_type": "video.completed"}, **one)
    notebook.ask("update_webhook_endpoint", {"enabled": True}, **one)
    notebook.ask("rotate_webhook_endpoint_secret", {"keep_old_secret_active_for_24_hours": True}, **one)
    notebook.ask("delete_webhook_endpoint", **one)
    notebook.ask("list_webhook_event_types")
    silent = world.http.post(
        f"{world.url}/v1/webhook_endpoints",
        json={"name": "away", "url": f"http://127.0.0.1:{free_port()}/", "event_types": types}, timeout=LONG_S,
    )  # fmt: skip
    notebook.ask("test_webhook_endpoint", {"event_type": "video.completed"}, webhook_endpoint_id=silent.json()["id"])


def _told(world: World, video_id: str, status: str) -> list[dict[str, Any]]:
    """Wait until every callback of a video is in a status; return them."""

    def all_there(deliveries: list[dict[str, Any]]) -> bool:
        return bool(deliveries) and all(delivery["status"] == status for delivery in deliveries)

    return eventually(lambda: world.deliveries(video_id), all_there, status)


def _come(world: World, type_: str) -> Any:
    came = world.inbox.wait_for(lambda all_: any(one.type == type_ for one in all_), timeout_s=LONG_S)
    assert came, f"no {type_}"
    return next(one for one in came if one.type == type_)


def _too_long_a_path(world: World) -> Any:
    """Send a request that the HTTP libraries would not; return what is answered."""
    with socket.create_connection(("127.0.0.1", world.port), timeout=LONG_S) as connection:
        connection.sendall(f"GET /v1/videos/{'x' * 9000} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return json.loads(answer.partition(b"\r\n\r\n")[2])
