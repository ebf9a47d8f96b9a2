"""The whole gateway in one process, as wired from its settings, in a time that a test can leap over.

Everything is real: the API, the worker's steps on their pools, the database, S3 and HTTP on loopback to a simulated
upstream and to a receiver. Only the clock of the database and that of the upstream run ahead, together, by what the
test has leapt over, so that a video's hour takes no hour.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import requests
import sqlalchemy as sa
from flask.testing import FlaskClient

from gateway import administration
from gateway.db.tables import deliveries, jobs, objects, submissions, upstream_keys
from gateway.demo.inbox import Callback, Inbox
from gateway.demo.simulator import Simulator
from gateway.demo.simulator.books import Entry, Submission
from gateway.settings import ONLY
from gateway.wiring.api import api_app
from gateway.wiring.worker import worker_process
from gateway.worker.paces import FORGOTTEN_AFTER_S
from tests.service.timed import TimedInstallation

SIZE = "128x72"
"""Encoded in no time."""
CLIENTS = ("alice", "bob")
UPSTREAM_KEY = "sk-upstream-0123456789"
TICK_S = 0.2
_IDLE_WITHIN_S = 30.0
_LEAP_MOST_S = 600.0
_HOUSE_S = 1.9
_WATCH_S = 2.0
"""How often a household looks round at least: it takes nobody for dead whom it did not watch."""


_DUES = sa.union_all(
    sa.select(jobs.c.due_at).where(jobs.c.finished_at.is_(None)),
    sa.select(deliveries.c.due_at).where(deliveries.c.status == "pending"),
    sa.select(submissions.c.due_at).where(submissions.c.slot_released_at.is_(None), submissions.c.due_at.is_not(None)),
    sa.select(objects.c.due_at).where(objects.c.state != "kept"),
    sa.select(upstream_keys.c.probe_at).where(upstream_keys.c.probe_at.is_not(None)),
)


class Worker:
    """One worker process's inside, ticked by hand."""

    def __init__(self, installation: TimedInstallation) -> None:
        self.installation = installation
        self.alive = True
        self.stopping = threading.Event()
        self.process = worker_process(installation, stopping=self.stopping)
        self.process.workers.join(self.process.worker, now=installation.database.now())

    def tick(self) -> int:
        """Do what is due and wait for it; how many pieces of work that were."""
        work = self.begin()
        self.finish()
        return work

    def begin(self) -> int:
        """Begin what is due."""
        return self.process.ticker.tick()

    def finish(self) -> None:
        """Wait for what was begun."""
        for pool in self.process.pools:
            assert pool.wait_idle(_IDLE_WITHIN_S), "a step does not end"

    def beat(self) -> None:
        self.process.workers.beat(self.process.worker, now=self.installation.database.now())

    def keep_house(self) -> None:
        self.process.housekeeping.tick(self.installation.database.now())
        self.process.housekeeping.sweep(self.installation.database.now())

    def close(self) -> None:
        self.stopping.set()
        for pool in self.process.pools:
            pool.close()
        if self.alive:
            self.process.workers.leave(self.process.worker, now=self.installation.database.now())
        else:
            self.process.workers._proof.let_go(self.process.worker)


@dataclass(kw_only=True)
class Api:
    """One API process's inside, as its clients see it."""

    http: FlaskClient
    headers: dict[str, dict[str, str]]

    def post(self, client: str = "alice", **fields: Any) -> Any:
        """POST a video; returns the answer."""
        picture = fields.pop("picture", None)
        if picture is None:
            return self.http.post("/v1/videos", json=fields, headers=self.headers[client])
        form = {**fields, "input_reference": (picture, "picture.png")}
        return self.http.post("/v1/videos", data=form, headers=self.headers[client])

    def get(self, path: str, client: str = "alice") -> Any:
        return self.http.get(path, headers=self.headers[client])

    def cancel(self, video_id: str, client: str = "alice") -> Any:
        return self.http.post(f"/v1/videos/{video_id}/cancel", headers=self.headers[client])


