"""`gateway serve`: the API and a worker of one machine under one parent.

The parent imports no room of the house: it stays as small as it can be, and whatever needs more runs in a child.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from gateway.observability.logs import configure_logs
from gateway.observability.metrics_dir import shared_counters
from gateway.settings import Settings
from gateway.supervisor import PARENT, AlreadyRunning, ChildSpec, Supervisor, die_with_parent, free_port, only_one

log = logging.getLogger(__name__)


def serve_all(settings: Settings, cwd: Path) -> int:
    """Run the API and a worker as children until a signal or until one of them ends; returns the exit status."""
    die_with_parent()
    configure_logs(level=settings.log_level, form=settings.log_format)
    try:
        with ExitStack() as held:
            if settings.on_sqlite:
                held.enter_context(only_one(settings.sqlite_file(cwd)))
            return _prepared() or _run_both(settings)
    except AlreadyRunning as error:
        log.error("%s", error)  # noqa: TRY400 - the message is all there is to know
        return 1


def _prepared() -> int:
    """Let a child prepare, whose memory goes with it; it says itself what is wrong. Returns 0, or an exit status."""
    environ = {**os.environ, PARENT: str(os.getpid())}
    status = subprocess.run(_command("prepare"), env=environ, check=False).returncode
    return status if status >= 0 else 1


def _run_both(settings: Settings) -> int:
    # The children's links must name the port, too.
    bind = str(settings.bind._replace(port=free_port(*settings.bind)))
    children = [
        ChildSpec(name=role, command=_command(role), environ={"GATEWAY_BIND": bind}) for role in ("api", "worker")
    ]
    with shared_counters():
        return Supervisor(children, log=log.warning).run()


def _command(name: str) -> list[str]:
    return [sys.executable, "-m", "gateway", name]
