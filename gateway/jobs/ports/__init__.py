"""What the core, the API and the worker ask of the database. `gateway.db` is the one implementation, on two engines.

Every instant is Unix seconds by the database's clock; `now` is read once a tick or request and passed on.
"""

from gateway.jobs.ports.accepting import (
    Acceptance,
    Inbox,
    RateLimits,
)
from gateway.jobs.ports.changing import (
    Recorder,
)
from gateway.jobs.ports.claiming import (
    Claims,
    Lane,
    Lanes,
    Narrowed,
    Submission,
    Submissions,
)
from gateway.jobs.ports.clients import (
    ApiKey,
    Caller,
    Clients,
)
from gateway.jobs.ports.delivering import (
    AttemptResult,
    Delivery,
    Made,
    Outbox,
)
from gateway.jobs.ports.endpoints import (
    Endpoint,
    EndpointChange,
    Endpoints,
)
from gateway.jobs.ports.reading import (
    Attempt,
    DeliveryFilter,
    DeliveryRecord,
    Event,
    KeyState,
    Queries,
    VideoFilter,
    WorkerBeat,
)
from gateway.jobs.ports.upkeep import (
    Ledger,
    Leftover,
    Workers,
)

__all__ = [
    "Acceptance",
    "ApiKey",
    "Attempt",
    "AttemptResult",
    "Caller",
    "Claims",
    "Clients",
    "Delivery",
    "DeliveryFilter",
    "DeliveryRecord",
    "Endpoint",
    "EndpointChange",
    "Endpoints",
    "Event",
    "Inbox",
    "KeyState",
    "Lane",
    "Lanes",
    "Ledger",
    "Leftover",
    "Made",
    "Narrowed",
    "Outbox",
    "Queries",
    "RateLimits",
    "Recorder",
    "Submission",
    "Submissions",
    "VideoFilter",
    "WorkerBeat",
    "Workers",
]
