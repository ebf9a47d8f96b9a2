"""The page of the document: everything that it loads is here, and its policy lets it load nothing else."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.serving import make_server

from gateway.api.openapi import OPERATIONS, openapi_document
from tests.api_world import World, make_world

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "gateway" / "api" / "docs"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.database.close()


def named(world: World) -> list[str]:
    """Return every address that the page names."""
    return re.findall(r'(?:src|href)="([^"]+)"', world.http.get("/docs").text)


def policy(world: World) -> dict[str, str]:
    header = world.http.get("/docs").headers["Content-Security-Policy"]
    return dict(directive.split(" ", 1) for directive in header.split("; "))


def test_all_that_the_page_names_is_served_without_a_key_and_kept_for_good(world: World) -> None:
    addresses = [address for address in named(world) if address != "/openapi.yaml"]
    assert len(addresses) == 5
    for address in addresses:
        answer = world.http.get(address)
        assert answer.status_code == 200, address
        assert answer.mimetype == TYPES[Path(address.partition("?")[0]).suffix]
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert {"/openapi.yaml"} < set(named(world))
    assert '"/openapi.yaml"' in (FOLDER / "page.js").read_text()


def test_the_page_loads_from_here_alone_and_runs_nothing_that_stands_in_it(world: World) -> None:
    page, allowed = world.http.get("/docs").text, policy(world)
    assert [address for address in named(world) if not address.startswith("/")] == []
    assert re.findall(r"<style|\son\w+=|style=|<script(?![^>]*\ssrc=)", page) == []
    sources = {name: value for name, value in allowed.items() if name.endswith("-src")}
    assert sources == {
        "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
        "img-src": "'self' data:",
    }  # fmt: skip
    assert [allowed[name] for name in ("base-uri", "form-action", "frame-ancestors")] == ["'none'"] * 3


def test_a_page_that_was_seen_is_asked_for_again_and_sent_only_where_it_changed(world: World) -> None:
    first = world.http.get("/docs")
    again = world.http.get("/docs", headers={"If-None-Match": first.headers["ETag"]})
    assert first.headers["Cache-Control"] == "no-cache"
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("query", ["", "?v=0123456789abcdef"])
def test_a_file_without_the_version_it_has_is_not_kept(world: World, query: str) -> None:
    answer = world.http.get(f"/docs/page.js{query}")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("path", ["/docs", "/docs/page.js"])
def test_the_page_can_only_be_read(world: World, path: str) -> None:
    got, head = world.http.get(path), world.http.head(path)
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(got.data))
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert world.http.open(path, method=method).status_code == 405


@pytest.mark.parametrize("name", ["none.js", "index.html", "swagger-ui/LICENSE", "..%2fdocs_page.py", "%2e%2e/app.py"])
def test_no_other_file_is_served(world: World, name: str) -> None:
    assert world.http.get(f"/docs/{name}").status_code == 404


def test_the_files_of_others_are_as_they_came_with_their_licences() -> None:
    kept = FOLDER / "swagger-ui"
    head, *lines = (kept / "SHA256SUMS").read_text().splitlines()
    version = re.search(r"^SWAGGER_UI := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert version is not None
    assert head == f"# swagger-ui-dist {version[1]}", "run `make docs-assets`"
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept.iterdir()} == {
        **sums,
        "SHA256SUMS": hashlib.sha256((kept / "SHA256SUMS").read_bytes()).hexdigest(),
    }
    assert {"LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"} < sums.keys()


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(world: World) -> Iterator[str]:
    """Serve the app on loopback and return its URL."""
    server = make_server("127.0.0.1", 0, world.http.application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def chromium() -> str:
    """Return the path of the browser; where there is none, the tests above have to do."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium")
    return found


def test_a_browser_shows_every_operation_and_objects_to_nothing(served: str, chromium: str, tmp_path: Path) -> None:
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", *quiet, profile, "--enable-logging=stderr",
            "--virtual-time-budget=20000", "--dump-dom", f"{served}/docs",
        ],
        capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    shown = re.findall(r'class="opblock opblock-(\w+)[ "]', done.stdout)
    documented = [operation for operation in OPERATIONS if operation.documented]
    assert len(shown) == len(documented) + len(openapi_document()["webhooks"])
    assert 'class="btn authorize' in done.stdout
    assert re.findall(r".*(?:CONSOLE|Refused to|violates).*", done.stderr) == []
