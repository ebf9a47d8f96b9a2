"""Turns: what a thread has in hand at one receiver, and at which receivers this worker's threads are."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from gateway.clock import Clock
from gateway.jobs.ports import Delivery, Made

TURN_S = 0.25
"""For how long a thread goes on with what is due for one receiver before others get their turn."""

MOST_BEGUN = 32
LEAST_BEGUN = 2
_SMOOTHED_OVER = 64
"""Attempts, not turns: so a quick receiver counts for more than many slow ones, which lose little by its measure."""


class Turn:
    """The attempts that were begun together at one receiver: those made, and those not come to yet.

    Its own thread makes them one after the other. Where one of them takes long, another thread may write down the
    former and give back the latter meanwhile, so whoever does either holds `lock`.
    """

    def __init__(self, batch: Sequence[Delivery]) -> None:
        self.lock = threading.Lock()
        self.claimed = batch
        self.receiver = (batch[0].client, batch[0].receiver)
        self.moment: Clock = lambda: -math.inf
        self._until = math.inf
        self.made: list[Made] = []
        self.rest: deque[Delivery] = deque()
        self.attempts = 0

    def begin(self, moment: Clock) -> None:
        """Its thread begins; waiting for one took nothing of its time."""
        self._until = moment() + TURN_S
        self.moment = moment

    @property
    def over(self) -> bool:
        """Whether its time has passed."""
        return self.moment() >= self._until

    def begun(self, batch: Sequence[Delivery]) -> None:
        """These attempts are begun: what was made before is written down."""
        self.made = []
        self.rest = deque(batch)

    def next(self) -> Delivery | None:
        """Take the next attempt to make, or None."""
        with self.lock:
            if not self.rest:
                return None
            self.attempts += 1
            return self.rest.popleft()

    def note(self, made: Made) -> None:
        """One was delivered."""
        with self.lock:
            self.made.append(made)


class Turns:
    """The turns under way. Safe from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: set[Turn] = set()
        self._attempts_a_turn = float(MOST_BEGUN)
        self.more_due = False
        """Whether the last claim took as much as it might: then there is perhaps more."""

    @property
    def begun_at_once(self) -> int:
        """How many attempts to begin in one transaction: about what a turn has time for.

        What is begun and not made is written three times for nothing; and it is what a process that dies makes again.
        """
        return max(LEAST_BEGUN, min(MOST_BEGUN, round(self._attempts_a_turn)))

    def enter(self, batch: Sequence[Delivery]) -> Turn:
        """Return the turn of a batch that was just claimed: from then on it takes a place at its receiver."""
        turn = Turn(batch)
        with self._lock:
            self._turns.add(turn)
        return turn

    def end(self, turn: Turn) -> None:
        """Its place at the receiver is free."""
        with self._lock:
            self._turns.discard(turn)
            if turn.over:  # else it only tells of how many there were
                weight = min(1.0, turn.attempts / _SMOOTHED_OVER)
                self._attempts_a_turn += (turn.attempts - self._attempts_a_turn) * weight

    def busy(self) -> int:
        """Return how many turns have time left: whose time is over waits for a receiver, or is about to end."""
        with self._lock:
            return sum(not turn.over for turn in self._turns)

    def in_hand(self) -> Mapping[tuple[str, str], int]:
        """Return how many turns there are at each receiver, by client and receiver."""
        with self._lock:
            return Counter(turn.receiver for turn in self._turns)

    def held_up(self) -> Iterator[Turn]:
        """Yield the turns whose time is over and whose thread is busy with an attempt, each locked meanwhile."""
        with self._lock:
            over = [turn for turn in self._turns if turn.over]
        for turn in over:
            # Whoever has it is writing already.
            with _unless_held(turn.lock) as ours:
                if ours and (turn.made or turn.rest):
                    yield turn


@contextmanager
def _unless_held(lock: threading.Lock) -> Iterator[bool]:
    ours = lock.acquire(blocking=False)
    try:
        yield ours
    finally:
        if ours:
            lock.release()
