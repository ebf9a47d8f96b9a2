"""The worker's leases, worked out from the settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.worker_world import LIMITS


@pytest.mark.parametrize(("interval_s", "timeout_s", "lease_s"), [(30, 15, 30), (2, 15, 20), (20, 15, 20)])
def test_a_polls_lease_is_its_interval_unless_an_answer_may_take_longer(
    interval_s: float, timeout_s: float, lease_s: float
) -> None:
    assert replace(LIMITS, poll_interval_s=interval_s, poll_timeout_s=timeout_s).poll_lease_s == lease_s


def test_a_submit_is_reconciled_only_after_its_deadline_and_the_age_that_its_intent_may_have() -> None:
    assert replace(LIMITS, submit_timeout_s=120).submit_lease_s == 130


def test_a_deliverys_lease_outlasts_its_attempt() -> None:
    assert replace(LIMITS, webhook_timeout_s=15).delivery_lease_s == 20


def test_an_extension_comes_before_a_stalled_download_is_noticed() -> None:
    stall_s = 30
    assert LIMITS.transfer_lease_s / 3 > stall_s
    assert LIMITS.open_lease_s > LIMITS.transfer_lease_s
