"""What happens to an installation, and when: one disaster after the other, drawn from a seed."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.demo.simulator import Simulator
from tests.chaos.crew import Crew, Target
from tests.chaos.databases import Disaster
from tests.chaos.relay import Relay

_WEATHER = (
    ("poll-503=1*10",), ("poll-reset*10", "content-reset*3"), ("list-500*3",), ("poll-html*10",), ("list-reset*3",),
    ("content-503=1*5",), ("list-cut*2", "poll-cut*5"), ("poll-429=1*10",),
)  # fmt: skip
_FREEZES_AT_ONCE = 2
_AT_ONCE = 0.15
_OFTEN = {"gunicorn worker": 3, "worker": 2}
"""Those at whose death work is lost, and not only time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How thick it comes. Seconds."""

    breath: int
    """Videos accepted between two disasters, on average: else a slow machine would only ever start processes."""
    longest_breath_s: float
    longest_freeze_s: float
    longest_outage_s: float


class Disasters:
    """Runs until told to stop; counts what it did."""

    def __init__(
        self,
        *,
        crew: Crew,
        database: Mapping[str, Disaster],
        relays: Mapping[str, Relay],
        simulator: Simulator,
        chance: random.Random,
        pace: Pace,
        accepted: Callable[[], int],
        pause: threading.Event,
    ) -> None:
        self._crew = crew
        self._database = database
        self._relays = relays
        self._simulator = simulator
        self._chance = chance
        self._pace = pace
        self._accepted = accepted
        self._pause = pause
        self._running: list[threading.Thread] = []
        self._freezing = threading.Semaphore(_FREEZES_AT_ONCE)
        self._database_down = threading.Lock()
        self.kills: Counter[str] = Counter()
        self.others: Counter[str] = Counter()

    def run(self, seconds: float) -> None:
        """Let things happen for so long, and end what still goes on then."""
        acts: Sequence[tuple[Callable[[], None], int]] = (
            (self._kill, 62),
            (self._freeze, 12),
            (self._cut, 12),
            (self._hit_database, 9),
            (self._weather, 5),
        )
        until = time.monotonic() + seconds
        choose = [act for act, weight in acts for _ in range(weight)]
        while time.monotonic() < until:
            self._breathe(until)
            self._chance.choice(choose)()
        self.end()

    def _breathe(self, until: float) -> None:
        """Wait for some videos to be accepted, or for some seconds; now and then strike at once, into the start."""
        if self._chance.random() < _AT_ONCE:
            return
        wanted = self._accepted() + 1 + round(self._chance.expovariate(1 / self._pace.breath))
        until = min(until, time.monotonic() + self._pace.longest_breath_s)
        while self._accepted() < wanted and time.monotonic() < until:
            self._pause.wait(0.05)

    def end(self) -> None:
        """End everything that still goes on."""
        self._pause.set()
        for thread in self._running:
            thread.join()
        self._simulator.faults()
        for relay in self._relays.values():
            relay.calm()

    def _kill(self) -> None:
        roll = self._chance.random()
        if roll < 0.03:
            self.kills[self._crew.kill_all()] += 1
        elif roll < 0.15:
            self.kills[self._crew.kill_tree(self._chance)] += 1
        elif target := self._target():
            self._crew.kill(target)
            self.kills[target.role] += 1

    def _target(self) -> Target | None:
        targets = self._crew.targets()
        roles = sorted({target.role for target in targets})
        if not roles:
            return None
        # By role first: else the one that has the most processes would be hit the most.
        role = self._chance.choices(roles, [_OFTEN.get(role, 1) for role in roles])[0]
        return self._chance.choice([target for target in targets if target.role == role])

    def _freeze(self) -> None:
        target = self._target()
        if target is None or not self._freezing.acquire(blocking=False):
            return
        seconds = min(self._chance.expovariate(3 / self._pace.longest_freeze_s), self._pace.longest_freeze_s)
        dies = self._chance.random() < 0.2
        self.others[f"frozen {target.role}"] += 1

        def freeze() -> None:
            try:
                self._crew.freeze(target, seconds, self._pause, dies=dies)
            finally:
                self._freezing.release()

        if dies:
            self.kills[f"frozen {target.role}"] += 1
        self._start(freeze)

    def _cut(self) -> None:
        name = self._chance.choice(sorted(self._relays))
        self._relays[name].cut()
        self.others[f"cut from {name}"] += 1

    def _hit_database(self) -> None:
        name = self._chance.choice(sorted(self._database))
        seconds = self._chance.uniform(0.2, self._pace.longest_outage_s)
        if not self._database_down.acquire(blocking=False):
            return
        self.others[f"database {name}"] += 1

        def hit() -> None:
            try:
                self._database[name](seconds)
            finally:
                self._database_down.release()

        self._start(hit)

    def _weather(self) -> None:
        self._simulator.faults(*self._chance.choice(_WEATHER))
        self.others["bad weather upstream"] += 1

    def _start(self, act: Callable[[], None]) -> None:
        self._running = [thread for thread in self._running if thread.is_alive()]
        thread = threading.Thread(target=act, name="disaster")
        thread.start()
        self._running.append(thread)
