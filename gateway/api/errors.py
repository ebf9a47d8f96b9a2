"""Every error answer: one table from exception to status, type and code, and the one body they all have."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

from flask import Flask, Response, g, jsonify, request
from werkzeug.exceptions import ClientDisconnected, HTTPException

from gateway.bucket.port import BucketError, ObjectMissing
from gateway.jobs import errors as core
from gateway.jobs.refusal_codes import RefusalCode

_log = logging.getLogger("gateway.api")


class Unauthorized(core.Refusal):
    """No API key, or none that is known."""


class Forbidden(core.Refusal):
    """Open access was asked for from where it is not given."""


class TooManyRequests(core.Refusal):
    """The client sends more requests than it may."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message, code="rate_limit_exceeded")
        self.retry_after_s = retry_after_s


class UnsupportedBody(core.Refusal):
    """The body is of a kind that is not read here."""


class VariantMissing(core.Refusal):
    """The video has no such variant."""


class ReceiverSilent(core.Refusal):
    """A receiver that was to be tested gave no answer."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one kind of exception is answered. `code` and `message` are for exceptions that have none of their own."""

    status: int
    type: str = "invalid_request_error"
    code: RefusalCode = "internal_error"
    message: str = ""


_BUSY = "The gateway cannot do this right now. Nothing was kept; send the same request again."

TABLE: Mapping[type[Exception], Shape] = {
    core.InvalidField: Shape(400),
    Unauthorized: Shape(401),
    Forbidden: Shape(403, "permission_error"),
    core.NotFound: Shape(404),
    VariantMissing: Shape(404),
    core.Conflict: Shape(409),
    core.Gone: Shape(410),
    ObjectMissing: Shape(410, code="content_removed", message="The content is no longer there."),
    UnsupportedBody: Shape(415),
    core.KeyReused: Shape(422),
    ReceiverSilent: Shape(424),
    core.QueueFull: Shape(429, "rate_limit_error"),
    TooManyRequests: Shape(429, "rate_limit_error"),
    core.Unavailable: Shape(503, "server_error"),
    BucketError: Shape(503, "server_error", "unavailable", "The bucket does not answer. " + _BUSY),
    core.StaleJob: Shape(503, "server_error", "unavailable", _BUSY),
}
"""The most special class of an exception counts."""

_HTTP_CODES: Mapping[int, RefusalCode] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_content_type",
    416: "requested_range_not_satisfiable",
}

_RETRY_AFTER_S = 2


def error_body(message: str, *, type_: str, code: RefusalCode, param: str | None = None) -> dict[str, object]:
    """Return the protocol's error object."""
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


def code_of(status: int) -> RefusalCode:
    """Return the code of what the framework refuses with a status."""
    return _HTTP_CODES.get(status, "internal_error" if status >= 500 else "bad_request")


def shape_of(error: Exception) -> Shape | None:
    """Return the row of the table for an exception, or None for one that nobody expected."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), None)


def install(app: Flask) -> None:
    """Answer every error of an app from the table."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _other)


def _other(error: Exception) -> Response:
    shape = shape_of(error)
    if shape is None:
        # The stack goes to the log; an exception's words could hold anything, so the answer has none of them.
        _log.exception("unexpected error in %s", g.get("request_id"))
        return _answer(
            500, "Something went wrong here. The request id names it in the log.", "server_error", "internal_error"
        )
    if isinstance(error, core.Refusal):
        answer = _answer(shape.status, error.message, shape.type, error.code, error.param)
    else:
        _log.warning("%s in %s", type(error).__name__, g.get("request_id"))
        answer = _answer(shape.status, shape.message, shape.type, shape.code)
    _hint(answer, error)
    return answer


def _hint(answer: Response, error: Exception) -> None:
    """Say when, or whether, the same request makes sense again."""
    if answer.status_code in {429, 503}:
        wait = float(getattr(error, "retry_after_s", _RETRY_AFTER_S))
        answer.headers["Retry-After"] = str(max(1, math.ceil(wait)))
    elif answer.status_code == 409:
        # The official SDKs send a request again after a 409; here another try only brings the same.
        answer.headers["x-should-retry"] = "false"
    elif answer.status_code == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"


def _http(error: HTTPException) -> Response:
    # A body that stops coming; a client that really went away sees no answer anyway.
    status = 408 if isinstance(error, ClientDisconnected) else error.code or 500
    if status < 400:  # Werkzeug's own redirects
        return Response(status=status, headers=dict(error.get_headers()))
    code = code_of(status)
    answer = _answer(status, _words(status, error), "server_error" if status >= 500 else "invalid_request_error", code)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            answer.headers[name] = value
    return answer


def _words(status: int, error: HTTPException) -> str:
    if status == 404:
        return f"There is no {request.method} {request.path[:200]} here. /openapi.yaml lists what there is."
    if status == 405:
        return f"{request.method} is not allowed on {request.path[:200]}."
    if status == 408:
        return "The body did not come, or came too slowly."
    if status == 413:
        limit = request.max_content_length
        return f"The body is larger than the {limit} bytes allowed, or has too many parts."
    return error.description or error.name


def _answer(status: int, message: str, type_: str, code: RefusalCode, param: str | None = None) -> Response:
    answer = jsonify(error_body(message, type_=type_, code=code, param=param))
    answer.status_code = status
    return answer
