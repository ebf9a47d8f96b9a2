"""One gateway for all examples, and the examples of each chosen language ready to run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api_world import picture as picture_of
from tests.e2e.examples.languages import CHOSEN, EXAMPLES, LANGUAGES
from tests.e2e.examples.running import Examples, Receiver
from tests.e2e.harness import World
from tests.s3 import Store


@pytest.fixture(scope="session", params=CHOSEN)
def examples(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """The examples of each language; what they need and is missing is a skip on a laptop, and a failure in CI."""
    language = LANGUAGES[request.param]
    missing = [
        need for need in language.needs if not ((EXAMPLES / need).exists() if "/" in need else shutil.which(need))
    ]
    if missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{', '.join(missing)} missing")
    made = Examples(language=language, made=tmp_path_factory.mktemp(request.param))
    made.build()
    return made


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[World]:
    with World(directory=tmp_path_factory.mktemp("gateway"), store=store, upstream={}, settings={}) as world:
        world.serve()
        yield world
        assert world.spoken_secrets() == []


@pytest.fixture
def receiver(examples: Examples, world: World, tmp_path: Path) -> Iterator[Receiver]:
    """A receiver that knows the secret of this world's client."""
    with examples.receiver(tmp_path / "receiver", world.webhook_secret) as receiver:
        yield receiver


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "image.png"
    path.write_bytes(picture_of(size=(1280, 720)))
    return path
