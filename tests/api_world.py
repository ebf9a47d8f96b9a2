"""An API as its tests see it: the real app over a real SQLite file, with a small bucket and limits at the ports."""

from __future__ import annotations

import atexit
import io
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask.testing import FlaskClient
from PIL import Image

from gateway.api.app import create_app
from gateway.api.services import ApiServices
from gateway.bucket.port import BucketError, Download, Link, ObjectMissing
from gateway.db.clients import SqlClients
from gateway.db.endpoints import SqlEndpoints
from gateway.db.engine import Database
from gateway.db.inbox import SqlInbox
from gateway.db.ledger import SqlLedger
from gateway.db.migrate import migrate
from gateway.db.outbox import SqlOutbox
from gateway.db.queries import SqlQueries
from gateway.db.record import SqlRecorder
from gateway.db.tables import jobs
from gateway.jobs import lifecycle
from gateway.jobs.catalogue import Catalogue, Offer
from gateway.jobs.intake import Intake
from gateway.jobs.job import Failure, Job, Status, Stored
from gateway.webhooks.signing import derive_secret

OFFER = Offer(
    upstream="one",
    upstream_model="sora-2",
    sizes=("720x1280", "1280x720"),
    seconds=(4, 8, 12),
    prompt_max=32_000,
    extra=("seed", "negative_prompt"),
)
CATALOGUE = Catalogue(models={"sora-2": [OFFER]})
PUBLIC = "http://gateway.test"

_KINDS = {"webp": "image/webp", "jpeg": "image/jpeg"}


class MemoryBucket:
    """Objects in a dict. `down` makes it fail as a store that is unreachable does."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.down = False
        self.opened = 0

    def put(self, key: str, data: bytes, *, content_type: str) -> None:
        if self.down:
            raise BucketError("unreachable")
        self.objects[key] = data

    def get(self, key: str, *, limit: int) -> bytes:
        return self.objects[key][:limit]

    def write(self, *args: object, **options: object) -> Any:
        raise NotImplementedError

    def link(self, key: str, *, now: float, ttl_s: int, filename: str) -> Link:
        nonce = secrets.token_hex(4)
        return Link(url=f"https://bucket.test/{key}?X-Amz-Signature={nonce}&name={filename}", expires_at=now + ttl_s)

    @contextmanager
    def open(self, key: str, *, range_header: str | None) -> Iterator[Download]:
        if key not in self.objects:
            raise ObjectMissing("no such object")
        data, status = self.objects[key], 200
        kind = next((kind for end, kind in _KINDS.items() if key.endswith(end)), "video/mp4")
        headers = {"content-type": kind, "x-amz-request-id": "internal", "etag": '"e"'}
        if range_header is not None:
            first, _, last = range_header.removeprefix("bytes=").partition("-")
            begin, end = int(first or 0), int(last or len(data) - 1)
            if begin >= len(data):
                yield Download(status=416, headers={}, blocks=iter(()))
                return
            headers["content-range"] = f"bytes {begin}-{end}/{len(data)}"
            data, status = data[begin : end + 1], 206
        headers["content-length"] = str(len(data))
        self.opened += 1
        try:
            yield Download(status=status, headers=headers, blocks=iter([data]))
        finally:
            self.opened -= 1

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


class Turnstile:
    """Request rates at their port: lets everybody through until it is told to make somebody wait."""

    def __init__(self) -> None:
        self.wait_s: float | None = None
        self.asked: list[tuple[str, int]] = []

    def take(self, client: str, *, per_minute: int, now: float) -> float | None:
        self.asked.append((client, per_minute))
        return self.wait_s


@dataclass(kw_only=True)
class World:
    """The API of one test, and what stands behind it."""

    database: Database
    bucket: MemoryBucket
    turnstile: Turnstile
    secretless: set[str] = field(default_factory=set)
    refusals: dict[str, str] = field(default_factory=dict)
    asked_targets: list[str] = field(default_factory=list)
    services: ApiServices
    http: FlaskClient
    keys: dict[str, str] = field(default_factory=dict)
    variants: Sequence[str] = ()

    def key(self, client: str, *, admin: bool = False) -> dict[str, str]:
        """Return the headers of a client, which is made where it is new."""
        name = f"{client}{'+admin' if admin else ''}"
        if name not in self.keys:
            clients = SqlClients(self.database)
            self.keys[name] = clients.create_key(client, admin=admin, now=self.database.now())[1]
        return {"Authorization": f"Bearer {self.keys[name]}"}

    def post(self, client: str = "alice", headers: dict[str, str] | None = None, **fields: object) -> Any:
        """Post a video as JSON and return the answer."""
        body = {"prompt": "a paper boat", **fields}
        return self.http.post("/v1/videos", json=body, headers={**self.key(client), **(headers or {})})

    def get(self, path: str, client: str = "alice", **options: Any) -> Any:
        return self.http.get(path, headers={**self.key(client), **options.pop("headers", {})}, **options)

    def job(self, video_id: str) -> Job:
        return SqlQueries(self.database).job(video_id, client=None)

    def jobs_written(self) -> int:
        with self.database.read() as connection:
            return int(connection.scalar(sa.select(sa.func.count()).where(jobs.c.deleted_at.is_(None))) or 0)

    def advance(self, video_id: str, until: Status) -> Job:
        """Move a video along the usual path, as a worker would."""
        recorder, job = SqlRecorder(self.database), self.job(video_id)
        at = self.database.now()
        steps: dict[Status, Callable[[Job], lifecycle.Transition]] = {
            Status.QUEUED: lambda j: lifecycle.submit(j, upstream="one", key="main", due_at=at + 60, at=at),
            Status.SUBMITTING: lambda j: lifecycle.accept(
                j, upstream_job_id="up_1", due_at=at + 30, at=at, detail={"answer": {"status": 200, "body": "raw"}}
            ),
            Status.RENDERING: lambda j: lifecycle.begin_transfer(j, expires_at=None, at=at, detail={}),
            Status.STORING: lambda j: lifecycle.complete(
                j, stored=self.store(j), variants=self.beside(j), at=at, detail={}
            ),
        }
        while job.status is not until:
            job = recorder.record(steps[job.status](job))
        return job

    def store(self, job: Job) -> Stored:
        key = f"{job.client}/{job.id}/1.mp4"
        self.bucket.objects[key] = b"0123456789"
        SqlLedger(self.database).begin(key, until=self.database.now() + 60, now=self.database.now())
        return Stored(object_key=key, size=10, sha256="ab" * 32, content_type="video/mp4")

    def beside(self, job: Job) -> dict[str, Stored]:
        """What this world's videos have beside them, stored."""
        made = {}
        for name in self.variants:
            kind = "webp" if name == "thumbnail" else "jpeg"
            key = f"{job.client}/{job.id}/1-{name}.{kind}"
            self.bucket.objects[key] = name.encode()
            SqlLedger(self.database).begin(key, until=self.database.now() + 60, now=self.database.now())
            made[name] = Stored(object_key=key, size=len(name), sha256="cd" * 32, content_type=f"image/{kind}")
        return made

    def fail(self, video_id: str) -> Job:
        failure = Failure(code="upstream_error", message="The upstream gave up.")
        at = self.database.now()
        return SqlRecorder(self.database).record(lifecycle.fail(self.job(video_id), failure, at=at, upstream_done=True))


