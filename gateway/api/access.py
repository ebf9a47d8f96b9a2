"""What every answer has, whatever became of its request: an id, safe headers, a line in the log."""

from __future__ import annotations

import logging
import random
from urllib.parse import quote

from flask import Flask, Response, g, request
from werkzeug.exceptions import NotFound

from gateway.api.services import ApiServices
from gateway.api.uploads import discard_rest

_log = logging.getLogger("gateway.api")

_SAFE_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    # A presigned link may be in the answer or in its Location: no cache, no Referer may carry it on.
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def install(app: Flask, services: ApiServices) -> None:
    """Give requests ids, answers their common headers, and the log one line each."""

    def begin() -> None:
        # A name, not a secret; and the system's generator would let another thread go first.
        g.request_id = f"req_{random.getrandbits(128):032x}"
        g.started = services.monotonic()
        if "\0" in request.path:
            raise NotFound  # no id has it, and PostgreSQL takes it in no text

    def finish(answer: Response) -> Response:
        said = {name.lower() for name, _ in answer.headers}
        answer.headers.extend([(name, value) for name, value in _SAFE_HEADERS if name.lower() not in said])
        answer.headers.add("x-request-id", g.request_id)
        if answer.status_code >= 400:
            discard_rest()
        took = services.monotonic() - g.started
        services.observe(_method(), _route(), answer.status_code, took)
        line = _line(answer, took)
        _log.info("%(method)s %(path)s %(status)d %(ms).1f ms %(client)s %(request_id)s", line, extra=line)
        return answer

    app.before_request(begin)
    app.after_request(finish)


def _method() -> str:
    # HTTP lets anybody make up methods, and every one that is counted by its name is kept for good.
    return request.method if request.method in _METHODS else "other"


def _route() -> str:
    return request.url_rule.rule if request.url_rule is not None else "unmatched"


def _line(answer: Response, took: float) -> dict[str, object]:
    """Return the fields of the log line: never the query, a header or a body."""
    who = g.get("caller")
    return {
        "request_id": g.request_id,
        "client": who.client if who is not None else None,
        "method": request.method,
        "path": quote(request.path[:200]),  # quoted again, so that no line break gets into the log
        "status": answer.status_code,
        "ms": round(took * 1000, 1),
    }
