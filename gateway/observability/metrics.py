"""Counters of what this machine's processes did, and gauges of what the database holds, as Prometheus reads them.

Gauges come from a `Snapshot` that the API takes of the database at each scrape, so they are right for any number of
processes and machines. Counters live in the processes: all of one `gateway serve` or `gateway api` share a directory
(see `metrics_dir`) and are summed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.values import MutexValue, ValueClass

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_Values = dict[tuple[str, ...], float]

_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DELIVERY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
_TRANSFER_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyGauge:
    """One upstream key at the moment of a scrape."""

    upstream: str
    key: str
    slots_used: int
    paused: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What the database says at the moment of a scrape."""

    videos: Mapping[str, int] = field(default_factory=dict)
    """Number of unfinished videos by status."""
    videos_late_s: Mapping[str, float] = field(default_factory=dict)
    """By status, how far past its due time the video is that waits longest; 0 where none is late."""
    deliveries_pending: int = 0
    deliveries_late_s: float = 0.0
    keys: Sequence[KeyGauge] = ()
    worker_heartbeat_age_s: float | None = None
    """Age of the newest heartbeat; None where there never was a worker."""


class Metrics:
    """What one process counts. Make one per process and hand it on; methods are thread-safe and never raise."""

    def __init__(self) -> None:
        # Every Metrics has its own registry, so that tests and embedded servers don't count into each other.
        self._registry = CollectorRegistry()
        self._requests = self._histogram(
            "gateway_http_request_seconds", "Answered requests", ("method", "route", "status"), _REQUEST_BUCKETS
        )
        self._finished = self._counter(
            "gateway_videos_finished", "Videos that reached a final status", "status", "code"
        )
        self._submits = self._counter("gateway_submits", "Submits to upstreams", "upstream", "outcome")
        self._polls = self._counter("gateway_polls", "Polls of upstreams", "upstream", "outcome")
        self._attempts = self._histogram(
            "gateway_delivery_attempt_seconds", "Callback attempts", ("outcome",), _DELIVERY_BUCKETS
        )
        self._transfers = self._histogram(
            "gateway_transfer_seconds", "Transfers from upstreams to the bucket", ("outcome",), _TRANSFER_BUCKETS
        )
        self._bytes = self._counter("gateway_transfer_bytes", "Bytes moved from upstreams to the bucket")

    def request_answered(self, *, method: str, route: str, status: int, took_s: float) -> None:
        """Count one answered request; `route` is the rule (`/v1/videos/<id>`), never the path itself."""
        self._requests.labels(method, route, str(status)).observe(took_s)

    def video_finished(self, *, status: str, code: str = "") -> None:
        """Count a video that became final; `code` is the error's, where it failed."""
        self._finished.labels(status, code).inc()

    def submitted(self, *, upstream: str, outcome: str) -> None:
        """Count a submit and what came of it."""
        self._submits.labels(upstream, outcome).inc()

    def polled(self, *, upstream: str, outcome: str) -> None:
        """Count a poll and what came of it."""
        self._polls.labels(upstream, outcome).inc()

    def delivery_attempted(self, *, outcome: str, took_s: float) -> None:
        """Count one attempt at a callback."""
        self._attempts.labels(outcome).observe(took_s)

    def transferred(self, *, outcome: str, moved: int, took_s: float) -> None:
        """Count one try at a transfer and the bytes that it moved."""
        self._transfers.labels(outcome).observe(took_s)
        self._bytes.inc(moved)

    def exposition(self, snapshot: Snapshot) -> bytes:
        """Return it all as Prometheus text (`CONTENT_TYPE`): counters, summed over who shares them, and gauges."""
        scraped = CollectorRegistry()
        scraped.register(_Gauges(snapshot))
        if ValueClass is MutexValue:  # this process counts for itself alone
            return generate_latest(self._registry) + generate_latest(scraped)
        MultiProcessCollector(scraped)  # type: ignore[no-untyped-call]
        return generate_latest(scraped)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)


class _Gauges(Collector):
    """A snapshot in Prometheus' own form."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[GaugeMetricFamily]:
        seen = self._snapshot
        yield _gauge("gateway_videos", "Unfinished videos", ("status",), _by_status(seen.videos))
        yield _gauge(
            "gateway_videos_late_seconds",
            "How late the longest due video is",
            ("status",),
            _by_status(seen.videos_late_s),
        )
        yield _gauge("gateway_deliveries_pending", "Callbacks to make", (), {(): seen.deliveries_pending})
        yield _gauge(
            "gateway_deliveries_late_seconds", "How late the longest due callback is", (), {(): seen.deliveries_late_s}
        )
        keys = {(key.upstream, key.key): key for key in seen.keys}
        labels = ("upstream", "key")
        slots: _Values = {name: key.slots_used for name, key in keys.items()}
        yield _gauge("gateway_upstream_slots_used", "Videos in progress upstream", labels, slots)
        paused: _Values = {name: int(key.paused) for name, key in keys.items()}
        yield _gauge("gateway_upstream_key_paused", "1 where submits on the key are paused", labels, paused)
        if seen.worker_heartbeat_age_s is not None:
            age: _Values = {(): seen.worker_heartbeat_age_s}
            yield _gauge("gateway_worker_heartbeat_age_seconds", "Age of the newest worker heartbeat", (), age)


def _by_status(values: Mapping[str, float]) -> _Values:
    return {(status,): value for status, value in values.items()}


def _gauge(name: str, text: str, labels: Sequence[str], values: _Values) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
