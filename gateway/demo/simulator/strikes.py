"""Counts how often each fault has struck, so that three times are three times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.demo.simulator.faults import Fault, Stage
    from gateway.demo.simulator.journal import Journal

SERVER = "server"
"""The scope of the faults of the whole server."""


class Strikes:
    """The counters, by scope: a video, a key and prompt, or the server. Used under the ledger's lock."""

    def __init__(self, *, journal: Journal) -> None:
        self._journal = journal
        self._counts: Counter[str] = Counter({name: entry["count"] for name, entry in journal.all("fault")})

    def next(self, stage: Stage, *, scope: str, plan: Sequence[Fault]) -> Fault | None:
        """Count one request and return the first fault of the plan that is not used up."""
        nth = self._tick(f"{scope} {stage}")
        for number, fault in enumerate(plan):
            name = f"{scope} {number} {fault.row.name}"
            spent = fault.times is not None and self._counts[name] >= fault.times
            if fault.row.stage is stage and nth >= fault.first and not spent:
                self._tick(name)
                return fault
        return None

    def forget(self, scope: str) -> None:
        """Begin a scope anew."""
        prefix = f"{scope} "
        for name in [name for name in self._counts if name.startswith(prefix)]:
            del self._counts[name]
        self._journal.forget("fault", prefix=prefix)

    def _tick(self, name: str) -> int:
        self._counts[name] += 1
        self._journal.put("fault", name, {"count": self._counts[name]})
        return self._counts[name]
