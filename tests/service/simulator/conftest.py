"""What the tests of the simulator share: simulators that end with their test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.demo.simulator import Simulator
from tests.service.simulator.driver import SETTINGS, Client


@pytest.fixture
def start() -> Iterator[Callable[..., Client]]:
    """Starts simulators; every one ends with the test."""
    with contextlib.ExitStack() as stack:

        def started(**changes: Any) -> Client:
            simulator = stack.enter_context(Simulator(replace(SETTINGS, **changes)))
            return stack.enter_context(contextlib.closing(Client(simulator)))

        yield started


@pytest.fixture
def client(start: Callable[..., Client]) -> Client:
    return start()
