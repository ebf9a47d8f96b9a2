"""Log lines: one format for our own and for every library's, on one stream, redacted last before they are written."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

from gateway.observability.redaction import is_harmless, redact_fields

# At info these tell of every tick and connection, some with URLs.
_TALKATIVE = ("apscheduler", "boto3", "botocore", "s3transfer", "urllib3", "werkzeug", "alembic", "PIL")


def configure_logs(*, level: str = "info", form: str = "", stream: TextIO | None = None) -> None:
    """Send every log line to `stream` (standard error).

    `form` is `console` or `json`; left empty, `console` where the stream is a terminal. May be called again.
    """
    out = sys.stderr if stream is None else stream
    handler = _handler(out)
    handler.setFormatter(_console(colours=out.isatty()) if _is_console(form, out) else _JsonLines())
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


class _JsonLines(logging.Formatter):
    """One JSON object a line, for machines.

    Every request writes one, and a logging library's chain of processors takes a fourth of all that a look at a video
    takes: it is long, and drives the rest out of the processor's caches.
    """

    _OF_EVERY_RECORD = frozenset(logging.makeLogRecord({}).__dict__)
    _ENCODER = json.JSONEncoder(sort_keys=True, default=repr)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's message and extra fields, redacted."""
        fields = {name: value for name, value in record.__dict__.items() if name not in self._OF_EVERY_RECORD}
        fields["message"] = record.getMessage()
        fields["level"] = record.levelname.lower()
        fields["logger"] = record.name
        fields["timestamp"] = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        try:
            line = self._ENCODER.encode(fields)
        except (TypeError, ValueError):  # keys that are no text, or that can't be put in order: redacting makes them so
            line = ""
        return line if line and is_harmless(fields, line) else self._ENCODER.encode(redact_fields(fields))


def _console(*, colours: bool) -> logging.Formatter:
    """Lines for people. They need what a service without a terminal never loads."""
    import structlog  # noqa: PLC0415

    def redacted(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> dict[str, object]:
        return redact_fields(fields)

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.ExtraAdder(),
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            redacted,
            # No rich tracebacks: they print local variables, and those hold keys.
            structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback),
        ],
    )
