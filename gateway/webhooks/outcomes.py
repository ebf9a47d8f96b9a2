"""What one attempt at a callback can bring."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.jobs.ports import AttemptResult


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivered:
    """A 2xx within the time limit."""

    result: AttemptResult
    peer: str | None = None
    """The address that was connected to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """Anything else: try again. `retry_after_s` is what the receiver asked for, if it did."""

    result: AttemptResult
    retry_after_s: float | None = None
    peer: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Gone:
    """410: the receiver wants no more of it."""

    result: AttemptResult
    peer: str | None = None


Outcome = Delivered | Retry | Gone
