"""How posts are refused: what every error answer of the API has, and forms made from memory."""

from __future__ import annotations

from typing import Any

from werkzeug.test import encode_multipart

from tests.api_world import World


def error(answer: Any) -> dict[str, Any]:
    """Return the error of an answer after looking at what every error answer has."""
    body = answer.json
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.content_type == "application/json"
    found: dict[str, Any] = body["error"]
    return found


def post_form(world: World, form: dict[str, Any]) -> Any:
    """Post a multipart form from memory: beyond 500 kB the test client would leave a temporary file open."""
    boundary, body = encode_multipart(form)
    headers = {**world.key("alice"), "Content-Type": f"multipart/form-data; boundary={boundary}"}
    return world.http.post("/v1/videos", data=body, headers=headers)
