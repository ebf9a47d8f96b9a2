"""The dialect of the LiteLLM proxy 1.106 in front of an upstream that speaks the reference dialect, as it was seen."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from typing import ClassVar

from gateway.demo.simulator.dialects.openai import OpenAI
from gateway.demo.simulator.protocol import Asked, Refusal, Seen, Served

_CLASSES = {400: "BadRequestError", 401: "AuthenticationError", 403: "PermissionDeniedError", 404: "NotFoundError",
            429: "RateLimitError", 500: "InternalServerError"}  # fmt: skip


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

    def new_id(self, now: float) -> str:
        """Return an id for a new video: what LiteLLM needs to find it again, in base64."""
        del now
        return _packed(f"model_id:sora-2;video_id:video_{secrets.token_hex(12)}")

    def refusal(
        self, kind: str, *, message: str | None = None, param: str | None = None, code: str | None = None
    ) -> Refusal:
        """Return the error of that kind: the upstream's whole answer as text within LiteLLM's own."""
        inner = super().refusal(kind, message=message, param=param, code=code)
        name = _CLASSES.get(inner.status, "APIError")
        text = f"litellm.{name}: OpenAIException - {json.dumps(inner.body)}\n\nLiteLLM: model group sora-2"
        error = {"message": text, "type": None, "param": None, "code": str(inner.status)}
        return Refusal(status=inner.status, body={"error": error})

    def video(self, seen: Seen, *, asked: Asked, root: str) -> dict[str, object]:
        """Return the video without its prompt; to a poll with an id that has lost its deployment."""
        shown = super().video(seen, asked=asked, root=root)
        del shown["prompt"]
        usage = {"duration_seconds": float(seen.seconds)} if asked == "create" else None
        return {**shown, "id": seen.id if asked == "create" else _without_deployment(seen.id), "usage": usage}


def _packed(what: str) -> str:
    # No padding and no slash: LiteLLM itself answers 404 to an id of its own that holds one.
    text = f"litellm:custom_llm_provider:openai;{what}"
    return "video_" + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _without_deployment(video_id: str) -> str:
    packed = video_id.removeprefix("video_")
    text = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode()
    return _packed("model_id:;" + text.partition("video_id:")[1] + text.partition("video_id:")[2])
