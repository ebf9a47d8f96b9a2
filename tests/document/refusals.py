"""The requests that are refused, recorded from the app over a real database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.api.examples import EVERY
from gateway.api.operation import Operation
from gateway.bucket.port import BucketError
from gateway.db.endpoints import MOST
from gateway.db.ledger import SqlLedger
from gateway.jobs.job import Status
from gateway.jobs.refusal_codes import RefusalCode
from tests.api_world import PUBLIC, World, make_world
from tests.document.notebook import BY_NAME, Notebook, Recorded

_LARGEST = 16 * 1024 * 1024
_REMIX = {"prompt": "The same boat at night"}
_SHOP = {"name": "shop", "url": "https://shop.example.com/hook", "event_types": ["video.completed"]}

Asked = Mapping[str, Any]
"""What differs from the plain request of an operation: `path` parameters, `query`, `json`, `data`, `headers`."""

_WRONG: Mapping[str, Asked] = {
    "create_video": {"json": {"prompt": "A paper boat", "size": "1x1"}},
    "list_videos": {"query": "limit=1000"},
    "remix_video": {"path": {"video_id": "made"}, "json": _REMIX},
    "get_video_content": {"path": {"video_id": "made"}, "query": "variant=poster"},
    "list_deliveries": {"query": "status=lost"},
    "redeliver_failed": {"json": {"since": -1}},
    "create_webhook_endpoint": {"json": {**_SHOP, "event_types": ["video.lost"]}},
    "list_webhook_endpoints": {"query": "limit=1000"},
    "update_webhook_endpoint": {"path": {"webhook_endpoint_id": "on"}, "json": {"event_types": []}},
    "test_webhook_endpoint": {"path": {"webhook_endpoint_id": "on"}, "json": {"event_type": "video.lost"}},
    "rotate_webhook_endpoint_secret": {
        "path": {"webhook_endpoint_id": "on"}, "json": {"keep_old_secret_active_for_24_hours": "for ever"},
    },
}  # fmt: skip
_MISSING: Mapping[str, Asked] = {
    "list_videos": {"query": "after=video_0"},
    "remix_video": {"json": _REMIX},
    "get_video_content": {"path": {"video_id": "made"}, "query": "variant=thumbnail"},
    "list_deliveries": {"query": "after=del_0"},
    "list_webhook_endpoints": {"query": "after=we_0"},
}
_OTHERS: Mapping[tuple[str, int], Asked] = {
    ("create_video", 422): {"json": {"prompt": "Another boat"}, "headers": {"Idempotency-Key": "order-4711"}},
    ("remix_video", 409): {"path": {"video_id": "queued"}, "json": _REMIX},
    ("remix_video", 410): {"path": {"video_id": "removed"}, "json": _REMIX},
    ("remix_video", 422): {
        "path": {"video_id": "made"}, "json": _REMIX, "headers": {"Idempotency-Key": "order-4711"},
    },
    ("cancel_video", 409): {"path": {"video_id": "made"}},
    ("get_video_content", 409): {"path": {"video_id": "queued"}},
    ("get_video_content", 410): {"path": {"video_id": "removed"}},
    ("get_video_content", 416): {"path": {"video_id": "made"}, "headers": {"Range": "bytes=999999-"}},
    ("redeliver", 409): {"path": {"delivery_id": "ended"}},
    ("create_webhook_endpoint", 409): {"json": _SHOP},
    ("test_webhook_endpoint", 409): {"path": {"webhook_endpoint_id": "off"}},
}  # fmt: skip


def recorded_refusals(folder: Path) -> Recorded:
    """Return what is answered to one request for each refusal that an operation names."""
    world = make_world(folder, content_mode="stream", client_requests_per_minute=60, waits=0)
    try:
        return _Refused(world).all()
    finally:
        world.database.close()


class _Refused:
    """A world in which everything that can be refused is there to be asked for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._key = world.key("shop")
        self._asked: Asked = {}
        self._notebook = Notebook(self._send, hosts={PUBLIC: "https://gateway.example.com"})
        self._things = self._furnished()

    def all(self) -> Recorded:
        """Return what is answered to one request for each refusal of each operation."""
        for name, operation in BY_NAME.items():
            for status, code in operation.errors.items() if operation.documented else ():
                if code != "receiver_silent":  # a worker has to meet it: it is recorded from a whole gateway
                    self._ask(name, status, code)
        self._accepted_at_once()
        self._everywhere()
        return self._notebook.recorded

    def _ask(self, name: str, status: int, code: RefusalCode) -> None:
        usual: Mapping[int, Asked] = {
            400: _WRONG.get(name, {}),
            404: _MISSING.get(name, {}),
            413: {"data": b" " * (_LARGEST + 1), "headers": {"Content-Type": "application/json"}},
            415: {"data": b"<a/>", "headers": {"Content-Type": "text/xml"}},
        }
        self._asked = _OTHERS.get((name, status)) or usual[status]
        path = dict.fromkeys(_parameters(BY_NAME[name]), "none") | self._asked.get("path", {})
        answer = self._notebook.ask(name, **{kind: self._things.get(thing, thing) for kind, thing in path.items()})
        assert str(status) in self._notebook.recorded[name], (name, status, answer)
        assert answer["error"]["code"] == code, (name, status, answer)

    def _accepted_at_once(self) -> None:
        """Keep the answer to a test that no thread can be spared to wait for."""
        self._asked = {"json": {"event_type": "video.completed"}}
        self._notebook.ask("test_webhook_endpoint", webhook_endpoint_id=self._things["on"])

    def _send(self, operation: Operation, path: str, body: object) -> tuple[int, Any]:
        asked = self._asked
        answer = self._world.http.open(
            path, method=operation.method, headers={**self._key, **asked.get("headers", {})},
            query_string=asked.get("query"), json=asked.get("json"), data=asked.get("data"),
        )  # fmt: skip
        return answer.status_code, answer.json

    def _furnished(self) -> Mapping[str, str]:
        """Return the ids of what the requests name, by the words they name it with."""
        world, post = self._world, self._post
        removed = post("removed")
        world.advance(removed, Status.COMPLETED)
        now = world.database.now()
        SqlLedger(world.database).retire(before=now + 1, limit=1, now=now)
        off, on, *_ = [self._made("/v1/webhook_endpoints", _SHOP)["id"] for _ in range(MOST)]
        made = post("made")
        world.advance(made, Status.COMPLETED)
        told = world.get(f"/v1/videos/{made}/deliveries", "shop").json["data"]
        ended = next(delivery["id"] for delivery in told if delivery["webhook_endpoint_id"] == off)
        self._made(f"/v1/webhook_endpoints/{off}", {"enabled": False})
        post("A paper boat", {"Idempotency-Key": "order-4711"})
        return {
            "made": made, "removed": removed, "queued": post("queued"), "on": on, "off": off, "ended": ended,
        }  # fmt: skip

    def _post(self, prompt: str, headers: Mapping[str, str] | None = None) -> str:
        return str(self._world.post("shop", dict(headers or {}), prompt=prompt).json["id"])

    def _made(self, path: str, body: object) -> Mapping[str, Any]:
        answer = self._world.http.post(path, json=body, headers=self._key)
        assert answer.status_code < 300, answer.json
        return dict(answer.json)

    def _everywhere(self) -> None:
        """Keep what every operation behind the key may answer, and why nothing is ready."""
        world = self._world
        shown = {"path": "/v1/models", "headers": self._key}
        wrong = {**shown, "headers": {"Authorization": "Bearer sk-of-somebody-else"}}
        self._keep_every(401, world.http.get(**wrong))
        world.turnstile.wait_s = 2.3
        self._keep_every(429, world.http.get(**shown))
        world.turnstile.wait_s = None
        self._keep_every(500, self._failing(RuntimeError("a bug")))
        self._keep_every(503, self._failing(BucketError("unreachable")))
        object.__setattr__(world.services, "stopping", lambda: True)
        self._notebook.keep("readyz", "503", world.http.get("/readyz").json)

    def _failing(self, trouble: Exception) -> Any:
        def fail() -> bytes:
            raise trouble

        object.__setattr__(self._world.services, "metrics_text", fail)
        return self._world.http.get("/metrics")

    def _keep_every(self, status: int, answer: Any) -> None:
        assert answer.status_code == status
        self._notebook.keep(EVERY, str(status), answer.json)


def _parameters(operation: Operation) -> list[str]:
    return [parameter.name for parameter in operation.parameters if parameter.place == "path"]
