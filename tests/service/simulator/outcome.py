"""Words for what a client sees when a fault strikes."""

from __future__ import annotations

from collections.abc import Callable

import requests

BROKEN_OFF = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


def outcome(request: Callable[[], requests.Response]) -> object:
    """What a client of the fault sees, in a word."""
    try:
        answer = request()
    except BROKEN_OFF:
        return "broken off"
    kind = answer.headers["Content-Type"].split(";")[0]
    if kind == "text/html":
        return (answer.status_code, "html")
    if kind.startswith("video/"):
        return (answer.status_code, "film" if answer.content[4:8] == b"ftyp" else "no film")
    try:
        body = answer.json()
    except ValueError:
        return (answer.status_code, "no json")
    if isinstance(body, dict) and "error" in body and "status" not in body:
        return (answer.status_code, body["error"].get("code"))
    return (answer.status_code, "json")
