"""Wake-ups: what is to be asked for work before the metronome's next tick, so that no step waits for the clock."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from gateway.clock import Clock, monotonic
from gateway.jobs.job import Status
from gateway.jobs.lifecycle import Transition
from gateway.webhooks import events

SUBMIT = "submit"
TRANSFER = "transfer"
DELIVER = "deliver"

APART_S = 0.01
"""A step is not asked again sooner than this, so that what comes due singly is claimed together, and one transaction
is the price of many. Only a pool that has become roomy does not wait for it."""

_ROOMY = 4
"""A pool whose last claim was full is roomy once a quarter of what was under way has ended: the rest keeps it busy
meanwhile."""


class Wakes:
    """The names of the steps that are wanted, and since when. Safe from many threads; one waits, any may wake.

    A step that was asked and had nothing, or could not claim at all, is left to the metronome: nobody spins.
    """

    def __init__(self, *, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._wanted: dict[str, float] = {}
        self._asked_at: dict[str, float] = {}
        self._ends_until_roomy: dict[str, int] = {}
        """Of the steps with more to do than their pool had places for."""
        self._closed = False

    def wake(self, *names: str) -> None:
        """Something came due for these steps: ask them at once, or a moment after they were asked last."""
        with self._changed:
            for name in names:
                self._want(name, self._soon(name))

    def beat(self, names: Sequence[str]) -> None:
        """Ask all of these now: the metronome's tick, for what other processes did and for what time brings."""
        with self._changed:
            for name in names:
                self._want(name, self._clock())

    def begun(self, name: str, *, full: bool, under_way: int) -> None:
        """A step was asked. Where its pool is `full` now, it is asked again as soon as there is room."""
        with self._changed:
            if full:
                self._ends_until_roomy[name] = max(1, under_way // _ROOMY)
            else:
                self._ends_until_roomy.pop(name, None)

    def freed(self, name: str) -> None:
        """A piece of a step's work has ended and its place is free."""
        with self._changed:
            if name not in self._ends_until_roomy:
                return
            self._ends_until_roomy[name] -= 1
            self._want(name, self._clock() if self._ends_until_roomy[name] <= 0 else self._soon(name))

    def wait(self) -> Sequence[str] | None:
        """Block until steps are wanted and return their names, or None once closed."""
        with self._changed:
            while not self._closed:
                now = self._clock()
                ready = [name for name, at in self._wanted.items() if at <= now]
                if ready:
                    for name in ready:
                        del self._wanted[name]
                        self._asked_at[name] = now
                    return ready
                self._changed.wait(min(self._wanted.values()) - now if self._wanted else None)
            return None

    def close(self) -> None:
        """Let whoever waits go; nothing is wanted any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _soon(self, name: str) -> float:
        return max(self._clock(), self._asked_at.get(name, 0.0) + APART_S)

    def _want(self, name: str, at: float) -> None:
        known = self._wanted.get(name)
        if known is None or at < known:
            self._wanted[name] = at
            self._changed.notify()


def made_due(transition: Transition) -> Sequence[str]:
    """Return the names of the steps for which a change, once written, has made something due."""
    names = []
    if transition.moved and transition.after.status is Status.STORING:
        names.append(TRANSFER)
    if events.type_of(transition) is not None:
        names.append(DELIVER)
    if transition.frees_slot:
        names.append(SUBMIT)
    return names
