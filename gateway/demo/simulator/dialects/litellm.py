"""The dialect of the LiteLLM proxy 1.106 in front of an upstream that speaks the reference dialect, as it was seen."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from typing import ClassVar

from gateway.demo.simulator.dialects.openai import OpenAI
from gateway.demo.simulator.protocol import Asked, Refusal, Seen, Served

_CLASSES = {400: "BadRequestError", 404: "BadRequestError", 401: "AuthenticationError: AuthenticationError",
            429: "RateLimitError: RateLimitError", 500: "InternalServerError: InternalServerError"}  # fmt: skip
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
          404: "invalid_request_error", 429: "throttling_error"}  # fmt: skip
_TAIL = "LiteLLM: model group 'sora-2' failed with the error above. No fallback was attempted."
_OWN = {"no_path": "Not Found", "method": "Method Not Allowed"}


class LiteLLM(OpenAI):
    """Ids that change between the submit and the polls, no prompt, and errors that hold the upstream's as text."""

    name: ClassVar[str] = "litellm"
    models: ClassVar[Mapping[str, Served]] = {"sora-2": Served(sizes=(), seconds=())}
    can_list: ClassVar[bool] = False
    can_delete: ClassVar[bool] = False
    can_remix: ClassVar[bool] = False
    has_variants: ClassVar[bool] = False
    refuses_unknown_fields: ClassVar[bool] = False
    seconds_as_text: ClassVar[bool] = False
    retry_after: ClassVar[str] = "llm_provider-retry-after"

    def new_id(self, now: float) -> str:
        """Return an id for a new video: what LiteLLM needs to find it again, in base64."""
        del now
        return _packed(f"model_id:sora-2;video_id:video_{secrets.token_hex(12)}")

    def refusal(
        self, kind: str, *, message: str | None = None, param: str | None = None, code: str | None = None
    ) -> Refusal:
        """Return the error of that kind: the upstream's whole answer as text within LiteLLM's own."""
        inner = super().refusal(kind, message=message, param=param, code=code)
        if kind in _OWN:
            return Refusal(status=inner.status, body={"detail": _OWN[kind]})
        return Refusal(status=inner.status, body=_wrapped(inner.body, status=inner.status))

    def http_failure(self, shown: dict[str, object], *, status: int) -> Mapping[str, object]:
        """Return an error in whose message the whole failed video stands."""
        return _wrapped(shown, status=status)

    def video(self, seen: Seen, *, asked: Asked, root: str) -> dict[str, object]:
        """Return the video without its prompt; to a poll with an id that has lost its deployment."""
        shown = super().video(seen, asked=asked, root=root)
        del shown["prompt"], shown["quality"]
        usage = {"duration_seconds": float(seen.seconds)} if asked == "create" else None
        return {**shown, "id": seen.id if asked == "create" else _without_deployment(seen.id), "usage": usage}


def _packed(what: str) -> str:
    return "video_" + base64.b64encode(f"litellm:custom_llm_provider:openai;{what}".encode()).decode()


def _without_deployment(video_id: str) -> str:
    text = base64.b64decode(video_id.removeprefix("video_")).decode()
    return _packed("model_id:;" + text.partition("video_id:")[1] + text.partition("video_id:")[2])


def _wrapped(inner: Mapping[str, object], *, status: int) -> dict[str, object]:
    name = _CLASSES.get(status, "APIError: APIError")
    message = f"litellm.{name}: OpenAIException - {json.dumps(inner)}\n\n{_TAIL}"
    kind = _TYPES.get(status, "internal_server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": str(status)}}