class Rig:
    """One gateway, its upstream and its receiver."""

    def __init__(self, *, installation: TimedInstallation, simulator: Simulator, inbox: Inbox) -> None:
        self.installation = installation
        self.simulator = simulator
        self.inbox = inbox
        self.time = installation.time
        self.api = self._api(installation)
        self.workers = [Worker(installation)]
        self._made = list(self.workers)
        self._installations = [installation]
        self._prompts = 0
        self._kept_house_at = 0.0
        self._owners: dict[str, str] = {}

    def prompt(self, word: str = "") -> str:
        """A prompt that nobody has used, with a fault of the upstream's in it."""
        self._prompts += 1
        return f"paper boat {self._prompts}{' sim:' if word else ''}{word}"

    def in_order(self) -> bool:
        """Whether nothing is under way, and the upstream has no fault or pause left."""
        with self.installation.database.read() as connection:
            unfinished = connection.scalar(
                sa.select(sa.func.count()).select_from(jobs).where(jobs.c.finished_at.is_(None))
            )
        self.simulator.faults()
        return not unfinished and not self.slots() and not self.paused()

    def forget_paces(self) -> None:
        """Let the time pass for which a 429 slows a key down."""
        with self.installation.database.read() as connection:
            narrowed_at = connection.scalar(sa.select(sa.func.max(upstream_keys.c.narrowed_at)))
        if narrowed_at is not None:
            self.leap(max(0.0, narrowed_at + FORGOTTEN_AFTER_S - self.time.wall()))

    # -- what a client does and sees -----------------------------------------------------------------------------------

    def post(
        self, prompt: str = "a paper boat", *, client: str = "alice", api: Api | None = None, **fields: Any
    ) -> str:
        """Post a video that must be accepted; returns its id."""
        fields = {"size": SIZE, "seconds": "4", "callback_url": self.inbox.url} | fields
        answer = (api or self.api).post(client, prompt=prompt, **fields)
        assert answer.status_code == 202, answer.get_data(as_text=True)
        video_id = str(answer.json["id"])
        self._owners[video_id] = client
        return video_id

    def video(self, video_id: str) -> dict[str, Any]:
        """The video as its client sees it."""
        answer = self.api.get(f"/v1/videos/{video_id}", self._owners[video_id])
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return dict(answer.json)

    def status(self, video_id: str) -> str:
        return str(self.video(video_id)["status"])

    def final(self, *video_ids: str) -> Callable[[], bool]:
        """A condition: these videos are final and nobody is still to be told."""
        waiting = (
            sa.select(sa.func.count()).select_from(jobs).where(jobs.c.id.in_(video_ids), jobs.c.finished_at.is_(None)),
            sa.select(sa.func.count())
            .select_from(deliveries)
            .where(deliveries.c.job_id.in_(video_ids), deliveries.c.status == "pending"),
        )

        def holds() -> bool:
            with self.installation.database.read() as connection:
                return not any(connection.scalar(count) for count in waiting)

        return holds

    def events(self, video_id: str) -> list[dict[str, Any]]:
        """What happened, as an admin sees it."""
        return list(self.api.get(f"/v1/videos/{video_id}/events", self._owners[video_id]).json["data"])

    def happened(self, video_id: str) -> list[str]:
        return [event["event"] for event in self.events(video_id)]

    def callbacks(self, video_id: str) -> Sequence[Callback]:
        return [callback for callback in self.inbox.callbacks if callback.video.get("id") == video_id]

    def paused(self) -> list[dict[str, Any]]:
        """The keys that `readyz` lists as paused."""
        return list(self.api.get("/readyz").json["paused_keys"])

    def gauge(self, name: str) -> float:
        """The sum of a metric's samples."""
        text = self.api.get("/metrics").get_data(as_text=True)
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))
        )

    def ends(self, video_id: str, status: str, *, code: str | None = None, event: str = "queued") -> dict[str, Any]:
        """Assert how a video ended for its client: status, code, callback, history; returns the video.

        And that nothing is left behind, a slot upstream or an object in the bucket.
        """
        video = self.video(video_id)
        told = self.callbacks(video_id)
        assert video["status"] == status, self.happened(video_id)
        assert (video["error"] or {}).get("code") == code, video["error"]
        assert [(callback.type, callback.verified) for callback in told] == [(f"video.{status}", True)]
        assert told[0].video["status"] == status
        assert event in self.happened(video_id)
        if status == "completed":
            assert self.is_whole(video_id)
        self.play(lambda: self.slots() == 0 and not self.leftovers())
        return video

    # -- what the upstream saw -----------------------------------------------------------------------------------------

    def made(self, prompt: str) -> list[Entry]:
        """The videos that the upstream made for a prompt."""
        return [video for video in self.simulator.books().videos if video.prompt == prompt]

    def submits(self, prompt: str) -> list[Submission]:
        """The POSTs that came for a prompt."""
        return [note for note in self.simulator.books().submissions if note.prompt == prompt]

    def upstream_id(self, video_id: str) -> str | None:
        with self.installation.database.read() as connection:
            found = connection.scalar(sa.select(jobs.c.upstream_job_id).where(jobs.c.id == video_id))
        return None if found is None else str(found)

    def picture(self, video_id: str) -> str:
        """The SHA-256 of the reference picture of which the upstream made this client's video."""
        return next(v.picture for v in self.simulator.books().videos if v.id == self.upstream_id(video_id))

    def slots(self) -> int:
        """Submissions that hold a slot."""
        held = sa.select(sa.func.count()).select_from(submissions).where(submissions.c.slot_released_at.is_(None))
        with self.installation.database.read() as connection:
            return int(connection.scalar(held) or 0)

    def resume(self, upstream: str = ONLY) -> int:
        """What `gateway upstreams resume` does; how many keys that were."""
        return administration.resume(self.installation, upstream)

    def pause(self, upstream: str = ONLY) -> int:
        """What `gateway upstreams pause` does; how many keys that were."""
        return administration.pause(self.installation, upstream)

    def fetched(self, video_id: str) -> bytes:
        """What the client gets through the link that it is shown."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(self.video(video_id)["url"], timeout=10)
        assert answer.status_code == 200
        return answer.content

    def is_whole(self, video_id: str) -> bool:
        """Whether the client gets what the upstream made, and is told so."""
        film = self.simulator.content_of(self.upstream_id(video_id) or "")
        told = self.video(video_id)["content"]
        fetched = hashlib.sha256(self.fetched(video_id)).hexdigest()
        return film is not None and fetched == film.sha256() == told["sha256"] and told["bytes"] == film.length

    def leftovers(self) -> list[str]:
        """Objects that nobody wants and that were not removed yet."""
        unwanted = sa.select(objects.c.key).where(objects.c.state != "kept", objects.c.sweeps == 0)
        with self.installation.database.read() as connection:
            return list(connection.scalars(unwanted))

    # -- time ----------------------------------------------------------------------------------------------------------

    def play(self, until: Callable[[], bool], *, longest_s: float = 7200.0, most_leap_s: float = _LEAP_MOST_S) -> None:
        """Tick, and leap to where the next thing is due, until the condition holds; fails after `longest_s` of it."""
        # Of several workers one may bring forward what another had put off.
        most_leap_s = min(most_leap_s, _WATCH_S if len(self._made) > 1 else most_leap_s)
        ends_at = self.time.wall() + longest_s
        while not until():
            assert self.time.wall() < ends_at, f"not within {longest_s} s of the gateway's time"
            dues = self._dues()
            if min(dues, default=0.0) > self.time.wall() or not self.tick():
                later = min((due for due in dues if due > self.time.wall()), default=self.time.wall() + 1.0)
                self.leap(min(max(TICK_S, later - self.time.wall()), most_leap_s))

    def tick(self) -> int:
        """One tick of every worker, at once."""
        if len(self.workers) == 1:
            return self.workers[0].tick()
        with ThreadPoolExecutor(len(self.workers)) as threads:
            return sum(threads.map(Worker.tick, self.workers))

    def leap(self, seconds: float) -> None:
        """Let time pass: every worker that is still ticked goes on beating, and keeps house."""
        step_s = _WATCH_S if len(self._made) > 1 else seconds
        while seconds > 0:
            self.time.leap(min(seconds, step_s))
            seconds -= step_s
            if self.time.wall() - self._kept_house_at >= _HOUSE_S:
                self._kept_house_at = self.time.wall()
                for worker in self.workers:
                    worker.beat()
                    worker.keep_house()

    def _dues(self) -> Sequence[float]:
        """When anything is due."""
        with self.installation.database.read() as connection:
            return [float(due) for due in connection.scalars(_DUES)]

    # -- more of it ----------------------------------------------------------------------------------------------------

    def another(self) -> tuple[Api, Worker]:
        """Make another API process and another worker process on the same database."""
        installation = replace(self.installation, name=f"number {len(self._installations) + 1}", opened=[])
        self._installations.append(installation)
        worker = Worker(installation)
        self.workers.append(worker)
        self._made.append(worker)
        return self._api(installation), worker

    def kill(self, worker: Worker) -> None:
        """End a worker of PostgreSQL's, as everybody else sees a kill: no more signs of life, no more sessions.

        What it has under way goes on, as in a process that was only cut off.
        """
        self.workers.remove(worker)
        worker.alive = False
        sessions = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name")
        with self.installation.database.write() as connection:
            connection.execute(sessions, {"name": worker.installation.name})

    def _api(self, installation: TimedInstallation) -> Api:
        app = api_app(installation)
        now, keys = installation.database.now(), {}
        for name in CLIENTS:
            keys[name] = installation.clients.create_key(name, admin=True, now=now)[1]
        headers = {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
        return Api(http=app.test_client(), headers=headers)

    def close(self) -> None:
        for worker in self._made:
            worker.close()
        for installation in self._installations:
            installation.close()
