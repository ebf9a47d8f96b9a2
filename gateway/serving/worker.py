"""The worker as a program."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from gateway.serving.preparing import begin_logs, bring_up_to_date, check_upstreams, proven
from gateway.serving.stopping import stop_event
from gateway.settings import Settings
from gateway.supervisor import await_preparation, die_with_parent
from gateway.wiring.worker import worker_process


def serve_worker(settings: Settings, cwd: Path) -> None:
    """Run a worker until a signal."""
    die_with_parent()
    begin_logs(settings)
    await_preparation()
    stopping = stop_event()
    installation = proven(settings, cwd)
    bring_up_to_date(installation)
    check_upstreams(installation)
    worker_process(installation, stopping=stopping).run()
    # Threads that did not finish in time must not keep the process: their rows come back by lease or proof of death.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)
