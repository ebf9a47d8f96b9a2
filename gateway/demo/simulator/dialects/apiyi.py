"""The dialect of APIYI and the resellers like it (docs.apiyi.com, sora-2-api-asynchronous/API-MANUAL, 2025-10-29)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from gateway.demo.simulator.dialects.openai import OpenAI
from gateway.demo.simulator.protocol import Asked, Failure, Say, Seen, Served, Status

_SIZES = ("1280x720", "720x1280")
_SHELL = "shell_api_error"


class Apiyi(OpenAI):
    """No `object`, no list, errors as strings, empty balance as 403, and content that is late."""

    name: ClassVar[str] = "apiyi"
    models: ClassVar[Mapping[str, Served]] = {
        "sora-2": Served(sizes=_SIZES, seconds=(10, 15)),
        "grok-imagine-video": Served(sizes=_SIZES, seconds=tuple(range(1, 16))),
        "veo-3.1-generate-preview": Served(sizes=_SIZES, seconds=(4, 6, 8)),
        "veo-3.1-fast-generate-preview": Served(sizes=_SIZES, seconds=(4, 6, 8)),
    }
    can_list: ClassVar[bool] = False
    can_delete: ClassVar[bool] = False
    can_remix: ClassVar[bool] = False
    has_variants: ClassVar[bool] = False
    prompt_max: ClassVar[int] = 1000
    refuses_unknown_fields: ClassVar[bool] = False
    seconds_as_text: ClassVar[bool] = False
    habits: ClassVar[Sequence[str]] = ("content-400",)
    words: ClassVar[Mapping[Status, str]] = {**OpenAI.words, "queued": "submitted"}
    errors: ClassVar[Mapping[str, Say]] = {
        **OpenAI.errors,
        "quota": Say(
            status=403,
            code="insufficient_user_quota",
            type=_SHELL,
            message="user [17] quota [0] preConsumedQuota [75000] is not enough",
        ),
        "rate": Say(status=429, code="rate_limit_exceeded", type=_SHELL, message="Too many requests."),
        "auth": Say(status=401, code="", type=_SHELL, message="无效的令牌"),
        "server": Say(status=500, code="bad_response_status_code", type=_SHELL, message=""),
        "moderation": Say(
            status=400, code="content_policy_violation", type="invalid_request", message="Content policy violation"
        ),
        "content_early": Say(status=400, code="invalid_request", type=_SHELL, message="Video is not completed"),
        "content_failed": Say(status=400, code="invalid_request", type=_SHELL, message="Video is not completed"),
    }

    def new_id(self, now: float) -> str:
        """Return an id for a new video."""
        del now
        return f"video_{uuid.uuid4()}"

    def error_extra(self, kind: str) -> Mapping[str, str | None]:
        """Return the empty `param`, and for an empty balance the words of the page."""
        return {"param": "", "localized_message": "Insufficient user quota"} if kind == "quota" else {}

    def video(self, seen: Seen, *, asked: Asked, root: str) -> dict[str, object]:
        """Return the video: no `object`, and the path of the content once there is one."""
        del asked
        url = f"{root}{self.path}/videos/{seen.id}/content" if seen.status == "completed" and not seen.failure else None
        shown: dict[str, object] = {
            "id": seen.id,
            "status": self.word(seen),
            "progress": seen.progress,
            "prompt": seen.prompt,
            "model": seen.model,
            "size": seen.size,
            "seconds": str(seen.seconds),
            "created_at": self.instant(seen, seen.created_at),
            "url": url,
            "completed_at": self.instant(seen, seen.completed_at),
        }
        if seen.failure is not None:
            shown["error"] = self.failure(seen)
        return self.without(seen, shown)

    def failure(self, seen: Seen) -> object:
        """Return the error: a string, but an object where the video is called completed."""
        failure = seen.failure
        if failure is None or failure.shape == "null":
            return None
        if failure.shape == "object" or seen.status == "completed":
            return self.error_object(failure)
        return failure.message

    def settled(self, seen: Seen) -> Seen:
        """Return the video; one of Grok's that moderation refused is called completed, with an error and no file."""
        moderated = seen.failure is not None and seen.failure.code == "moderation"
        if moderated and seen.model.startswith("grok"):
            blocked = Failure(code="moderation_blocked", message="The result was blocked by moderation.")
            return replace(seen, status="completed", progress=100, failure=blocked)
        return super().settled(seen)
