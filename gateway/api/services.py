"""What the API is handed: the ports it calls and the plain values it obeys. Wiring makes one, tests make their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Literal

from gateway.api.waiting import Waiting
from gateway.bucket.port import Bucket
from gateway.clock import Clock, monotonic, wall
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.intake import Intake
from gateway.jobs.ports import Clients, Endpoints, Outbox, Queries, RateLimits, Recorder
from gateway.pictures.reader import ImageReader


def unobserved(method: str, route: str, status: int, seconds: float) -> None:
    """The observer where nobody counts."""
    del method, route, status, seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfiguredKey:
    """An API key that stands in the settings: a client and its key in clear."""

    client: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiServices:
    """Everything that the API needs. Nothing here is opened or called before the first request."""

    clients: Clients
    intake: Intake
    catalogue: Catalogue
    queries: Queries
    recorder: Recorder
    outbox: Outbox
    endpoints: Endpoints
    endpoint_secret: Callable[[str, int], str]
    """Return an endpoint's secret of a version."""
    target_refusal: Callable[[str], str | None]
    """Return why nothing may be sent to a URL, or None."""
    rate_limits: RateLimits
    bucket: Bucket
    metrics_text: Callable[[], bytes]
    """The Prometheus text of this process, or of all of them."""
    public_url: str
    """How clients reach the gateway, without a slash at its end."""
    max_body_bytes: int
    url_ttl_s: int
    """Life of a presigned link."""
    retention_s: float
    """0: finished videos are kept."""
    poll_interval_s: float
    content_mode: Literal["redirect", "stream"] = "redirect"
    content_streams: int = 4
    """How many contents this process passes through at once, where it does."""
    waits: int = 4
    """How many requests this process holds at once until what they wait for has come."""
    configured_keys: Sequence[ConfiguredKey] = ()
    streams: BoundedSemaphore = field(init=False)
    """The free places for contents that are passed through."""
    final_videos: Waiting = field(init=False)
    """The requests that are held until their videos are final."""
    made_attempts: Waiting = field(init=False)
    """The requests that are held until their deliveries were tried once."""
    images: ImageReader = field(default_factory=lambda: ImageReader(at_once=2))
    client_requests_per_minute: int = 0
    """0: no limit."""
    open_access: bool = False
    """The bind is loopback: while there is no key at all, everybody there is the client `default`."""
    stopping: Callable[[], bool] = lambda: False
    """Whether this process is about to end and should get no more requests."""
    observe: Callable[[str, str, int, float], None] = unobserved
    """Told of every request: method, route, status, seconds."""
    wall: Clock = wall
    """The local clock, for signing links only; everything else runs on the database's."""
    monotonic: Clock = monotonic

    def __post_init__(self) -> None:
        """Make the places for contents and for requests that wait."""
        object.__setattr__(self, "streams", BoundedSemaphore(self.content_streams))
        places = BoundedSemaphore(self.waits)
        for name, finished in (("final_videos", self.queries.finished), ("made_attempts", self.queries.attempted)):
            waiting = Waiting(finished=finished, places=places, stopping=self.stopping, monotonic=self.monotonic)
            object.__setattr__(self, name, waiting)
