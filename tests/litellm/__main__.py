"""`python -m tests.litellm [PYTEST ARGUMENT…]`: the tests of this folder, where no network but loopback is.

The proxy would like to fetch prices and to tell of itself; in a network namespace of its own it can reach nobody.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

_ALONE = "SORA_GATEWAY_LITELLM_ALONE"
_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x41


def main(arguments: Sequence[str]) -> int:
    """Run them; the exit status is that of pytest."""
    if _ALONE not in os.environ:
        command = ["unshare", "--net", "--map-root-user", sys.executable, "-m", "tests.litellm", *arguments]
        return subprocess.run(command, env={**os.environ, _ALONE: "1"}, check=False).returncode
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _UP_AND_RUNNING))
    return int(pytest.main([str(Path(__file__).parent), *arguments]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