@cache
def _migrated() -> Path:
    """Return a database that was migrated once for the whole run."""
    folder = tempfile.mkdtemp(prefix="gateway-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    database = Database(f"sqlite:///{folder}/migrated.db", synchronous="normal")
    migrate(database)
    database.close()  # the last connection folds the write-ahead log into the file
    return Path(folder, "migrated.db")


def make_world(folder: Path, *, catalogue: Catalogue = CATALOGUE, max_unfinished: int = 1000, **options: Any) -> World:
    """Make an API over a new SQLite file in a folder."""
    shutil.copy(_migrated(), folder / "gateway.db")
    database = Database(f"sqlite:///{folder / 'gateway.db'}", synchronous="normal")
    bucket, turnstile = MemoryBucket(), Turnstile()
    secretless: set[str] = set()
    refusals: dict[str, str] = {}
    asked: list[str] = []

    def target_refusal(url: str) -> str | None:
        asked.append(url)
        return refusals.get(url)

    intake = Intake(
        catalogue=catalogue,
        inbox=SqlInbox(database),
        ledger=SqlLedger(database),
        pictures=bucket,
        max_unfinished=max_unfinished,
        has_secret=lambda client: client not in secretless,
        target_refusal=target_refusal,
    )
    given: dict[str, Any] = {
        "clients": SqlClients(database),
        "intake": intake,
        "catalogue": catalogue,
        "queries": SqlQueries(database),
        "recorder": SqlRecorder(database),
        "outbox": SqlOutbox(database),
        "endpoints": SqlEndpoints(database),
        "endpoint_secret": lambda endpoint, version: derive_secret(b"m" * 32, owner=endpoint, version=version),
        "target_refusal": target_refusal,
        "rate_limits": turnstile,
        "bucket": bucket,
        "metrics_text": lambda: b"gateway_up 1\n",
        "public_url": PUBLIC,
        "max_body_bytes": 16 * 1024 * 1024,
        "url_ttl_s": 86_400,
        "retention_s": 0.0,
        "poll_interval_s": 30.0,
    }
    services = ApiServices(**{**given, **options})
    return World(
        database=database,
        bucket=bucket,
        turnstile=turnstile,
        secretless=secretless,
        refusals=refusals,
        asked_targets=asked,
        services=services,
        http=create_app(services).test_client(),
    )


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    """Return a real picture."""
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(out, kind)
    return out.getvalue()
