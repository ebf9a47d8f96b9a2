"""The database's clock between two looks at it."""

from __future__ import annotations

from gateway.worker.moment import Moment
from tests.worker_world import Time


def test_a_moment_is_the_databases_time_carried_on_by_the_local_monotonic_clock() -> None:
    monotonic = Time(7.0)
    moment = Moment(now=1000.0, monotonic=monotonic)
    assert moment() == 1000.0
    monotonic.on(2.5)
    assert moment() == 1002.5
