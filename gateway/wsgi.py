"""The API under gunicorn: threads, not processes, wait for slow clients, and every limit is set here."""

from __future__ import annotations

import gc
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from gateway.api.patient import PatientWorker
from gateway.observability.gunicorn_log import PropagatingLogger
from gateway.settings import Settings
from gateway.wiring.api import api_app
from gateway.wiring.installation import Installation

_GRACE_S = 10
"""How long requests under way may take after SIGTERM."""


def gunicorn_options(settings: Settings) -> dict[str, Any]:
    """Return gunicorn's settings."""
    return {
        "bind": [str(settings.bind)],
        "workers": settings.workers,
        "threads": settings.threads,
        "worker_class": PatientWorker,
        # Without it all kept-alive connections of an idle wave may end up with one of the workers.
        "reuse_port": True,
        # Made once and forked: the workers share its memory. Nothing of it is open before its first request.
        "preload_app": True,
        # A second gunicorn of the same user would silently take its path over.
        "control_socket_disable": True,
        "timeout": 60,
        "graceful_timeout": _GRACE_S,
        "keepalive": 30,
        "limit_request_line": 8190,
        "limit_request_fields": 64,
        "limit_request_field_size": 8190,
        "logger_class": PropagatingLogger,
        "accesslog": None,
        "child_exit": _forget_counters,
        "proc_name": "gateway-api",
    }


def _forget_counters(_server: object, worker: Any) -> None:
    from prometheus_client import multiprocess  # noqa: PLC0415 - only where a worker ended

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn run from this process instead of from its own command line."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._worker: Any = None
        super().__init__()

    def load_config(self) -> None:
        """Take our options, and none of a configuration file or of GUNICORN_CMD_ARGS."""
        for name, value in gunicorn_options(self._installation.settings).items():
            self.cfg.set(name, value)
        self.cfg.set("post_fork", self._forked)

    def _forked(self, _server: object, worker: Any) -> None:
        self._worker = worker

    def load(self) -> Flask:
        """Make the app, once, before the workers are forked."""
        app = api_app(self._installation, stopping=self._stopping)
        # Else the first collection in each worker writes to every page that they share.
        gc.collect()
        gc.freeze()
        return app

    def _stopping(self) -> bool:
        return self._worker is not None and not self._worker.alive


def run_gunicorn(installation: Installation) -> None:
    """Serve until a signal. Does not return. Nothing of the installation may be open: it is forked."""
    _Server(installation).run()
