"""A whole installation on loopback: a simulated upstream, a bucket, a receiver, and the gateway's real processes."""

from __future__ import annotations

import hashlib
import re
import secrets
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

import requests

from gateway.demo.inbox import Callback, Inbox
from gateway.demo.simulator import Simulator, SimulatorSettings
from gateway.demo.simulator.books import Books, Entry
from gateway.webhooks.signing import derive_secret
from tests.e2e.processes import LONG_S, Program, eventually, free_port, run
from tests.s3 import Store

FINAL = {"completed", "failed", "cancelled"}

Video = dict[str, Any]
T = TypeVar("T")


class World:
    """One gateway with its surroundings. `settings` are the environment of the next process that is started."""

    def __init__(
        self, *, directory: Path, store: Store, upstream: Mapping[str, Any], settings: Mapping[str, str]
    ) -> None:
        self.directory = directory
        self.store = store
        self.api_key = f"sk-client-{secrets.token_urlsafe(18)}"
        self.upstream_key = f"sk-upstream-{secrets.token_urlsafe(18)}"
        self.webhook_secret = derive_secret(secrets.token_bytes(32), owner="tests", version=1)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.simulator = Simulator(SimulatorSettings(**{**self._simulated(), **upstream}))
        self.inbox = Inbox(secrets=[self.webhook_secret])
        self.programs: list[Program] = []
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Authorization"] = f"Bearer {self.api_key}"
        self._given = settings
        self._stack = ExitStack()
        self.settings: dict[str, str] = {}

    def _simulated(self) -> dict[str, Any]:
        return {"keys": {"tests": self.upstream_key}, "render_s": 0.2, "fps": 1, "state": self.directory / "upstream"}

    def __enter__(self) -> Self:
        self._stack.enter_context(self.simulator)
        self._stack.enter_context(self.inbox)
        self.settings = {**self._settings(), **self._given}
        return self

    def __exit__(self, *error: object) -> None:
        for program in self.programs:
            program.kill_tree()
        self.http.close()
        self._stack.close()

    def enter(self, context: AbstractContextManager[T]) -> T:
        """Enter something that ends with this world."""
        return self._stack.enter_context(context)

    def _settings(self) -> dict[str, str]:
        return {
            "GATEWAY_BIND": f"127.0.0.1:{self.port}",
            "GATEWAY_WORKERS": "1",
            "GATEWAY_API_KEYS": f"shop:{self.api_key}",
            "GATEWAY_UPSTREAM_URL": self.simulator.base_url,
            "GATEWAY_UPSTREAM_KEY": self.upstream_key,
            "GATEWAY_POLL_INTERVAL_S": "0.3",
            "GATEWAY_RECONCILE_AFTER_S": "1",
            "GATEWAY_S3_BUCKET": self.store.bucket,
            "GATEWAY_S3_ENDPOINT_URL": self.store.endpoint_url,
            "GATEWAY_S3_PREFIX": f"e2e-{self.port}",
            "GATEWAY_WEBHOOK_SECRET": self.webhook_secret,
            "GATEWAY_WEBHOOK_ALLOW_HOSTS": "127.0.0.1",
            "GATEWAY_WEBHOOK_SCHEDULE_S": "1,1,1,1,1,1,1,1,1,1",
            "GATEWAY_LOG_FORMAT": "json",
            "AWS_ACCESS_KEY_ID": self.store.access_key,
            "AWS_SECRET_ACCESS_KEY": self.store.secret_key,
            "AWS_DEFAULT_REGION": self.store.region,
        }

    # -- processes -------------------------------------------------------------------------------------------------

    def start(self, *arguments: str) -> Program:
        """Start a command without waiting for anything."""
        log = self.directory / f"{len(self.programs):02}-{arguments[0]}.log"
        program = Program(*arguments, cwd=self.directory, settings=self.settings, log=log)
        self.programs.append(program)
        return program

    def serve(self) -> Program:
        """Start `gateway serve` and wait until it is ready."""
        program = self.start("serve")
        self.await_ready(program)
        return program

    def start_apart(self) -> tuple[Program, Program]:
        """Migrate the database and start a worker and an API as an operator of several machines does."""
        migrated = self.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        worker, api = self.start("worker"), self.start("api")
        self.await_ready(api)
        return worker, api

    def await_ready(self, program: Program) -> None:
        def ready() -> bool:
            assert not program.ended, f"it ended: {program.log.read_text()[-3000:]}"
            try:
                return self.http.get(f"{self.url}/readyz", timeout=5).ok
            except requests.RequestException:
                return False  # nobody listens yet, or its worker is not there yet

        eventually(ready, bool, "ready")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a short command to its end."""
        return run(*arguments, cwd=self.directory, settings=self.settings)

    def logs(self) -> str:
        """Return everything that its processes have written."""
        return "".join(program.log.read_text(errors="replace") for program in self.programs)

    def spoken_secrets(self, *texts: str) -> list[str]:
        """Return which kinds of secrets appear in the logs and in `texts`."""
        said = "\n".join([self.logs(), *texts])
        known = {
            "API key": self.api_key,
            "upstream key": self.upstream_key,
            "webhook secret": self.webhook_secret,
            "bare webhook secret": self.webhook_secret.removeprefix("whsec_"),
            "store's secret key": self.store.secret_key,
        }
        found = [kind for kind, secret in known.items() if secret in said]
        return found + (["presigned link"] if re.search(r"X-Amz-Signature=[0-9a-f]{8}", said) else [])

    # -- the gateway's API -----------------------------------------------------------------------------------------

    def post(self, prompt: str, **fields: Any) -> Video:
        """Post a video whose callback goes to the inbox; return the 202's body."""
        body = {"prompt": prompt, "callback_url": self.inbox.url, **fields}
        answer = self.http.post(f"{self.url}/v1/videos", json=body, timeout=LONG_S)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def video(self, video_id: str) -> Video:
        answer = self.http.get(f"{self.url}/v1/videos/{video_id}", timeout=LONG_S)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def await_status(self, video_id: str, *statuses: str) -> Video:
        """Wait until the video has one of these statuses; fails where it ends in another."""

        def there(video: Video) -> bool:
            met = video["status"] in statuses
            assert met or video["status"] not in FINAL, f"{video}\n{self.events(video_id)}"
            return met

        return eventually(lambda: self.video(video_id), there, f"{statuses}")

    def events(self, video_id: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"{self.url}/v1/videos/{video_id}/events", timeout=LONG_S)
        return list(answer.json()["data"])

    def event_names(self, video_id: str) -> list[str]:
        return [str(event["event"]) for event in self.events(video_id)]

    def deliveries(self, video_id: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"{self.url}/v1/videos/{video_id}/deliveries", timeout=LONG_S)
        return list(answer.json()["data"])

    def await_delivered(self, video_id: str) -> None:
        """Wait until all callbacks of the video were taken."""
        eventually(lambda: self.deliveries(video_id), lambda all_: {d["status"] for d in all_} == {"delivered"}, "told")

    # -- the upstream and the receiver -----------------------------------------------------------------------------

    def prove_list(self) -> Video:
        """Have one video made, so that the upstream's list can show that it knows this key's videos; return it."""
        return self.await_status(self.post("an earlier video")["id"], "completed")

    def made(self, prompt: str) -> list[Entry]:
        """Return the videos that the upstream made of this prompt, each of them paid for."""
        return [entry for entry in self.simulator.books().videos if entry.prompt == prompt]

    def posts(self, prompt: str) -> int:
        """Return how often the upstream was asked for it."""
        return sum(note.prompt == prompt for note in self.simulator.books().submissions)

    def await_held(self, *stages: str) -> None:
        """Wait until the upstream holds back answers of exactly these stages."""

        def held(books: Books) -> bool:
            return sorted(books.holding) == sorted(stages)

        assert self.simulator.wait_for(held, timeout_s=LONG_S), f"never held {stages}"

    def callbacks(self, video_id: str) -> list[Callback]:
        return [callback for callback in self.inbox.callbacks if callback.video.get("id") == video_id]

    def await_callback(self, video_id: str, *, status: int = 200) -> Callback:
        """Wait for a callback of this video that was answered so."""

        def here(callback: Callback) -> bool:
            return callback.video.get("id") == video_id and callback.status == status

        came = self.inbox.wait_for(lambda callbacks: any(map(here, callbacks)), timeout_s=LONG_S)
        assert came, f"no callback: {self.deliveries(video_id)}"
        return next(filter(here, came))

    # -- what has to be true at the end ----------------------------------------------------------------------------

    def assert_done_once(self, video_id: str, prompt: str) -> Video:
        """Wait for the end: paid for once, whole in the bucket, and told of by a callback that is verified."""
        video = self.await_status(video_id, "completed")
        made = self.made(prompt)
        assert len(made) == 1, made
        film = self.simulator.content_of(made[0].id)
        assert film is not None
        assert video["content"]["sha256"] == film.sha256()
        assert video["content"]["bytes"] == film.length
        assert self.fetched_hash(video["url"]) == film.sha256()
        assert self.stored_films(video_id) == 1
        callback = self.await_callback(video_id)
        assert callback.verified is True
        assert callback.type == "video.completed"
        assert {one.webhook_id for one in self.callbacks(video_id)} == {callback.webhook_id}
        assert self.fetched_hash(callback.video["url"]) == film.sha256()
        return video

    def fetched_hash(self, url: str) -> str:
        """Return the SHA-256 of what lies behind a link, fetched as a stranger would."""
        digest = hashlib.sha256()
        with requests.Session() as stranger:
            stranger.trust_env = False
            with stranger.get(url, stream=True, timeout=LONG_S) as answer:
                assert answer.status_code == 200, answer.text[:500]
                for block in answer.iter_content(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    def stored_films(self, video_id: str) -> int:
        """Return how many whole objects of this video lie in the bucket, its reference picture aside."""
        prefix = self.settings["GATEWAY_S3_PREFIX"]
        listed = self.store.client().list_objects_v2(Bucket=self.store.bucket, Prefix=f"{prefix}/")
        keys = [str(entry["Key"]) for entry in listed.get("Contents", [])]
        return sum(video_id in key and key.endswith(".mp4") for key in keys)
