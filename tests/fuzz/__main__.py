"""`python -m tests.fuzz [--examples N] [--seed N]`: schemathesis with every check against a whole gateway on loopback.

It makes up callback URLs too, whose names the gateway would look up: all of it runs where no network but loopback is.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.harness import World
from tests.s3 import weed_server

DOCUMENT = Path(__file__).parents[2] / "openapi.yaml"
LEFT_OUT = (
    # A header that the document does not know is no error anywhere, and this check sends some.
    "negative_data_rejection",
    # Which sizes, lengths and models are served is up to the settings, not to the document.
    "positive_data_acceptance",
    # A repeated Idempotency-Key is answered with the video that it made, also where that was deleted since.
    "ensure_resource_availability",
)
_AT_ONCE = 50
"""Videos in progress upstream: hundreds are posted at a time, and some requests wait until theirs is finished."""
_LONGEST_WAIT_S = 65
"""An answer may be put off for a minute with `Prefer: wait`, and for 20 seconds where an endpoint is tested."""
_ALONE = "SORA_GATEWAY_FUZZ_ALONE"
_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x41


def main(arguments: Sequence[str]) -> int:
    """Run it; the exit status is that of schemathesis, or 1 where the gateway did not outlive it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=600, help="made-up requests for each operation")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)))
    given = parser.parse_args(arguments)
    if _ALONE not in os.environ:
        return _again_alone(arguments)
    _raise_loopback()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, weed_server() as store:
        settings = {
            "GATEWAY_CLIENT_MAX_UNFINISHED": "1000000",
            "GATEWAY_POLL_INTERVAL_S": "1",
            "GATEWAY_UPSTREAM_MAX_CONCURRENT": str(_AT_ONCE),
        }
        upstream = {"max_concurrent": _AT_ONCE}
        with World(directory=Path(folder), store=store, upstream=upstream, settings=settings) as world:
            gateway = world.serve()
            status = subprocess.run(_command(world, given.examples, given.seed), check=False).returncode
            return 1 if gateway.ended else status


def _again_alone(arguments: Sequence[str]) -> int:
    command = ["unshare", "--net", "--map-root-user", sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(command, env={**os.environ, _ALONE: "1"}, check=False).returncode


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _UP_AND_RUNNING))


def _command(world: World, examples: int, seed: int) -> list[str]:
    return [
        str(Path(sys.executable).with_name("schemathesis")), "run", str(DOCUMENT),
        "--url", world.url, "--header", f"Authorization: Bearer {world.api_key}",
        "--checks", "all", "--exclude-checks", ",".join(LEFT_OUT),
        "--max-examples", str(examples), "--seed", str(seed), "--max-redirects", "0",
        "--request-timeout", str(_LONGEST_WAIT_S), "--max-response-time", str(_LONGEST_WAIT_S),
        "--suppress-health-check", "all", "--continue-on-failure", "--warnings", "off", "--no-color",
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
