"""Group commit: of the threads that want the same thing at once, one does it for all, in one transaction."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from gateway.jobs.errors import Unavailable

Wish = TypeVar("Wish")
Outcome = TypeVar("Outcome")


class _Place(Generic[Wish, Outcome]):
    """One thread's place in the queue."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.called = threading.Lock()
        self.called.acquire()
        self.leads = False
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None


class Together(Generic[Wish, Outcome]):
    """Whoever comes while nobody acts, acts at once and alone; who comes meanwhile waits, and then one acts for them.

    So nobody waits for others to come, and the more there are at once, the less each costs. `act` takes the wishes in
    the order in which they came, at most so many, and returns an outcome for each.
    """

    def __init__(self, act: Callable[[Sequence[Wish]], Sequence[Outcome]], *, most: int, patience_s: float) -> None:
        self._act = act
        self._most = most
        self._patience_s = patience_s
        self._mutex = threading.Lock()
        self._queue: deque[_Place[Wish, Outcome]] = deque()
        self._led = False

    def do(self, wish: Wish) -> Outcome:
        """Return what came of it, once that is certain. Raises what `act` does, and Unavailable if no turn comes."""
        mine: _Place[Wish, Outcome] = _Place(wish)
        with self._mutex:
            self._queue.append(mine)
            mine.leads, self._led = not self._led, True
        if not mine.leads:
            self._wait(mine)
        if mine.leads:
            self._lead()
        if mine.error is not None:
            raise mine.error
        return mine.outcome  # type: ignore[return-value]  # where there is no error, there is an outcome

    def _wait(self, mine: _Place[Wish, Outcome]) -> None:
        if mine.called.acquire(timeout=self._patience_s):
            return
        with self._mutex:
            if mine in self._queue and not mine.leads:
                self._queue.remove(mine)
                raise Unavailable("The database is busy.", code="unavailable")
        # Somebody acts for it right now, or it was just called to lead: what comes of it has to be known.
        mine.called.acquire()

    def _lead(self) -> None:
        """Act for those who wait, oneself first among them, and call who leads next."""
        with self._mutex:
            served = [self._queue.popleft() for _ in range(min(self._most, len(self._queue)))]
        try:
            outcomes = self._act([place.wish for place in served])
            for place, outcome in zip(served, outcomes, strict=True):
                place.outcome = outcome
        except BaseException as error:  # noqa: BLE001 - everybody served has to hear of it, whatever it is
            for place in served:
                place.error = error
        with self._mutex:
            following = self._queue[0] if self._queue else None
            self._led = following is not None
            if following is not None:
                following.leads = True
        for place in served:
            place.leads = False
            place.called.release()
        if following is not None:
            following.called.release()
