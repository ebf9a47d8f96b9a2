"""One chaos run: an installation on one database, its surroundings, its disasters, and the audit at the end."""

from __future__ import annotations

import io
import os
import random
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import requests
from PIL import Image

from gateway.db.migrate import migrate
from gateway.demo.simulator import Simulator, SimulatorSettings
from gateway.settings import Settings
from gateway.webhooks.signing import derive_secret
from gateway.wiring.installation import Installation
from tests.chaos.audit import Audit
from tests.chaos.clients import PICTURES, Book, Client, Poster
from tests.chaos.crew import Crew, Post
from tests.chaos.databases import Ground, ground
from tests.chaos.disasters import Disasters, Pace
from tests.chaos.plans import Plan
from tests.chaos.receiver import Receiver
from tests.chaos.relay import Relay
from tests.chaos.report import Order, Report
from tests.e2e.processes import eventually, free_port
from tests.s3 import Store

KEYS = 6
"""Each is narrowed by the 429s and paused by the 401s that it meets, as it has to be; of few, all might wait."""
SLOTS = 6
"""Videos in progress at once, per key: the upstream refuses more."""

_CLOCK = Path(__file__).parent / "clock"
_DOOM = 0.01
_BAD_ANSWERS = 0.2
_SCHEDULE = ",".join(["0.5"] * 4 + ["1"] * 6 + ["2"] * 20)


