"""One module a scenario, each with `run(scale)`; the order is that of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tests.bench.measure import Row, Scale
from tests.bench.scenarios import (
    accept,
    callbacks,
    crowd,
    hour,
    latency,
    litellm,
    memory,
    million,
    pictures,
    polls,
    read,
    transfer,
)

SCENARIOS: Mapping[str, Callable[[Scale], Sequence[Row]]] = {
    "accept": accept.run,
    "pictures": pictures.run,
    "read": read.run,
    "million": million.run,
    "polls": polls.run,
    "crowd": crowd.run,
    "transfer": transfer.run,
    "callbacks": callbacks.run,
    "latency": latency.run,
    "memory": memory.run,
    "hour": hour.run,
}

BESIDE_PEERS: Mapping[str, Callable[[Scale], Sequence[Row]]] = {"litellm": litellm.run}
"""Those that need another program installed first, and run only when they are asked for."""
