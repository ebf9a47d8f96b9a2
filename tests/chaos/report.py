"""What kind of chaos run is ordered, and what came of it: the figures as they are printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.audit import Findings


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What kind of run."""

    database: str
    seed: int
    seconds: float
    long: bool
    videos_per_s: float
    patience_s: float
    """For everything to come to its end once nothing is broken any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What came of it."""

    order: Order
    findings: Findings
    videos: int
    kills: Mapping[str, int]
    others: Mapping[str, int]
    answers: Mapping[str, int]
    starts: int
    broken_connections: Mapping[str, int]
    not_possible: str
    unsettled: Mapping[str, int]
    took_s: float
    drained_s: float
    logs: Path | None = None

    @property
    def balanced(self) -> bool:
        return not self.unsettled and not any(found for _, found in self.findings.wrong())

    def lines(self) -> Iterator[str]:
        order = self.order
        yield f"{order.database}, seed {order.seed}: {'balanced' if self.balanced else 'DOES NOT BALANCE'}"
        yield f"  videos {self.videos}, in {self.took_s:.0f} s, drained in {self.drained_s:.0f} s"
        yield f"  kills {sum(self.kills.values())}: {_told(self.kills)}"
        yield f"  also {_told(self.others)}; process starts {self.starts}"
        yield f"  connections broken by chance {_told(self.broken_connections)}"
        yield f"  ends {_told(self.findings.known)}"
        yield f"  answers to clients {_told(self.answers)}"
        if self.not_possible:
            yield f"  NOT TRIED HERE: {self.not_possible}"
        if self.logs is not None:
            yield f"  what its processes wrote lies in {self.logs}"
        if self.unsettled:
            yield f"  NEVER SETTLED: {_told(self.unsettled)}"
        for name, found in self.findings.wrong():
            yield f"  {name} {len(found)}"
            yield from (f"    {one}" for one in found[:20])


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: -one[1])) or "nothing"
