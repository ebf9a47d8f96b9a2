"""What every test can ask for, and what none may do: reach another machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import hypothesis
import pytest

from tests.loopback import only_loopback
from tests.postgres import PostgresServer, running_server

# A busy machine is no counterexample.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server; without one the test is skipped on a laptop and fails where CI=true."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_server())
        except LookupError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield server


@pytest.fixture(scope="session", autouse=True)
def refused_hosts() -> Iterator[list[str]]:
    """The hosts that tests of this session were kept from reaching."""
    with only_loopback() as refused:
        yield refused


@pytest.fixture(autouse=True)
def _stays_here(refused_hosts: list[str]) -> Iterator[None]:
    """Fail a test whose code tried to leave, also where that code, or a thread of it, swallowed the refusal."""
    before = len(refused_hosts)
    yield
    assert refused_hosts[before:] == [], "tried to reach another machine"
