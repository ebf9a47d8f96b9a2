"""`gateway serve`: the API and a worker of one machine under one parent.

The parent imports no room of the house: it stays as small as it can be, and whatever needs more runs in a child.
"""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from pathlib import Path

from gateway.observability.logs import configure_logs
from gateway.observability.metrics_dir import shared_counters
from gateway.settings import Settings
from gateway.supervisor import AlreadyRunning, ChildSpec, Supervisor, die_with_parent, free_port, only_one

log = logging.getLogger(__name__)


def serve_all(settings: Settings, cwd: Path) -> int:
    """Run the API and a worker as children until a signal or until one of them ends; returns the exit status."""
    die_with_parent()
    configure_logs(level=settings.log_level, form=settings.log_format)
    try:
        with ExitStack() as held:
            if settings.on_sqlite:
                held.enter_context(only_one(settings.sqlite_file(cwd)))
            return _run(settings)
    except AlreadyRunning as error:
        log.error("%s", error)  # noqa: TRY400 - the message is all there is to know
        return 1


def _run(settings: Settings) -> int:
    # The children's links must name the port, too.
    bind = str(settings.bind._replace(port=free_port(*settings.bind)))
    # A child prepares, whose memory goes with it; it says itself what is wrong.
    preparation, *children = (
        ChildSpec(name=name, command=[sys.executable, "-m", "gateway", name], environ={"GATEWAY_BIND": bind})
        for name in ("prepare", "api", "worker")
    )
    with shared_counters():
        return Supervisor(children, preparation=preparation, log=log.warning).run()
