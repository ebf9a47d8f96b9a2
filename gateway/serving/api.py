"""The API as a program."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from gateway.serving.preparing import begin_logs, bring_up_to_date, proven
from gateway.settings import Settings
from gateway.supervisor import await_preparation, die_with_parent, free_port
from gateway.wsgi import run_gunicorn

log = logging.getLogger(__name__)


def serve_api(settings: Settings, cwd: Path) -> None:
    """Run the API until a signal. Does not return."""
    die_with_parent()
    begin_logs(settings)
    settings = replace(settings, bind=settings.bind._replace(port=free_port(*settings.bind)))
    await_preparation()
    installation = proven(settings, cwd)
    bring_up_to_date(installation)
    installation.database.close()
    log.info("The API listens on %s.", settings.bind)
    run_gunicorn(installation)
