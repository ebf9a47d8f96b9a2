"""Answers of upstreams, made up, and what the decision tables say of them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from requests.structures import CaseInsensitiveDict

from gateway.outbound.session import Reply
from gateway.upstreams import decide
from gateway.upstreams.cleaning import Cleaner
from gateway.upstreams.dialects import DIALECTS
from gateway.upstreams.port import (
    PollOutcome,
    SubmitOutcome,
)

CLEAN = Cleaner(secrets=("sk-the-key-in-use",))
OPENAI = DIALECTS["openai"]


def reply(
    status: int, body: object = None, headers: Mapping[str, str] | None = None, *, truncated: bool = False
) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(
        status=status,
        headers=CaseInsensitiveDict(headers or {}),
        body=raw,
        truncated=truncated,
        elapsed_s=0.25,
        peer="127.0.0.1",
    )


def error(code: object = None, message: str = "", kind: str = "", param: str | None = None) -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def litellm(inner: object, status: int) -> dict[str, object]:
    message = f"litellm.APIError: OpenAIException - {json.dumps(inner)}\n\nLiteLLM: model group 'sora-2' failed."
    return error(code=str(status), message=message, kind="invalid_request_error")


def submit(answer: Reply) -> SubmitOutcome:
    return decide.submit(answer, clean=CLEAN)


def poll(answer: Reply) -> PollOutcome:
    return decide.poll(answer, dialect=OPENAI, clean=CLEAN)


JOB = {"id": "video_1", "object": "video", "model": "sora-2", "status": "queued", "progress": 0}
HTML = b"<html><body>502 Bad Gateway</body></html>"
QUOTA_403: dict[str, dict[str, str]] = {
    "error": {
        "message": "user [1.2] quota [$0.10] preConsumedQuota [$0.15] is not enough",
        "localized_message": "Insufficient user quota",
        "type": "shell_api_error",
        "param": "",
        "code": "insufficient_user_quota",
    }
}
BLOCKED = "Your request was blocked by our moderation system."
POLICY = "content_policy_violation"
