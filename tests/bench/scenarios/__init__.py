"""One module a scenario, each with `run(scale)`; the order is that of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tests.bench.measure import Row, Scale
from tests.bench.scenarios import accept, callbacks, crowd, latency, memory, polls, read, transfer

SCENARIOS: Mapping[str, Callable[[Scale], Sequence[Row]]] = {
    "accept": accept.run,
    "read": read.run,
    "polls": polls.run,
    "crowd": crowd.run,
    "transfer": transfer.run,
    "callbacks": callbacks.run,
    "latency": latency.run,
    "memory": memory.run,
}
