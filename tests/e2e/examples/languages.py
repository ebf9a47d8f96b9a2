"""How the examples of each language are run: by the commands that their own heads name."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EXAMPLES = Path(__file__).parents[3] / "examples"

EVERYWHERE = ("python", "node", "bash")
"""`make test` runs these; `make test-examples` all of them."""

CHOSEN = os.environ.get("EXAMPLES", " ".join(EVERYWHERE)).split()

Command = Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """The words of each command are formatted with `here` (the folder of the examples), `made` and `port`."""

    title: str
    files: Mapping[str, str]
    """The one that submits, waits and saves, and the one that receives callbacks, each with what it uses."""
    generate: Command
    receive: Command
    needs: Sequence[str] = ()
    """Programs, and paths in the folder of the examples, without which nothing runs."""
    checks: Sequence[Command] = ()
    """Commands that say nothing and end with 0 where the sources are sound."""
    builds: Sequence[Command] = ()
    """What has to run once before, into the folder `made`."""


LANGUAGES: Mapping[str, Language] = {
    "python": Language(
        title="Python",
        files={"python/generate.py": "requests", "python/receive.py": "Flask, requests, standardwebhooks"},
        generate=(sys.executable, "{here}/python/generate.py"),
        receive=(sys.executable, "{here}/python/receive.py"),
    ),
    "node": Language(
        title="Node.js",
        files={"node/generate.mjs": "", "node/receive.mjs": "Express, standardwebhooks"},
        generate=("node", "{here}/node/generate.mjs"),
        receive=("node", "{here}/node/receive.mjs"),
        needs=("node", "node/node_modules"),
        checks=(("node", "--check", "{here}/node/generate.mjs"), ("node", "--check", "{here}/node/receive.mjs")),
    ),
    "go": Language(
        title="Go",
        files={"go/generate.go": "", "go/receive.go": ""},
        generate=("{made}/generate",),
        receive=("{made}/receive",),
        needs=("go", "gofmt"),
        checks=(
            ("gofmt", "-l", "{here}/go"),
            ("go", "vet", "{here}/go/generate.go"),
            ("go", "vet", "{here}/go/receive.go"),
        ),
        builds=(
            ("go", "build", "-o", "{made}/generate", "{here}/go/generate.go"),
            ("go", "build", "-o", "{made}/receive", "{here}/go/receive.go"),
        ),
    ),
    "java": Language(
        title="Java",
        files={"java/Generate.java": "", "java/Receive.java": ""},
        generate=("java", "{here}/java/Generate.java"),
        receive=("java", "{here}/java/Receive.java"),
        needs=("java", "javac"),
        checks=(
            ("javac", "-Xlint:all", "-Werror", "-d", "{made}", "{here}/java/Generate.java", "{here}/java/Receive.java"),
        ),
    ),
    "bash": Language(
        title="Bash",
        files={"bash/generate.sh": "curl, jq", "bash/receive.sh": "curl, jq, openssl, socat"},
        generate=("{here}/bash/generate.sh",),
        receive=("socat", "TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork", "EXEC:{here}/bash/receive.sh"),
        needs=("bash", "curl", "jq", "openssl", "socat"),
        checks=(
            ("bash", "-n", "{here}/bash/generate.sh"),
            ("bash", "-n", "{here}/bash/receive.sh"),
            *(
                [("shellcheck", "{here}/bash/generate.sh", "{here}/bash/receive.sh")]
                if shutil.which("shellcheck")
                else []
            ),
        ),
    ),
}
