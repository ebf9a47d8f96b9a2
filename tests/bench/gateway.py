"""A gateway under measurement: its directory, settings, processes and database."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import requests
import sqlalchemy as sa

from gateway.db.engine import Database
from gateway.db.migrate import migrate
from gateway.db.rows import values_of
from gateway.db.tables import clients, jobs
from gateway.jobs.job import Job, Status, Stored, new_id
from gateway.webhooks.signing import derive_secret
from tests.bench.children import Server
from tests.bench.measure import check, eventually
from tests.e2e.processes import free_port

CLIENTS = 16
"""As many clients share the load: the check of a client's unfinished videos counts its own alone."""

NEVER = 4_000_000_000.0
"""An instant at which nothing is due yet."""

_BATCH = 1000


class Gateway:
    """One installation with a database of its own, SQLite in its directory where no URL is given."""

    def __init__(
        self, *, upstream: int = 9, sink: int = 9, database_url: str = "", settings: Mapping[str, str] | None = None
    ) -> None:
        self._stack = ExitStack()
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys = {f"client{number}": f"sk-{secrets.token_hex(16)}" for number in range(CLIENTS)}
        self.webhook_secret = derive_secret(secrets.token_bytes(32), owner="bench", version=1)
        file = self.directory / "gateway.db"
        self.database = Database(database_url or f"sqlite:///{file}")
        self._stack.callback(self.database.close)
        self.settings = {
            "GATEWAY_BIND": f"127.0.0.1:{self.port}",
            "GATEWAY_DATABASE_URL": database_url or f"sqlite:///{file}",
            "GATEWAY_SECRET_KEY": secrets.token_hex(32),
            "GATEWAY_API_KEYS": ",".join(f"{name}:{key}" for name, key in self.keys.items()),
            "GATEWAY_CLIENT_MAX_UNFINISHED": "1000000",
            "GATEWAY_UPSTREAM_URL": f"http://127.0.0.1:{upstream}/v1",
            "GATEWAY_UPSTREAM_KEY": "sk-upstream",
            "GATEWAY_S3_BUCKET": "videos",
            "GATEWAY_S3_ENDPOINT_URL": f"http://127.0.0.1:{sink}",
            "GATEWAY_WEBHOOK_SECRET": self.webhook_secret,
            "GATEWAY_WEBHOOK_ALLOW_HOSTS": "127.0.0.0/8",
            "GATEWAY_LOG_FORMAT": "json",
            "AWS_ACCESS_KEY_ID": "AKIDBENCH",
            "AWS_SECRET_ACCESS_KEY": "made-up-secret-for-loopback",
            "AWS_DEFAULT_REGION": "us-east-1",
            **(settings or {}),
        }

    @property
    def key_fingerprint(self) -> str:
        """What a video has whose upstream key is the present one: only such are looked for in the upstream's list."""
        return hashlib.sha256(self.settings["GATEWAY_UPSTREAM_KEY"].encode()).hexdigest()[:16]

    def __enter__(self) -> Self:
        migrate(self.database)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def start(self, *command: str, settings: Mapping[str, str] | None = None) -> Server:
        """Start `python -m …` here; it ends with this installation."""
        server = Server(
            *command,
            cwd=self.directory,
            settings=self.settings | dict(settings or {}),
            log=self.directory / f"{command[-1]}.log",
        )
        self._stack.callback(server.close)
        return server

    def start_web(self, *command: str) -> Server:
        """Start what serves HTTP, and wait until it does."""
        server = self.start(*command)
        eventually(lambda: server.alive() and self._healthy(), f"{command} is healthy")
        return server

    def start_worker(self) -> Server:
        """Start a worker, and wait until it beats."""
        server = self.start("gateway", "worker")
        eventually(lambda: server.alive() and self.scalar("SELECT count(*) FROM workers") > 0, "a worker beats")
        return server

    def _healthy(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False

    def scalar(self, statement: str) -> int:
        """Return one number."""
        with self.database.read() as connection:
            return int(connection.scalar(sa.text(statement)) or 0)

    def execute(self, statement: str, **values: Any) -> int:
        """Change rows; return how many."""
        with self.database.write() as connection:
            return connection.execute(sa.text(statement), values).rowcount

    def seed(self, count: int, **fields: Any) -> Sequence[Job]:
        """Write videos as they would lie there by now; a field may be a function of the video's number."""
        now = self.database.now()
        with self.database.write() as connection:
            for name in self.keys:
                known = connection.scalar(sa.select(clients.c.name).where(clients.c.name == name))
                if known is None:
                    connection.execute(sa.insert(clients).values(name=name, created_at=now))
            made = [_job(number, now, **fields) for number in range(count)]
            for start in range(0, count, _BATCH):
                rows = [{**values_of(job), "request_hash": job.id} for job in made[start : start + _BATCH]]
                connection.execute(sa.insert(jobs), rows)
        return made

    def seed_past(self, count: int) -> None:
        """Write so many finished videos of long ago, with a line of history each, by the database itself."""
        (model,) = self.seed(1, **completed(self.database.now() - 9e6), created_at=self.database.now() - 9e6)
        numbers = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
            if self.database.sqlite
            else "WITH n AS (SELECT i FROM generate_series(1, :count) AS s(i))"
        )
        made = {
            "id": "id || '_' || i", "client": f"'client' || (i % {CLIENTS})", "request_hash": "request_hash || i",
            "upstream_job_id": "upstream_job_id || '_' || i", "created_at": "created_at + i",
            "accepted_at": "accepted_at + i", "rendered_at": "rendered_at + i", "finished_at": "finished_at + i",
        }  # fmt: skip
        columns = [column.name for column in jobs.columns]
        values = ", ".join(made.get(name, f'"{name}"') for name in columns)
        names = ", ".join(f'"{name}"' for name in columns)
        self.execute(
            f"INSERT INTO jobs ({names}) {numbers} SELECT {values} FROM jobs CROSS JOIN n WHERE id = :model",
            count=count,
            model=model.id,
        )
        self.execute(
            "INSERT INTO history (job_id, at, event, status, detail) "
            "SELECT id, finished_at, 'completed', status, extra FROM jobs WHERE status = 'completed'"
        )
        if not self.database.sqlite:
            with self.database.engine.connect() as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")


