"""What the tests of the worker share: its steps over a real database of their own, on either engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.db.engine import Database
from tests.contracts.conftest import database, database_url, open_database, sqlite_template
from tests.worker_remotes import Elsewhere, Receiver, ScriptedUpstream, StreamingBucket
from tests.worker_world import Time, Worker

__all__ = ["database", "database_url", "open_database", "sqlite_template"]


@pytest.fixture
def make_worker(database: Database) -> Callable[..., Worker]:
    """Make a worker on the test's database."""

    def make(**options: Any) -> Worker:
        time = Time()
        usual: dict[str, Any] = {
            "database": database, "time": time, "upstream": ScriptedUpstream(time), "bucket": StreamingBucket(),
            "receiver": Receiver(), "elsewhere": Elsewhere(),
        }  # fmt: skip
        return Worker(**(usual | options))

    return make


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    """A worker on the test's database."""
    return make_worker()
