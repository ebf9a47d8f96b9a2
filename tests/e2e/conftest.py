"""What the tests of whole processes ask for."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.door import Door
from tests.e2e.harness import World
from tests.postgres import PostgresServer
from tests.s3 import Store, weed_server

MakeWorld = Callable[..., World]


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """One S3 server for all of them; each world has a prefix of its own."""
    with weed_server() as server:
        yield server


@pytest.fixture
def make_world(tmp_path: Path, store: Store) -> Iterator[MakeWorld]:
    """Make worlds that end with the test, none of whose processes may have told a secret."""
    worlds: list[World] = []
    with ExitStack() as stack:

        def make(upstream: Mapping[str, Any] | None = None, **settings: str) -> World:
            directory = tmp_path / str(len(worlds))
            directory.mkdir()
            world = World(directory=directory, store=store, upstream=upstream or {}, settings=settings)
            worlds.append(world)
            return stack.enter_context(world)

        yield make
        told = {str(world.directory): world.spoken_secrets() for world in worlds}
    assert not any(told.values()), told


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """An upstream of dialect `openai`, a receiver and a gateway on SQLite that is not started yet."""
    return make_world()


@pytest.fixture
def on_postgres(postgres_server: PostgresServer) -> Iterator[dict[str, str]]:
    """Return the settings of a gateway on a PostgreSQL database of its own, still empty."""
    with postgres_server.database() as url:
        yield {"GATEWAY_DATABASE_URL": url, "GATEWAY_SECRET_KEY": secrets.token_hex(32)}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of the size that most videos here have."""
    path = tmp_path / "image.png"
    Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(path)
    return path


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """A door that is open; `door.lead_to(world)` puts it before the upstream."""
    with Door(tmp_path) as made:
        yield made
