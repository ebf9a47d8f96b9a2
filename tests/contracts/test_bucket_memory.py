"""The memory of a transfer does not grow with the size of the video: measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3 import Store, weed_server

SIZE = 256 << 20
MIB = 1 << 20

TRANSFER = """
import json, resource, sys
from gateway.bucket.s3 import S3Bucket
from gateway.outbound.deadline import Deadlines
from gateway.outbound.session import Outbound
import boto3

given = json.loads(sys.argv[1])
deadlines = Deadlines()
outbound = Outbound(pool_size=2, deadlines=deadlines, block_size=1 << 20)
session = boto3.Session(given["access_key"], given["secret_key"], region_name="us-east-1")
bucket = S3Bucket(bucket=given["bucket"], endpoint_url=given["endpoint_url"], session=session, outbound=outbound)

def write(size, known):
    left = size
    def readinto(view):
        nonlocal left
        count = min(left, len(view))
        left -= count
        return count
    return bucket.write(
        "big.mp4", readinto, length=size if known else None, content_type="video/mp4", filename="f", alive=lambda: None
    )

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

write(9 << 20, given["known"])
before = peak()
written = write(given["size"], given["known"])
print(json.dumps({"written": written.size, "grown": peak() - before, "peak": peak()}))
bucket.delete("big.mp4")
outbound.close()
deadlines.close()
"""


@pytest.fixture(scope="module")
def weed() -> Iterator[Store]:
    with weed_server() as store:
        yield store


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_a_transfer_of_256_mib_takes_no_more_memory_than_a_small_one(weed: Store, known: bool) -> None:
    given = {
        "access_key": weed.access_key,
        "secret_key": weed.secret_key,
        "bucket": weed.bucket,
        "endpoint_url": weed.endpoint_url,
        "known": known,
        "size": SIZE,
    }
    done = subprocess.run(
        [sys.executable, "-c", TRANSFER, json.dumps(given)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["written"] == SIZE
    assert found["grown"] < 24 * MIB
