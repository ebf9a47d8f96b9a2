"""The simulated upstream as one object: its parts put together, started, stopped and questioned."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from flask import Flask

from gateway import clock
from gateway.demo import mp4
from gateway.demo.listener import Listener
from gateway.demo.simulator.allowance import Allowance
from gateway.demo.simulator.answers import Mischief
from gateway.demo.simulator.api import Api
from gateway.demo.simulator.books import Books
from gateway.demo.simulator.content import ContentServer
from gateway.demo.simulator.control import Control
from gateway.demo.simulator.dialects.registry import dialect_named
from gateway.demo.simulator.films import Film, Films
from gateway.demo.simulator.gates import Gates
from gateway.demo.simulator.journal import Journal
from gateway.demo.simulator.ledger import Ledger

if TYPE_CHECKING:
    from types import TracebackType

    from gateway.clock import Clock
    from gateway.demo.simulator.faults import Stage
    from gateway.demo.simulator.settings import SimulatorSettings

_MAX_FORM = 1 << 25


class Simulator:
    """A simulated upstream: a context manager, or `start` and `stop`, or `serve_forever`.

    The constructor raises ValueError for an unknown dialect or fault; starting raises OSError for a port that cannot
    be had and `mp4.EncoderMissing` without PyAV.
    """

    def __init__(
        self, settings: SimulatorSettings, *, wall: Clock = clock.wall, monotonic: Clock = clock.monotonic
    ) -> None:
        self.settings = settings
        self._dialect = dialect_named(settings.dialect)
        self._journal = Journal(settings.state)
        self._films = Films(fps=settings.fps)
        self._ledger = Ledger(settings=settings, journal=self._journal, wall=wall, monotonic=monotonic)
        self._ledger.adopt(films=self._films, habits=self._dialect.habits if settings.habits else ())
        self._gates = Gates(changed=self._ledger.held)
        self._ledger.holding = lambda: self._gates.holding
        mischief = Mischief(dialect=self._dialect, gates=self._gates)
        self._api = Api(
            settings=settings,
            dialect=self._dialect,
            ledger=self._ledger,
            films=self._films,
            mischief=mischief,
            contents=ContentServer(mischief=mischief),
            allowance=Allowance(requests=settings.requests_per_minute),
            wall=wall,
            monotonic=monotonic,
        )
        self._listener = Listener(app=self._app(), host=settings.host, port=settings.port)

    @property
    def url(self) -> str:
        """The root of the server, such as `http://127.0.0.1:8090`."""
        return self._listener.url

    @property
    def base_url(self) -> str:
        """What to set as the upstream's URL: the root and the dialect's path, such as `…/v1`."""
        return f"{self.url}{self._dialect.path}"

    def start(self) -> None:
        """Serve in a thread."""
        mp4.require()
        self._listener.start()

    def stop(self) -> None:
        """Stop at once: what is being answered is cut off."""
        self._gates.close()
        self._listener.stop()
        self._journal.close()

    def serve_forever(self, *, ready: Callable[[str], None] | None = None) -> None:
        """Serve in this thread; `ready` is called with the URL once the port is open."""
        mp4.require()
        self._listener.listen()
        if ready is not None:
            ready(self.url)
        self._listener.serve_forever()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- the strings, also under /_simulator ---------------------------------------------------------------------------

    def books(self) -> Books:
        """Return what happened so far."""
        return self._ledger.books()

    def wait_for(self, wanted: Callable[[Books], bool], *, timeout_s: float = 10.0) -> Books | None:
        """Wait until the books are as wanted and return them; None where they did not become so in time."""
        return self._ledger.wait_for(wanted, timeout_s)

    def faults(self, *words: str) -> None:
        """Replace the faults of the server. Raises FaultError."""
        self._ledger.set_faults(words)

    def render(self, video_id: str | None = None, *, progress: float = 100.0) -> int:
        """Bring one video, or all in progress, to that many percent at once; return how many that were."""
        return self._ledger.render(video_id, progress)

    def release(self, stage: Stage | None = None) -> int:
        """Let go the answers that are held back; return how many that were."""
        return self._gates.release(stage)

    def content_of(self, video_id: str) -> Film | None:
        """Return the content that a video has or will have: `length`, `sha256()`, `blocks(start, stop)`."""
        video = self._ledger.any(video_id)
        return None if video is None else self._api.film_of(video)

    def _app(self) -> Flask:
        app = Flask(__name__)
        # A picture may come as a data URL in a field of a form.
        app.config["MAX_FORM_MEMORY_SIZE"] = _MAX_FORM
        app.json.sort_keys = False  # type: ignore[attr-defined]
        self._api.register(app)
        Control(strings=self).register(app)
        return app
