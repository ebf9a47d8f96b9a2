"""The receiver of a chaos run: it answers by chance, and looks at once whether what a callback tells of is there."""

from __future__ import annotations

import hashlib
import queue
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import requests

from gateway.demo.inbox import Callback, Inbox, Reply
from gateway.webhooks.signing import BadSignature, verify
from tests.chaos.clients import Client

_PATIENCE = 15.0
_BAD = (
    Reply(status=500),
    Reply(status=503, headers={"Retry-After": "1"}),
    Reply(status=302, headers={"Location": "/elsewhere"}),
    Reply(reset=True),
    Reply(after_s=1.0),
    Reply(after_s=5.0),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One callback that came, and what was found when it came."""

    video_id: str
    type: str
    status: str
    webhook_id: str
    answered: int
    """The status that it was answered; 0 for a reset."""
    problem: str
    """Why it cannot be trusted, or what of it was not true; empty where all was well."""


class Receiver:
    """Callbacks of client NAME come to `/NAME`."""

    def __init__(self, *, clients: Sequence[Client], chance: random.Random) -> None:
        self._clients: Mapping[str, Client] = {client.name: client for client in clients}
        self._chance = chance
        self._waiting: queue.Queue[Callback | None] = queue.Queue()
        self._seen: list[Seen] = []
        self._inbox = Inbox(secrets=[client.secret for client in clients], on_callback=self._waiting.put)
        self._thread = threading.Thread(target=self._check, name="receiver")
        self._http = requests.Session()
        self._http.trust_env = False

    @property
    def url(self) -> str:
        return self._inbox.url

    def misbehave(self, share: float) -> None:
        """Answer so many of the next thousands of callbacks badly."""
        good = Reply()
        answers = [self._chance.choice(_BAD) if self._chance.random() < share else good for _ in range(20_000)]
        self._inbox.answer_with(*answers)

    def behave(self) -> None:
        """Answer 200 from now on."""
        self._inbox.answer_with()

    def seen(self) -> Sequence[Seen]:
        """Return all that came, once all of it has been looked at."""
        self._waiting.join()
        return tuple(self._seen)

    def __enter__(self) -> Self:
        self._inbox.start()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._inbox.stop()
        self._waiting.put(None)
        self._thread.join()
        self._http.close()

    def _check(self) -> None:
        while (callback := self._waiting.get()) is not None:
            try:
                self._seen.append(
                    Seen(
                        video_id=str(callback.video.get("id")),
                        type=callback.type,
                        status=str(callback.video.get("status")),
                        webhook_id=callback.webhook_id,
                        answered=callback.status,
                        problem=self._problem(callback),
                    )
                )
            finally:
                self._waiting.task_done()

    def _problem(self, callback: Callback) -> str:
        client = self._clients.get(callback.path.strip("/"))
        if client is None:
            return f"for nobody: {callback.path}"
        try:
            verify([client.secret], headers=callback.headers, body=callback.body, now=callback.received_at)
        except BadSignature as error:
            return f"not verified: {error}"
        if callback.type != "video.completed":
            return "" if callback.video.get("url") is None else "a link to what is not there"
        return self._object_problem(callback)

    def _object_problem(self, callback: Callback) -> str:
        try:
            answer = self._http.get(str(callback.video.get("url")), timeout=_PATIENCE)
        except requests.RequestException as error:
            return f"its link cannot be followed: {type(error).__name__}"
        if answer.status_code != 200:
            return f"its link says {answer.status_code}"
        told = (callback.video.get("content") or {}).get("sha256")
        return "" if hashlib.sha256(answer.content).hexdigest() == told else "its link leads to something else"
