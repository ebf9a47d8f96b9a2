"""Gunicorn's own lines through the same handler as all others."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.glogging import Logger


class PropagatingLogger(Logger):  # type: ignore[misc]  # gunicorn publishes no types
    """For gunicorn's `logger_class`: hands every line to the root logger, which `configure_logs` has set up before."""

    def setup(self, cfg: Any) -> None:
        """Take gunicorn's own handlers away again; levels stay the root logger's."""
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True
            log.setLevel(logging.NOTSET)
