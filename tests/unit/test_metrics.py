"""Metrics: gauges are the database's, counters add up over processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.observability.metrics import KeyGauge, Metrics, Snapshot
from gateway.observability.metrics_dir import VARIABLE, shared_counters

SNAPSHOT = Snapshot(
    videos={"queued": 3},
    videos_late_s={"queued": 1.5},
    deliveries_pending=2,
    keys=[KeyGauge(upstream="openai", key="1", slots_used=4, paused=True)],
    worker_heartbeat_age_s=0.25,
)


def test_exposition_holds_the_gauges_of_the_snapshot() -> None:
    text = Metrics().exposition(SNAPSHOT).decode()
    for line in (
        'gateway_videos{status="queued"} 3.0',
        'gateway_videos_late_seconds{status="queued"} 1.5',
        "gateway_deliveries_pending 2.0",
        'gateway_upstream_slots_used{key="1",upstream="openai"} 4.0',
        'gateway_upstream_key_paused{key="1",upstream="openai"} 1.0',
        "gateway_worker_heartbeat_age_seconds 0.25",
    ):
        assert line in text.splitlines()


def test_every_counter_is_exposed_once_it_counted() -> None:
    metrics = Metrics()
    metrics.request_answered(method="GET", route="/v1/videos/<id>", status=200, took_s=0.01)
    metrics.video_finished(status="failed", code="upstream_error")
    metrics.submitted(upstream="openai", outcome="accepted")
    metrics.polled(upstream="openai", outcome="no_answer")
    metrics.delivery_attempted(outcome="delivered", took_s=0.1)
    metrics.transferred(outcome="stored", moved=1000, took_s=2)
    text = metrics.exposition(Snapshot()).decode()
    for line in (
        'gateway_http_request_seconds_count{method="GET",route="/v1/videos/<id>",status="200"} 1.0',
        'gateway_videos_finished_total{code="upstream_error",status="failed"} 1.0',
        'gateway_submits_total{outcome="accepted",upstream="openai"} 1.0',
        'gateway_polls_total{outcome="no_answer",upstream="openai"} 1.0',
        'gateway_delivery_attempt_seconds_count{outcome="delivered"} 1.0',
        'gateway_transfer_seconds_count{outcome="stored"} 1.0',
        "gateway_transfer_bytes_total 1000.0",
    ):
        assert line in text.splitlines()


def test_two_metrics_do_not_count_into_each_other() -> None:
    Metrics().submitted(upstream="openai", outcome="accepted")
    assert b'outcome="accepted"' not in Metrics().exposition(Snapshot())


def test_counters_add_up_over_processes_that_share_a_directory(tmp_path: Path) -> None:
    program = (
        "import sys; from gateway.observability.metrics import Metrics, Snapshot; m = Metrics();"
        "m.submitted(upstream='u', outcome='accepted'); sys.stdout.write(m.exposition(Snapshot()).decode())"
    )
    environ = os.environ | {VARIABLE: str(tmp_path)}
    for count in (1, 2):
        run = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
        assert f'gateway_submits_total{{outcome="accepted",upstream="u"}} {count}.0' in run.stdout.splitlines()


def test_shared_directory_is_made_for_who_has_none_and_removed() -> None:
    environ: dict[str, str] = {}
    with shared_counters(environ) as made:
        assert environ == {VARIABLE: made}
        assert Path(made).is_dir()
    assert environ == {}
    assert not Path(made).exists()


@pytest.mark.parametrize("given", ["/somewhere"])
def test_shared_directory_is_the_one_that_was_given(given: str) -> None:
    environ = {VARIABLE: given}
    with shared_counters(environ) as used:
        assert used == given
    assert environ == {VARIABLE: given}