def chaos(order: Order, store: Store) -> Report:
    """Run it. Whatever happens, nothing that it started runs on."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        folder.chmod(0o755)
        pause = threading.Event()
        database = stack.enter_context(ground(order.database, folder / "database", pause))
        report = _Run(order=order, store=store, folder=folder, database=database, pause=pause, stack=stack).report()
        return report if report.balanced else replace(report, logs=_kept(folder, order))


class _Run:
    def __init__(
        self,
        *,
        order: Order,
        store: Store,
        folder: Path,
        database: Ground,
        pause: threading.Event,
        stack: ExitStack,
    ) -> None:
        self._order = order
        self._several = order.long and order.database != "sqlite"
        self._store = store
        self._folder = folder
        self._database = database
        self._pause = pause
        self._stack = stack
        self._token = secrets.token_hex(8)
        self._chance = random.Random(order.seed)
        self._upstream_keys = {f"key{number}": f"sk-upstream-{secrets.token_urlsafe(18)}" for number in range(KEYS)}
        self._webhook_secret = derive_secret(secrets.token_bytes(32), owner="chaos", version=1)
        self._master = secrets.token_urlsafe(32)
        self._simulator = stack.enter_context(
            Simulator(
                SimulatorSettings(
                    keys=self._upstream_keys, render_s=0.3, fps=1, max_concurrent=SLOTS, state=folder / "upstream"
                )
            )
        )
        self._ports = [free_port() for _ in range(2 if self._several else 1)]
        self._relays = {
            name: stack.enter_context(Relay(url, chance=self._fork(), doom=_DOOM))
            for name, url in {"upstream": self._simulator.base_url, "bucket": store.endpoint_url}.items()
        }
        self._settings = self._environment()
        self._clients = self._make_clients()
        self._receiver = stack.enter_context(Receiver(clients=self._clients, chance=self._fork()))
        self._relays["receiver"] = stack.enter_context(Relay(self._receiver.url, chance=self._fork(), doom=_DOOM))
        self._book = Book()
        self._stop_posting = threading.Event()
        self._posters = [self._poster(client) for client in self._clients]

    def _fork(self) -> random.Random:
        return random.Random(self._chance.getrandbits(64))

    # -- setting the scene -----------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        self._static = {f"static{number}": f"sk-client-{secrets.token_urlsafe(18)}" for number in range(2)}
        return {
            "GATEWAY_DATABASE_URL": self._database.url,
            "GATEWAY_SECRET_KEY": self._master,
            "GATEWAY_WORKERS": "1",
            "GATEWAY_API_KEYS": ",".join(f"{name}:{key}" for name, key in self._static.items()),
            "GATEWAY_UPSTREAM_URL": self._relays["upstream"].url,
            "GATEWAY_UPSTREAM_KEY": ",".join(self._upstream_keys.values()),
            "GATEWAY_UPSTREAM_MAX_CONCURRENT": str(SLOTS),
            "GATEWAY_SUBMIT_TIMEOUT_S": "5",
            "GATEWAY_RECONCILE_AFTER_S": "1.5",
            "GATEWAY_POLL_INTERVAL_S": "0.4",
            "GATEWAY_POLL_TIMEOUT_S": "5",
            "GATEWAY_MAX_WAIT_S": "60" if self._order.long else "20",
            "GATEWAY_S3_BUCKET": self._store.bucket,
            "GATEWAY_S3_ENDPOINT_URL": self._relays["bucket"].url,
            "GATEWAY_S3_PUBLIC_ENDPOINT_URL": self._store.endpoint_url,
            "GATEWAY_S3_PREFIX": self._token,
            "GATEWAY_WEBHOOK_SECRET": self._webhook_secret,
            "GATEWAY_WEBHOOK_ALLOW_HOSTS": "127.0.0.1",
            "GATEWAY_WEBHOOK_SCHEDULE_S": _SCHEDULE,
            "GATEWAY_WEBHOOK_TIMEOUT_S": "3",
            # On PostgreSQL up to 32 are let in beside each other (64 less), and from there on one at a time.
            "GATEWAY_THREADS": "4",
            "GATEWAY_CLIENT_MAX_UNFINISHED": "96",
            "GATEWAY_LOG_FORMAT": "json",
            "AWS_ACCESS_KEY_ID": self._store.access_key,
            "AWS_SECRET_ACCESS_KEY": self._store.secret_key,
            "AWS_DEFAULT_REGION": self._store.region,
        }

    def _make_clients(self) -> list[Client]:
        """Return clients named by the settings and clients made as `gateway keys create` does, on a new database."""
        installation = Installation(Settings.from_env(self._settings, self._folder), self._folder)
        migrate(installation.database)
        clients = [Client(name=name, key=key, secret=self._webhook_secret) for name, key in self._static.items()]
        for name in ("made0", "made1"):
            _, key = installation.clients.create_key(name, admin=False, now=installation.database.now())
            clients.append(Client(name=name, key=key, secret=installation.secrets_of(name)[0]))
        installation.database.close()
        return clients

    def _poster(self, client: Client) -> Poster:
        chance = self._fork()
        rate = self._order.videos_per_s / len(self._clients)
        return Poster(
            client=client,
            urls=[f"http://127.0.0.1:{port}" for port in self._ports],
            callback_url=self._relays["receiver"].url,
            pictures=[_picture(number) for number in range(PICTURES)],
            book=self._book,
            chance=chance,
            wait_s=lambda: chance.expovariate(rate),
            stop=self._stop_posting,
            long=self._order.long,
        )

    def _posts(self) -> Sequence[Post]:
        path = os.pathsep.join(filter(None, [str(_CLOCK), os.environ.get("PYTHONPATH")]))
        # On SQLite a worker whose clock is behind begins with what is posted that much later, in the calm too.
        off_s = 60 if self._order.long else 10
        clock = {"PYTHONPATH": path, "CHAOS_CLOCK_OFF_S": str(self._chance.choice((-off_s, off_s)))}
        binds = [{"GATEWAY_BIND": f"127.0.0.1:{port}"} for port in self._ports]
        if self._order.database == "sqlite":
            return [Post(name="serve", arguments=["serve"], settings=binds[0] | clock)]
        apis = [Post(name=f"api{number}", arguments=["api"], settings=bind) for number, bind in enumerate(binds)]
        public = {"GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{self._ports[0]}"}
        workers = [
            Post(name=f"worker{number}", arguments=["worker"], settings=public | (clock if number == 0 else {}))
            for number in range(3 if self._several else 2)
        ]
        return [*apis, *workers]

    # -- the run ---------------------------------------------------------------------------------------------------

    def report(self) -> Report:
        began = time.monotonic()
        audit = Audit(
            database_url=self._database.url, simulator=self._simulator, store=self._store, prefix=self._token,
            book=self._book,
        )  # fmt: skip
        with Crew(self._posts(), folder=self._folder, settings=self._settings, run=self._token) as crew:
            self._warm_up(audit)
            disasters = self._disasters(crew)
            with self._posting():
                disasters.run(self._order.seconds)
            calm_at = time.monotonic()
            self._receiver.behave()
            unsettled = self._drain(audit)
            drained_s = time.monotonic() - calm_at
            self._await_ready()
            findings = audit.look(
                seen=self._receiver.seen(),
                clients=self._clients,
                url=f"http://127.0.0.1:{self._ports[0]}",
                logs=crew.logs(),
                secrets=self._secrets(),
            )
        return Report(
            order=self._order,
            findings=findings,
            videos=len(self._book.accepted),
            kills=disasters.kills,
            others=disasters.others,
            answers=self._book.answers,
            starts=crew.starts,
            broken_connections={name: relay.broken for name, relay in self._relays.items()},
            not_possible=self._database.missing,
            unsettled=unsettled,
            took_s=time.monotonic() - began,
            drained_s=drained_s,
        )

    def _warm_up(self, audit: Audit) -> None:
        """Let every key accept a video, so that each one's list can show that it knows what it made."""
        self._await_ready()
        for number in range(KEYS * SLOTS):
            self._posters[number % len(self._posters)].post(Plan(words=["render=1.5"]), calmly=True)
        eventually(lambda: audit.unsettled(leftovers=False), lambda left: not left, "warmed up", timeout_s=180)

    def _await_ready(self) -> None:
        for port in self._ports:
            eventually(partial(_ready, port), bool, "ready")

    def _disasters(self, crew: Crew) -> Disasters:
        long = self._order.long
        return Disasters(
            crew=crew,
            database=self._database.disasters(),
            relays=self._relays,
            simulator=self._simulator,
            chance=self._fork(),
            pace=Pace(
                breath=3,
                longest_breath_s=20.0,
                longest_freeze_s=60.0 if long else 4.0,
                longest_outage_s=6.0 if long else 2.0,
            ),
            accepted=lambda: len(self._book.accepted),
            pause=self._pause,
        )

    @contextmanager
    def _posting(self) -> Iterator[None]:
        self._receiver.misbehave(_BAD_ANSWERS)
        for poster in self._posters:
            poster.thread.start()
        try:
            yield
        finally:
            self._stop_posting.set()
            until = time.monotonic() + self._order.patience_s
            for poster in self._posters:
                poster.thread.join(max(0.0, until - time.monotonic()))
                poster.abandon()
                poster.thread.join()

    def _drain(self, audit: Audit) -> Mapping[str, int]:
        until = time.monotonic() + self._order.patience_s
        clock = threading.Event()
        while (left := audit.unsettled(leftovers=self._order.long)) and time.monotonic() < until:
            clock.wait(0.5)
        return left

    def _secrets(self) -> Mapping[str, str]:
        bare = {f"{client.name}'s bare secret": client.secret.removeprefix("whsec_") for client in self._clients}
        keys = {f"{client.name}'s API key": client.key for client in self._clients}
        store = {"the store's secret key": self._store.secret_key, "the master key": self._master}
        return {**self._upstream_keys, **keys, **bare, **store}


def _kept(folder: Path, order: Order) -> Path:
    kept = Path(tempfile.mkdtemp(prefix=f"chaos-{order.database}-{order.seed}-"))
    for log in folder.glob("*.log"):
        shutil.copy(log, kept)
    return kept


def _ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).ok
    except requests.RequestException:
        return False


def _picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (number * 90, 80, 160)).save(file, "PNG")
    return file.getvalue()
