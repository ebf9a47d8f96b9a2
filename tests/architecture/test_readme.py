"""What the README prints from the code is what the code prints."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from gateway.webhooks.signing import derive_secret, sign
from tests.architecture.readme import SECTIONS, section_of

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("name", SECTIONS)
def test_the_readme_shows_what_the_code_says(name: str) -> None:
    assert section_of(README.read_text(encoding="utf-8"), name) == SECTIONS[name](), "run `make docs`"


def verified_by_hand(folder: Path, body: bytes, **values: str) -> str:
    """Return what the README's commands print for a callback's body, with the shell's variables set."""
    found = re.search(r"<!-- verify: [^\n]*-->\n```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    (folder / "body.json").write_bytes(body)
    environ = {"PATH": os.environ["PATH"], **values}
    done = subprocess.run(["sh", "-ec", found[1]], cwd=folder, env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.rstrip("\n")


@pytest.mark.parametrize("body", [b'{"test": 2432232314}', '{"prompt": "100 % \\n 船"}\n\n'.encode(), b""])
def test_a_callback_is_verified_by_hand_as_the_readme_says(tmp_path: Path, body: bytes) -> None:
    secrets = [derive_secret(b"m" * 32, owner="shop", version=version) for version in (1, 2)]
    signed = sign(secrets, webhook_id="evt_1", timestamp=1796000000, body=body)
    given = [entry.removeprefix("v1,") for entry in signed["webhook-signature"].split()]
    printed = [
        verified_by_hand(tmp_path, body, id="evt_1", timestamp="1796000000", secret=secret) for secret in secrets
    ]
    assert printed == given
    assert verified_by_hand(tmp_path, body + b" ", id="evt_1", timestamp="1796000000", secret=secrets[0]) not in given


def test_by_hand_the_published_example_has_its_published_signature(tmp_path: Path) -> None:
    # Svix's own test vector, as in tests/unit/test_signing.py.
    printed = verified_by_hand(
        tmp_path, b'{"test": 2432232314}', id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp="1614265330",
        secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    )  # fmt: skip
    assert printed == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
