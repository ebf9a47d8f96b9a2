"""One gateway for all tests of the official SDKs, and a small one that refuses much."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from tests.e2e.harness import World
from tests.e2e.processes import free_port
from tests.e2e.sdk.relay import forgetful
from tests.s3 import Store
from tests.servers import RawServer

NODE = Path(__file__).parent / "node"


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_sdks() -> Iterator[None]:
    """Hide what the SDKs would read from the environment of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("OPENAI_")]:
            patch.delenv(name)
        yield


@contextmanager
def _served(directory: Path, store: Store, **settings: str) -> Iterator[World]:
    directory.mkdir()
    with World(directory=directory, store=store, upstream={"max_concurrent": 0}, settings=settings) as world:
        world.serve()
        yield world
        told = world.spoken_secrets()
    assert not told, told


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[World]:
    """A gateway that serves everything."""
    with _served(tmp_path_factory.mktemp("sdk") / "whole", store, GATEWAY_UPSTREAM_MAX_CONCURRENT="20") as world:
        yield world


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[World]:
    """A gateway whose bucket is away, that takes small bodies, and one unfinished video from each client."""
    settings = {
        "GATEWAY_S3_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "GATEWAY_CLIENT_MAX_UNFINISHED": "1",
        "GATEWAY_MAX_BODY_BYTES": "100000",
        "GATEWAY_API_KEYS": ",".join(f"{client}:sk-{client}" for client in ("python", "node")),
    }
    with _served(tmp_path_factory.mktemp("sdk") / "narrow", store, **settings) as world:
        yield world


@pytest.fixture(scope="session")
def relay(whole: World) -> Iterator[RawServer]:
    """A relay before the whole gateway that loses answers where it is asked to."""
    with forgetful(whole) as server:
        yield server


@pytest.fixture
def sdk(whole: World) -> Iterator[openai.OpenAI]:
    """The SDK for Python as its users have it, but for the base URL."""
    with openai.OpenAI(
        base_url=f"{whole.url}/v1", api_key=whole.api_key, webhook_secret=whole.webhook_secret
    ) as client:
        yield client
