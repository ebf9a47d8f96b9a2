"""The short form of the chaos run; `make chaos` is the long one. Every choice in it comes from the seed it prints."""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.report import Order
from tests.chaos.run import chaos
from tests.s3 import Store

SECONDS = 15.0
PATIENCE_S = 90.0


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_books_balance_after_processes_were_killed_and_all_around_them_failed(database: str, store: Store) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(1_000_000))
    print(f"CHAOS_SEED={seed} repeats this run's choices")  # noqa: T201 - shown with a failure
    order = Order(database=database, seed=seed, seconds=SECONDS, long=False, videos_per_s=8.0, patience_s=PATIENCE_S)
    try:
        report = chaos(order, store)
    except LookupError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    assert report.balanced, "\n".join(report.lines())
    assert report.videos > 0
    assert report.kills
