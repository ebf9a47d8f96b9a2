"""Real S3 servers on loopback for the tests: SeaweedFS, which checks everything, and moto, which is fast."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from gateway.bucket.s3 import S3Bucket
from gateway.demo.s3server import EmbeddedS3, S3ServerError, weed_binary
from gateway.outbound.deadline import Deadlines
from gateway.outbound.session import Outbound

ACCESS_KEY = "AKIDTESTTESTTESTTEST"
SECRET_KEY = "made-up-secret-for-loopback-tests"
BUCKET = "videos"


@dataclass(frozen=True, kw_only=True)
class Store:
    """A running S3 server with one bucket in it."""

    name: str
    endpoint_url: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    bucket: str = BUCKET
    region: str = "us-east-1"
    strict: bool
    """Whether it checks signatures and expiry."""

    def session(self) -> boto3.Session:
        return boto3.Session(
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key, region_name=self.region
        )

    def client(self) -> Any:
        """Return a plain boto3 client, to look at the store without the code under test."""
        config = Config(signature_version="s3v4", request_checksum_calculation="when_required", proxies={})
        return self.session().client("s3", endpoint_url=self.endpoint_url, config=config)

    def open_bucket(self, outbound: Outbound, **settings: Any) -> S3Bucket:
        given: dict[str, Any] = {
            "bucket": self.bucket,
            "endpoint_url": self.endpoint_url,
            "session": self.session(),
            "outbound": outbound,
        }
        return S3Bucket(**(given | settings))


@contextmanager
def weed_server() -> Iterator[Store]:
    """Run SeaweedFS in a directory of its own. Skips where it is not installed, and fails there when CI is set."""
    try:
        weed_binary()
    except S3ServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with (
        tempfile.TemporaryDirectory(prefix="weed-") as directory,
        EmbeddedS3(Path(directory), access_key=ACCESS_KEY, secret_key=SECRET_KEY, bucket=BUCKET) as server,
    ):
        yield Store(name="seaweedfs", endpoint_url=server.endpoint_url, strict=True)


@contextmanager
def moto_server() -> Iterator[Store]:
    """Run moto in a thread of this process. It accepts any signature: never the judge of security."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        store = Store(name="moto", endpoint_url=f"http://{host}:{port}", strict=False)
        store.client().create_bucket(Bucket=store.bucket)
        yield store
    finally:
        server.stop()


@contextmanager
def plain_outbound() -> Iterator[Outbound]:
    """Run an outbound session as the gateway uses it towards a store."""
    deadlines = Deadlines()
    outbound = Outbound(pool_size=8, deadlines=deadlines, block_size=1 << 20)
    try:
        yield outbound
    finally:
        outbound.close()
        deadlines.close()
