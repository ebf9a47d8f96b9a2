"""What the API and the worker of one installation share, made from its settings."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import boto3

from gateway import __version__, clock
from gateway.bucket.s3 import S3Bucket
from gateway.db.clients import SqlClients
from gateway.db.endpoints import SqlEndpoints
from gateway.db.engine import Database
from gateway.jobs.catalogue import Catalogue
from gateway.outbound.allow_list import AllowList
from gateway.outbound.deadline import Deadlines
from gateway.outbound.guard import Guard
from gateway.outbound.session import Outbound, trusted
from gateway.settings import Settings, UpstreamSettings, master_key
from gateway.upstreams.content import Limits as DownloadLimits
from gateway.upstreams.dialect import Dialect
from gateway.upstreams.http import HttpUpstream
from gateway.webhooks.signing import derive_secret
from gateway.wiring.sizes import CLEANERS, POLLERS, ROUNDERS, SUBMITTERS, TRANSFERS
from gateway.wiring.upstreams import ConfiguredUpstream, catalogue_of, configured

_UPLOAD_BLOCK = 1 << 20


@dataclass(frozen=True)
class Installation:
    """Everything one process shares, each made at its first use."""

    settings: Settings
    cwd: Path

    @cached_property
    def database(self) -> Database:
        """The database, not opened yet."""
        url = self.settings.database_url
        if self.settings.on_sqlite:
            url = f"sqlite:///{self.settings.sqlite_file(self.cwd)}"
        return Database(url, synchronous=self.settings.sqlite_synchronous)

    @cached_property
    def deadlines(self) -> Deadlines:
        """The watchdog of every socket."""
        return Deadlines()

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """Whom every connection trusts."""
        return trusted()

    @cached_property
    def guard(self) -> Guard:
        """The guard of every URL that a client names."""
        return Guard(allow=AllowList(self.settings.webhook_allow_hosts))

    @cached_property
    def bucket(self) -> S3Bucket:
        """The bucket; raises SettingsError where none is named."""
        self.settings.require("GATEWAY_S3_BUCKET")
        return S3Bucket(
            bucket=self.settings.s3_bucket,
            outbound=self.outbound(TRANSFERS * 2, block_size=_UPLOAD_BLOCK),
            endpoint_url=self.settings.s3_endpoint_url or None,
            public_endpoint_url=self.settings.s3_public_endpoint_url or None,
            prefix=self.settings.s3_prefix,
            addressing=self.settings.s3_addressing,
            session=boto3.Session(),
        )

    @cached_property
    def clients(self) -> SqlClients:
        """Clients and keys, those of the settings included."""
        return SqlClients(self.database)

    @cached_property
    def catalogue(self) -> Catalogue:
        """What may be asked for; raises SettingsError that names what is wrong."""
        return catalogue_of(self.settings.upstreams)

    @cached_property
    def upstreams(self) -> Mapping[str, ConfiguredUpstream]:
        """Every upstream by its name, in the order in which they are tried; raises SettingsError."""
        return {each.name: configured(each, connect=self._connect) for each in self.settings.upstreams}

    @cached_property
    def download_limits(self) -> DownloadLimits:
        """How long a download may take, and how large it may be."""
        return DownloadLimits()

    def pause(self, stopping: threading.Event) -> Callable[[float], object]:
        """Return what waits for some seconds of this installation's time, or until `stopping` is set."""
        return stopping.wait

    def _connect(self, upstream: UpstreamSettings, dialect: Dialect) -> HttpUpstream:
        return HttpUpstream(
            name=upstream.name,
            base_url=upstream.url,
            dialect=dialect,
            submits=self.outbound(SUBMITTERS, reuse=False),
            calls=self.outbound(POLLERS + ROUNDERS + TRANSFERS + CLEANERS),
            foreign=self.outbound(TRANSFERS, guard=Guard(allow=AllowList())),
            submit_timeout_s=self.settings.submit_timeout_s,
            poll_timeout_s=self.settings.poll_timeout_s,
            clock=clock.monotonic,
            limits=self.download_limits,
        )

    def secrets_of(self, client: str) -> Sequence[str]:
        """Return the webhook secrets that sign for a client now, its own before those of the settings.

        Both sign for one that is named in the settings and was made by `gateway keys` too: a second way to its keys
        must not make its receivers refuse its callbacks.
        """
        named = any(key.name == client for key in self.settings.api_keys)
        common = [secret.reveal() for secret in self.settings.webhook_secrets]
        if not self.clients.owns_secret(client):
            return common
        master = master_key(self.settings, self.cwd).reveal().encode()
        versions = self.clients.secret_versions(client, now=self.database.now())
        own = [derive_secret(master, owner=f"client:{client}", version=version) for version in versions]
        return own + common if named else own

    @cached_property
    def endpoints(self) -> SqlEndpoints:
        """Account-wide endpoints."""
        return SqlEndpoints(self.database)

    def endpoint_secret(self, endpoint_id: str, version: int) -> str:
        """Return the webhook secret of an endpoint, derived and stored nowhere."""
        master = master_key(self.settings, self.cwd).reveal().encode()
        return derive_secret(master, owner=f"endpoint:{endpoint_id}", version=version)

    def endpoint_secrets_of(self, endpoint_id: str) -> Sequence[str]:
        """Return the webhook secrets that sign for an endpoint now, newest first."""
        versions = self.endpoints.secret_versions(endpoint_id, now=self.database.now())
        return [self.endpoint_secret(endpoint_id, version) for version in versions]

    def outbound(
        self, pool_size: int, *, reuse: bool = True, guard: Guard | None = None, block_size: int = 65536
    ) -> Outbound:
        """Make a set of connections of its own, on the common watchdog."""
        return Outbound(
            pool_size=pool_size,
            deadlines=self.deadlines,
            reuse=reuse,
            guard=guard,
            block_size=block_size,
            tls=self.tls,
            user_agent=f"Sora-Gateway/{__version__}",
        )
