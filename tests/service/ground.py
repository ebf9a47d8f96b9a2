"""Where rigs stand: what they share, since to start it takes longer than to run a test."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gateway.bucket.s3 import S3Bucket
from gateway.db.engine import Database
from gateway.db.migrate import migrate
from gateway.demo.inbox import Inbox
from gateway.demo.simulator import Simulator, SimulatorSettings
from gateway.demo.simulator.protocol import Served
from gateway.outbound.session import trusted
from gateway.settings import Settings
from gateway.upstreams.content import Limits as DownloadLimits
from gateway.webhooks.signing import derive_secret
from tests.s3 import BUCKET, moto_server, plain_outbound
from tests.service.rig import CLIENTS, SIZE, UPSTREAM_KEY, Rig
from tests.service.timed import Time, TimedInstallation

MASTER = "0123456789abcdef" * 4


@dataclass(kw_only=True)
class Ground:
    """What many rigs share: a store, a receiver, a directory."""

    inbox: Inbox
    folder: Path
    trust: ssl.SSLContext
    store: S3Bucket
    plain: Any
    """A boto3 client, to look into the store without the code under test."""
    endpoint_url: str
    stack: ExitStack
    count: int = 0
    rigs: dict[str, Rig] = field(default_factory=dict)

    def shared(self, **options: Any) -> Rig:
        """Return a rig of these options that other tests have used and will; a new one where they left it in disorder.

        To make one takes as long as to run most tests.
        """
        name = repr(sorted(options.items()))
        if name not in self.rigs or not self.rigs[name].in_order():
            self.rigs[name] = self.stack.enter_context(self.rig(**options))
        self.rigs[name].forget_paces()
        return self.rigs[name]

    def objects(self, video_id: str) -> list[str]:
        """What lies in the bucket for a video, uploads that were begun and not ended too."""
        # Every page of them: the tests of a whole room share this bucket, and a page shows a thousand.
        found = [
            entry["Key"]
            for listing, entries in (("list_objects_v2", "Contents"), ("list_multipart_uploads", "Uploads"))
            for page in self.plain.get_paginator(listing).paginate(Bucket=BUCKET)
            for entry in page.get(entries, [])
        ]
        return [key for key in found if video_id in key]

    @contextmanager
    def rig(
        self,
        *,
        dialect: str = "openai",
        database_url: str = "",
        simulator: Mapping[str, Any] | None = None,
        downloads: DownloadLimits | None = None,
        time: Time | None = None,
        config: str = "",
        **settings: object,
    ) -> Iterator[Rig]:
        """A gateway. `settings` are those of the environment, in lower case and without `GATEWAY_`.

        `config` is a TOML file with upstreams, in which UPSTREAM stands for the simulator's URL, its key is in SIM_KEY,
        and the environment describes none.
        """
        time = time or Time()
        self.count += 1
        cwd = self.folder / str(self.count)
        cwd.mkdir()
        with self.simulator(time, dialect=dialect, **(simulator or {})) as upstream:
            if not database_url:
                shutil.copy(_template(), cwd / "gateway.db")
            environ = self._environ(upstream, dialect=dialect, database_url=database_url, settings=settings)
            if config:
                (cwd / "gateway.toml").write_text(config.replace("UPSTREAM", upstream.base_url))
                for name in ("URL", "KEY", "MODELS"):
                    del environ[f"GATEWAY_UPSTREAM_{name}"]
                environ |= {"GATEWAY_CONFIG": "gateway.toml", "SIM_KEY": UPSTREAM_KEY}
            installation = TimedInstallation(
                Settings.from_env(environ, cwd),
                cwd,
                time=time,
                downloads=downloads or DownloadLimits(),
                trust=self.trust,
                store=self.store,
            )
            rig = Rig(installation=installation, simulator=upstream, inbox=self.inbox)
            try:
                yield rig
            finally:
                rig.close()

    def simulator(self, time: Time, **settings: Any) -> Simulator:
        """Make an upstream on a clock, that any test may bring to its knees."""
        usual: dict[str, Any] = {
            "keys": {"1": UPSTREAM_KEY},
            "models": {"sora-2": Served(sizes=(SIZE,), seconds=(4,))},
            "render_s": 20.0,
            "max_concurrent": 0,
            "fps": 1,
        }
        return Simulator(SimulatorSettings(**{**usual, **settings}), wall=time.wall, monotonic=time.monotonic)

    def _environ(
        self, upstream: Simulator, *, dialect: str, database_url: str, settings: Mapping[str, object]
    ) -> dict[str, str]:
        usual = {
            "database_url": database_url or "sqlite:///gateway.db",
            "secret_key": MASTER,
            "upstream_url": upstream.base_url,
            "upstream_key": UPSTREAM_KEY,
            "upstream_dialect": dialect,
            "upstream_models": "sora-2",
            "upstream_strict": "false",
            "max_wait_s": 120,
            "s3_bucket": BUCKET,
            "s3_endpoint_url": self.endpoint_url,
            "webhook_allow_hosts": "127.0.0.1",
        }
        return {f"GATEWAY_{name.upper()}": str(value) for name, value in {**usual, **settings}.items()}


def upstream_table(name: str, *options: str, url: str = "UPSTREAM") -> str:
    """An upstream of the TOML file, the rig's simulator unless another `url` is given, which makes small videos."""
    lines = [f'name = "{name}"', f'url = "{url}"', 'keys = ["env:SIM_KEY"]', *options]
    model = ['[upstreams.models."sora-2"]', f'sizes = ["{SIZE}"]', "seconds = [4]"]
    return "\n".join(["[[upstreams]]", *lines, *model, ""])


@contextmanager
def open_ground() -> Iterator[Ground]:
    """Start what many rigs share."""
    secrets = [derive_secret(MASTER.encode(), owner=f"client:{name}", version=1) for name in CLIENTS]
    with (
        TemporaryDirectory(prefix="rig-") as folder,
        moto_server() as store,
        plain_outbound() as outbound,
        Inbox(secrets=secrets) as inbox,
        ExitStack() as stack,
    ):
        yield Ground(
            inbox=inbox,
            folder=Path(folder),
            trust=trusted(),
            store=store.open_bucket(outbound),
            plain=store.client(),
            endpoint_url=store.endpoint_url,
            stack=stack,
        )


def migrated(url: str) -> None:
    """Bring the database at a URL to the newest schema."""
    database = Database(url)
    migrate(database)
    database.close()


@cache
def _template() -> Path:
    """A migrated SQLite file, to be copied."""
    folder = TemporaryDirectory(prefix="rig-template-")
    _KEPT.append(folder)
    path = Path(folder.name) / "gateway.db"
    migrated(f"sqlite:///{path}")
    return path


_KEPT: list[TemporaryDirectory[str]] = []
"""Folders that live as long as this process."""
