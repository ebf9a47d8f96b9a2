"""An installation whose clock a test can leap over: that of its database, and that of the upstream beside it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy.engine import Connection, make_url

from gateway import clock
from gateway.bucket.s3 import S3Bucket
from gateway.db.engine import Database
from gateway.outbound.guard import Guard
from gateway.outbound.session import Outbound
from gateway.upstreams.content import Limits as DownloadLimits
from gateway.wiring.installation import Installation


class Time:
    """Real time, and what the test has leapt over."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def wall(self) -> float:
        return clock.wall() + self.ahead_s

    def monotonic(self) -> float:
        return clock.monotonic() + self.ahead_s

    def leap(self, seconds: float) -> None:
        self.ahead_s += seconds


class TimedDatabase(Database):
    """A database whose clock is ahead."""

    time: Time

    def now(self, connection: Connection | None = None) -> float:
        return super().now(connection) + self.time.ahead_s


@dataclass(frozen=True)
class TimedInstallation(Installation):
    """An installation on that clock, which can be closed."""

    name: str = "first"
    """By which PostgreSQL knows its sessions."""
    time: Time = field(default_factory=Time)
    downloads: DownloadLimits = field(default_factory=DownloadLimits)
    trust: ssl.SSLContext | None = None
    store: S3Bucket | None = None
    opened: list[Outbound] = field(default_factory=list)

    @cached_property
    def database(self) -> Database:
        if self.settings.on_sqlite:
            database = TimedDatabase(f"sqlite:///{self.settings.sqlite_file(self.cwd)}", synchronous="off")
        else:
            url = make_url(self.settings.database_url).update_query_dict({"application_name": self.name})
            database = TimedDatabase(url.render_as_string(hide_password=False))
        database.time = self.time
        return database

    @cached_property
    def tls(self) -> ssl.SSLContext:
        return self.trust or super().tls

    @cached_property
    def bucket(self) -> S3Bucket:
        # One for many rigs, since boto3 takes half a second to make one.
        return self.store or super().bucket

    @cached_property
    def download_limits(self) -> DownloadLimits:
        return self.downloads

    def pause(self, stopping: threading.Event) -> Callable[[float], object]:
        return lambda seconds: self.time.leap(max(0.0, seconds))

    def outbound(
        self, pool_size: int, *, reuse: bool = True, guard: Guard | None = None, block_size: int = 65536
    ) -> Outbound:
        outbound = super().outbound(pool_size, reuse=reuse, guard=guard, block_size=block_size)
        self.opened.append(outbound)
        return outbound

    def close(self) -> None:
        for outbound in self.opened:
            outbound.close()
        self.deadlines.close()
        self.database.close()
