"""What the tests of outbound connections share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.outbound.deadline import Deadlines
from gateway.outbound.session import Outbound
from tests.servers import allow_only_loopback


@pytest.fixture
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_only_loopback(monkeypatch)


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    made = Deadlines()
    yield made
    made.close()


@pytest.fixture
def outbound(deadlines: Deadlines) -> Iterator[Outbound]:
    made = Outbound(pool_size=4, deadlines=deadlines)
    yield made
    made.close()