def _job(number: int, now: float, **fields: Any) -> Job:
    usual: dict[str, Any] = {
        "id": new_id("video", now), "client": f"client{number % CLIENTS}", "status": Status.RENDERING, "version": 3,
        "model": "sora-2", "size": "720x1280", "seconds": 4, "created_at": now, "due_at": NEVER,
        "prompt": "A calico cat plays the piano on a stage, warm light", "upstream": "default", "upstream_key": "1",
        "upstream_job_id": f"up_{now:.0f}_{number}", "accepted_at": now, "metadata": {"order": str(number)},
    }  # fmt: skip
    return Job(**(usual | {name: value(number) if callable(value) else value for name, value in fields.items()}))


def completed(at: float) -> dict[str, Any]:
    """Return the fields of a finished video."""
    stored = Stored(object_key="client0/2026/11/22/film.mp4", size=300_000, sha256="ab" * 32, content_type="video/mp4")
    return {"status": Status.COMPLETED, "progress": 100, "stored": stored, "rendered_at": at, "finished_at": at}


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the URL of an empty database on a PostgreSQL of our own with its usual durability."""
    from tests.postgres import running_server

    with running_server(durable=True) as server, server.database() as url:
        yield url


def accepted(found: Mapping[str, Any]) -> int:
    """Return how many posts were accepted; every one must have been."""
    statuses = found["statuses"]
    check(set(statuses) == {"202"} and not found["unanswered"], f"answers: {statuses}, {found['unanswered']} missing")
    return int(statuses["202"])
