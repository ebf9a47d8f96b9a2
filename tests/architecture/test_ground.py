"""What stands around the code: versions, locks, settings, the image and the make targets agree with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import gateway
from gateway.settings import specs
from tests.servers import RawServer, answering

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("build", "demo", "dev", "runtime")

# The names that users were promised. One that is missing here is new and may still be renamed; one of these may not.
PROMISED = re.findall(
    r"\w+",
    """
    API_KEYS BIND CLIENT_MAX_UNFINISHED CLIENT_REQUESTS_PER_MINUTE CONFIG CONTENT CONTENT_WAIT_S DATABASE_URL LOG_FORMAT
    LOG_LEVEL MAX_BODY_BYTES MAX_WAIT_S POLL_INTERVAL_S POLL_TIMEOUT_S PUBLIC_URL QUEUE_TIMEOUT_S RECONCILE_AFTER_S
    RESUBMIT_UNKNOWN RETENTION_S S3_ADDRESSING S3_BUCKET S3_ENDPOINT_URL S3_PREFIX S3_PUBLIC_ENDPOINT_URL SECRET_KEY
    SQLITE_SYNCHRONOUS SUBMIT_TIMEOUT_S THREADS UPSTREAM_DIALECT UPSTREAM_KEY UPSTREAM_MAX_CONCURRENT UPSTREAM_MODELS
    UPSTREAM_REQUESTS_PER_MINUTE UPSTREAM_STRICT UPSTREAM_URL URL_TTL_S WEBHOOK_ALLOW_HOSTS WEBHOOK_SCHEDULE_S
    WEBHOOK_SECRET WEBHOOK_TIMEOUT_S WORKERS
    """,
)


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", text, re.MULTILINE))


def wanted(lock: str) -> list[Requirement]:
    runtime, groups = PROJECT["project"]["dependencies"], PROJECT["dependency-groups"]
    demo = [*runtime, *PROJECT["project"]["optional-dependencies"]["demo"], *groups["build"]]
    dev = [*demo, *(line for line in groups["dev"] if isinstance(line, str))]
    lines = {"build": groups["build"], "demo": demo, "dev": dev, "runtime": runtime}
    return [Requirement(line) for line in lines[lock]]


def test_the_package_has_the_projects_version() -> None:
    assert gateway.__version__ == PROJECT["project"]["version"]


def test_every_promised_setting_exists() -> None:
    assert {f"GATEWAY_{name}" for name in PROMISED} - {spec.name for spec in specs()} == set()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_fits_the_project(lock: str) -> None:
    pinned = {canonicalize_name(name): version for name, version in pins(lock).items()}
    misfits = [
        str(requirement)
        for requirement in wanted(lock)
        if not requirement.specifier.contains(pinned.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]
    assert misfits == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_by_hash_and_names_no_address(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"https?:|file:|--(?:extra-)?index-url|--find-links", text) == []


@pytest.mark.parametrize("folder", ["examples/node", "tests/e2e/sdk/node"])
def test_a_lock_for_node_fits_pins_by_hash_and_names_no_address(folder: str) -> None:
    text = (ROOT / folder / "package-lock.json").read_text()
    wanted = json.loads((ROOT / folder / "package.json").read_text())["dependencies"]
    (own, *locked) = json.loads(text)["packages"].values()
    assert own["dependencies"] == wanted
    assert locked
    assert [package for package in locked if not package["integrity"].startswith("sha512-")] == []
    assert re.findall(r"https?:|file:|resolved", text) == []


@pytest.mark.parametrize("lock", ["build", "demo", "runtime"])
def test_a_lock_pins_what_the_largest_one_pins(lock: str) -> None:
    assert pins(lock).items() <= pins("dev").items()


def test_the_image_runs_as_nobody_in_particular_and_tells_how_it_is() -> None:
    _, *stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    last = stages[-1]
    user = re.findall(r"^USER (\S+)", last, re.MULTILINE)
    assert user
    assert not re.match(r"(root|0)\b", user[-1])
    entry = re.search(r"^ENTRYPOINT (.*)$\nCMD (.*)$", last, re.MULTILINE)
    assert entry is not None
    assert [json.loads(part) for part in entry.groups()] == [["gateway"], ["serve"]]
    assert [stage for stage in stages if not re.match(r"python:3\.\d+\.\d+-slim", stage)] == []
    assert "--require-hashes" in stages[0]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_image_asks_only_whether_the_process_is_alive(status: int, healthy: bool) -> None:
    # Not whether it is ready: an orchestrator restarts what is unhealthy, and that mends no database.
    found = re.search(r"^HEALTHCHECK.*\\\n\s+CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    program, *arguments = json.loads(found[1])
    assert program == "python"
    with RawServer(answering(status)) as server:
        bind = f"0.0.0.0:{server.url.rpartition(':')[2]}"
        environ = {**os.environ, "GATEWAY_BIND": bind, "http_proxy": "http://127.0.0.1:1"}
        done = subprocess.run([sys.executable, *arguments], env=environ, timeout=20, check=False)
        assert server.request().target == "/healthz"
    assert (done.returncode == 0) is healthy


def test_the_installation_sets_only_settings_that_exist() -> None:
    text = (ROOT / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    assert {"api", "worker", "postgres", "store"} <= services.keys()
    known = {spec.name for spec in specs()}
    assert {name for name in services["api"]["environment"] if name.startswith("GATEWAY_")} <= known
    assert services["worker"]["environment"] == services["api"]["environment"]
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_make_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.findall(r"^make ([\w-]+)", listed.stdout, re.MULTILINE) == phony[1].split()


def test_the_pipeline_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    texts = [
        ROOT / name for name in tracked.split("\0") if name.endswith((".py", ".toml", ".md", ".yaml", ".lock", "run"))
    ]
    private = re.compile(r"(?<![\w.~-])/(?:root|home)/\w")
    found = [
        str(path) for path in texts if path.is_file() and path != Path(__file__) and private.search(path.read_text())
    ]
    assert found == []
