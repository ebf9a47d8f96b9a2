"""The clients of a chaos run: each posts under one key until it has a 202, and remembers what it was told."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from tests.chaos.plans import Plan, draw

PICTURES = 2
_FINAL_EVENTS = ["video.completed", "video.failed", "video.cancelled"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """An owner of videos. `secret` signs its callbacks."""

    name: str
    key: str
    secret: str


@dataclass(kw_only=True, slots=True)
class Accepted:
    """One 202."""

    id: str
    client: Client
    prompt: str
    plan: Plan
    picture: bool
    events: Sequence[str]
    """Subscribed to; empty where it has no callback."""
    cancelled: bool = False
    deleted: bool = False


class Book:
    """What the clients were told. Safe from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accepted: list[Accepted] = []
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        """Answers that no client should ever get."""

    @property
    def accepted(self) -> Sequence[Accepted]:
        with self._lock:
            return tuple(self._accepted)

    def add(self, one: Accepted) -> None:
        with self._lock:
            self._accepted.append(one)

    def note(self, answer: str) -> None:
        with self._lock:
            self.answers[answer] += 1

    def complain(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)


class Poster:
    """One client at work in a thread of its own."""

    def __init__(
        self,
        *,
        client: Client,
        urls: Sequence[str],
        callback_url: str,
        pictures: Sequence[bytes],
        book: Book,
        chance: random.Random,
        wait_s: Callable[[], float],
        stop: threading.Event,
        long: bool,
    ) -> None:
        self._client = client
        self._urls = urls
        self._callback_url = f"{callback_url}/{client.name}"
        self._pictures = pictures
        self._book = book
        self._chance = chance
        self._wait_s = wait_s
        self._stop = stop
        self._long = long
        self._pause = threading.Event()
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers["Authorization"] = f"Bearer {client.key}"
        self._made = 0
        self.thread = threading.Thread(target=self._work, name=f"client {client.name}")

    def abandon(self) -> None:
        """Give up whatever is still being tried: the run is over."""
        self._pause.set()

    def _work(self) -> None:
        while not self._stop.wait(self._wait_s()):
            self._one_video()

    def post(self, plan: Plan, *, calmly: bool = False) -> None:
        """Post one video until it is accepted; some once more, which must bring the same video, and some regretted."""
        self._made += 1
        name = f"{self._client.name} {self._made}"
        prompt = plan.prompt(name)
        picture = self._chance.random() < 0.15
        events = [] if self._chance.random() < 0.1 else _FINAL_EVENTS
        key = f"{name} {self._chance.getrandbits(64):x}"
        video = self._until(lambda: self._ask(prompt, picture, events, key), {202}, f"post of {name}")
        if video is None:
            return
        one = Accepted(id=video["id"], client=self._client, prompt=prompt, plan=plan, picture=picture, events=events)
        self._book.add(one)
        if calmly:
            return
        if self._chance.random() < 0.1:
            repeated = self._until(lambda: self._ask(prompt, picture, events, key), {202}, f"repeat of {name}")
            if repeated is not None and repeated["id"] != one.id:
                self._book.complain(f"the repeat of {one.id} made {repeated['id']}")
        self._regret(one)

    def _one_video(self) -> None:
        self.post(draw(self._chance, long=self._long))

    def _regret(self, one: Accepted) -> None:
        """Cancel or delete a few, at some moment of their lives."""
        roll = self._chance.random()
        if roll > 0.06:
            return
        self._pause.wait(self._chance.uniform(0, 2))
        url = f"/v1/videos/{one.id}"
        if roll < 0.04:
            answer = self._until(lambda: self._call("POST", f"{url}/cancel"), {200, 409}, f"cancel of {one.id}")
            one.cancelled = answer is not None and answer.get("status") == "cancelled"
        else:
            one.deleted = self._until(lambda: self._call("DELETE", url), {200, 404}, f"delete of {one.id}") is not None

    def _ask(self, prompt: str, picture: bool, events: Sequence[str], key: str) -> requests.Response:
        fields: dict[str, Any] = {"prompt": prompt, "size": "1280x720", "seconds": "4"}
        if events:
            fields |= {"callback_url": self._callback_url}
        headers = {"Idempotency-Key": key}
        if not picture:
            body = fields | ({"callback_events": events} if events else {})
            return self._call("POST", "/v1/videos", json=body, headers=headers)
        data = [*fields.items(), *(("callback_events[]", event) for event in events)]
        # The same picture in every repeat: it is part of what the key stands for.
        chosen = self._pictures[len(prompt) % len(self._pictures)]
        files = {"input_reference": ("picture.png", chosen, "image/png")}
        return self._call("POST", "/v1/videos", data=data, files=files, headers=headers)

    def _call(self, method: str, path: str, **given: Any) -> requests.Response:
        return self._http.request(method, f"{self._chance.choice(self._urls)}{path}", timeout=(2, 15), **given)

    def _until(self, ask: Callable[[], requests.Response], wanted: set[int], what: str) -> dict[str, Any] | None:
        """Repeat until a wanted answer; None where the run was over first or the answer was one that is final."""
        began = time.monotonic()
        while not self._pause.is_set():
            try:
                answer = ask()
            except requests.RequestException as error:
                self._book.note(type(error).__name__)
            else:
                self._book.note(str(answer.status_code))
                if answer.status_code in wanted:
                    return dict(answer.json())
                if answer.status_code not in {429, 503}:
                    self._book.complain(f"{what}: {answer.status_code} {answer.text[:300]}")
                    if answer.status_code < 500:
                        return None
            self._pause.wait(self._chance.uniform(0.1, 0.5))
        self._book.complain(f"{what}: nothing for {time.monotonic() - began:.0f} s")
        return None
