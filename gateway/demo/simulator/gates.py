"""Answers that are held back until somebody releases them, so that a test can act at exactly that moment."""

from __future__ import annotations

import threading
from typing import Protocol

from gateway.demo.simulator.faults import Stage


class Changed(Protocol):
    """Called after every change, outside any lock of the gates."""

    def __call__(self, *, more: bool) -> None:
        """Note that an answer is held back, or no more."""


class Gates:
    """Holds threads by the stage they are at."""

    def __init__(self, *, changed: Changed) -> None:
        self._changed = changed
        self._held: list[tuple[Stage, threading.Event]] = []
        self._open = True

    @property
    def holding(self) -> list[str]:
        """The stage of everything that is held now, the oldest first."""
        return [str(stage) for stage, _ in self._held]

    def hold(self, stage: Stage, *, longest_s: float = 600.0) -> bool:
        """Wait for the release; False where the simulator stops instead."""
        gate = threading.Event()
        self._held.append((stage, gate))
        self._changed(more=True)
        if self._open:
            gate.wait(longest_s)
        self._held.remove((stage, gate))
        self._changed(more=False)
        return self._open

    def release(self, stage: Stage | None = None) -> int:
        """Let go what is held now, of one stage or all; return how many that were."""
        gates = [gate for held, gate in list(self._held) if stage in {None, held}]
        for gate in gates:
            gate.set()
        return len(gates)

    def close(self) -> None:
        """Let everything go without an answer."""
        self._open = False
        self.release()
