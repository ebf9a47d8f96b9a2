"""The measuring core: contenders taken in turn, repetition by repetition, and the rows that come of it."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How long and how often: the quick form, or the full one."""

    quick: bool

    @property
    def repetitions(self) -> int:
        return 3 if self.quick else 5

    @property
    def slice_s(self) -> float:
        """For how long one contender runs in one repetition, where time is what bounds it."""
        return 1.5 if self.quick else 5.0

    def pick(self, quick: int, full: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What issue and README promise: a ratio to the limit of at least so much, or a figure below so much."""

    kind: Literal["ratio", "below"]
    value: float

    def text(self, unit: str) -> str:
        return f"≥ {self.value:.2f}" if self.kind == "ratio" else f"< {self.value:g} {unit}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the report: our samples beside the limit's of the same repetitions."""

    what: str
    unit: str
    ours: Sequence[float]
    limit: Sequence[float] = ()
    of: str = ""
    """What the limit is."""
    target: Target | None = None
    more: Mapping[str, object] = field(default_factory=dict)
    """What else was seen, for the JSON alone."""

    @property
    def ratios(self) -> Sequence[float]:
        """Ours over the limit's in each repetition: neighbours on the same cores slow both sides of a pair."""
        return [ours / limit for ours, limit in zip(self.ours, self.limit, strict=False) if limit]

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        if self.target.kind == "below":
            return statistics.median(self.ours) < self.target.value
        return statistics.median(self.ratios) >= self.target.value


def alternate(contenders: Mapping[str, Callable[[], float]], *, repetitions: int) -> dict[str, list[float]]:
    """Run every contender once in each repetition, A B A B; return each one's samples."""
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repetitions):
        for name, run in contenders.items():
            samples[name].append(run())
            say(f"  {name}: {samples[name][-1]:.4g}")
    return samples


def check(done: bool, what: str) -> None:
    """Stop the run where the work was not really done: a figure for it would be a lie."""
    if not done:
        raise WorkNotDone(what)


class WorkNotDone(Exception):
    """A contender did not do what it was timed for."""


def eventually(met: Callable[[], bool], what: str, *, timeout_s: float = 30.0) -> None:
    """Wait for something that sends no signal. Raises WorkNotDone."""
    until = time.monotonic() + timeout_s
    while not met():
        check(time.monotonic() < until, f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)


def say(line: str) -> None:
    """Tell whoever waits how far it is."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - a program's own output
