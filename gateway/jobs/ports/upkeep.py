"""Objects in the bucket and workers: what must not be left over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """An object that nothing names any more."""

    key: str
    sweeps: int


class Ledger(Protocol):
    """Every object that was ever begun, written before the first byte: what no job names is swept."""

    def begin(self, key: str, *, until: float, now: float) -> None:
        """Note an object about to be written; not named by a job at `until`, it is garbage."""

    def extend(self, key: str, *, until: float) -> bool:
        """The writing goes on; False where the sweep has taken it."""

    def discard(self, key: str, *, now: float) -> None:
        """The try is lost: sweep it."""

    def leftovers(self, *, limit: int, lease_s: float, now: float) -> Sequence[Leftover]:
        """Claim objects to be removed."""

    def swept(self, leftover: Leftover, *, now: float) -> None:
        """It was removed; looked at once more later, since an upload under way may land after its removal."""

    def retire(self, *, before: float, limit: int, now: float) -> int:
        """Hand the objects of videos that finished before an instant to the sweep and forget their prompts."""


class Workers(Protocol):
    """Who is alive, and what the dead held."""

    def join(self, worker: str, *, now: float) -> None:
        """Enter a worker, and take the lock that proves it alive."""

    def beat(self, worker: str, *, now: float) -> None:
        """Give a sign of life."""

    def bury(self, *, silent_since: float, poll_lease_s: float, now: float) -> int:
        """Release the claims of workers silent since then; of `submitting` only where the owner is proven dead."""

    def leave(self, worker: str, *, now: float) -> None:
        """End a worker in good order; what it still holds is due at once."""
