"""Log lines: one format for our own and for every library's, on one stream, redacted last before they are written."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.types import Processor

from gateway.observability.redaction import redact_fields

# At info these tell of every tick and connection, some with URLs.
_TALKATIVE = ("apscheduler", "boto3", "botocore", "s3transfer", "urllib3", "werkzeug", "alembic", "PIL")


def configure_logs(*, level: str = "info", form: str = "", stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's log lines to `stream` (standard error).

    `form` is `console` or `json`; left empty, `console` where the stream is a terminal. May be called again.
    """
    out = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _handler(out)
    handler.setFormatter(_formatter(shared, _is_console(form, out), colours=out.isatty()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # It warns of headers it can't read with the whole URL, and that of a presigned link or a callback is a secret.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # It warns at every tick that is left out because the one before still runs: on a busy machine five times a second.
    logging.getLogger("apscheduler.scheduler").setLevel(max(logging.ERROR, root.level))
    logging.captureWarnings(capture=True)


class _Descriptor(logging.Handler):
    """Writes each line at once, in one call of the system, which needs no lock.

    The usual handler formats and writes under one: every thread of the API waited there for all others, once a request.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def createLock(self) -> None:  # noqa: N802 - the parent's name
        """Make none."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Write what passes the filters. The parent's takes the lock, and from Python 3.13 on does not take None."""
        passed = self.filter(record)
        if passed:
            self.emit(record)
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, whole."""
        try:
            left = f"{self.format(record)}\n".encode(errors="backslashreplace")
            while left:
                left = left[os.write(self._descriptor, left) :]
        except Exception:  # noqa: BLE001 - a log that can't be written must not stop the work
            self.handleError(record)


def _handler(stream: TextIO) -> logging.Handler:
    try:
        return _Descriptor(stream.fileno())
    except OSError:  # a stream that is in memory alone
        return logging.StreamHandler(stream)


def _is_console(form: str, stream: TextIO) -> bool:
    return form == "console" or (not form and stream.isatty())


def _formatter(shared: list[Processor], console: bool, *, colours: bool) -> logging.Formatter:  # noqa: FBT001
    last: list[Processor] = (
        # No rich tracebacks: they print local variables, and those hold keys.
        [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer(_as_json)]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _redacted,
            *last,
        ],
    )


# Made once: structlog's own way makes one for each line, at a tenth of the line's price.
_ENCODER = json.JSONEncoder(sort_keys=True, default=repr)


def _as_json(fields: MutableMapping[str, Any], **_options: object) -> str:
    return _ENCODER.encode(fields)


def _redacted(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> dict[str, object]:
    return redact_fields(fields)
