"""The reference dialect: OpenAI's Videos API as last documented (github.com/openai/openai-openapi, 2026-08-21)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from werkzeug.datastructures import Headers

from gateway.demo.simulator.protocol import Asked, Failure, Refusal, Refused, Say, Seen, Served, Status

_SMALL = ("720x1280", "1280x720")
_ALL = (*_SMALL, "1024x1792", "1792x1024", "1080x1920", "1920x1080")
_LENGTHS = (4, 8, 12, 16, 20)
_INVALID = "invalid_request_error"
_HIDES = {"no-progress": "progress", "no-expiry": "expires_at", "no-source": "remixed_from_video_id"}


class OpenAI:
    """What a dialect is: data and a few small answers. Another dialect overrides what it spells differently."""

    name: ClassVar[str] = "openai"
    path: ClassVar[str] = "/v1"
    """What `/videos` and `/models` are appended to."""
    models: ClassVar[Mapping[str, Served]] = {
        "sora-2": Served(sizes=_SMALL, seconds=_LENGTHS),
        "sora-2-2025-10-06": Served(sizes=_SMALL, seconds=_LENGTHS),
        "sora-2-2025-12-08": Served(sizes=_SMALL, seconds=_LENGTHS),
        "sora-2-pro": Served(sizes=_ALL, seconds=_LENGTHS),
        "sora-2-pro-2025-10-06": Served(sizes=_ALL, seconds=_LENGTHS),
    }
    can_list: ClassVar[bool] = True
    can_delete: ClassVar[bool] = True
    can_remix: ClassVar[bool] = True
    has_variants: ClassVar[bool] = True
    """Whether `?variant=thumbnail|spritesheet` is known."""
    has_cloud: ClassVar[bool] = False
    """Whether it can keep files in a cloud store, see the trait `cloud`."""
    variants_are_numbers: ClassVar[bool] = False
    """Whether `?variant=video` names an output that there is not."""
    retry_after: ClassVar[str] = "Retry-After"
    """The header that tells how long to wait."""
    prompt_max: ClassVar[int] = 32_000
    pictures_match: ClassVar[bool] = False
    """Whether a picture must be exactly as large as the video."""
    takes_json: ClassVar[bool] = True
    """Whether a submit may be JSON."""
    takes_forms: ClassVar[bool] = True
    key_path: ClassVar[str | None] = None
    """Where a key can be looked at, from `path`; None: nowhere."""
    models_path: ClassVar[str] = "/models"
    refuses_unknown_fields: ClassVar[bool] = True
    seconds_as_text: ClassVar[bool] = True
    """Whether a JSON number of seconds is refused."""
    habits: ClassVar[Sequence[str]] = ()
    """Faults that every video of this dialect meets."""
    words: ClassVar[Mapping[Status, str]] = {
        "queued": "queued",
        "in_progress": "in_progress",
        "completed": "completed",
        "failed": "failed",
        "cancelled": "cancelled",
        "expired": "expired",
    }
    synonyms: ClassVar[Mapping[Status, str]] = {
        "queued": "pending",
        "in_progress": "processing",
        "completed": "succeeded",
        "failed": "error",
        "cancelled": "canceled",
        "expired": "expired",
    }
    errors: ClassVar[Mapping[str, Say]] = {
        "rate": Say(
            status=429, code="rate_limit_exceeded", type="requests", message="Rate limit reached for requests."
        ),
        "slow_down": Say(status=429, code="slow_down", type="requests", message="Slow down: your request rate grew."),
        "quota": Say(
            status=429,
            code="insufficient_quota",
            type="insufficient_quota",
            message="You exceeded your current quota, please check your plan and billing details.",
        ),
        "credit": Say(
            status=429, code="credit_balance_exhausted", type="insufficient_quota", message="Your credit is used up."
        ),
        "payment": Say(status=402, code="insufficient_quota", type="billing_error", message="Payment required."),
        "overloaded": Say(
            status=503,
            code="server_is_overloaded",
            type="server_error",
            message="Our servers are currently overloaded. Please try again later.",
        ),
        "server": Say(
            status=500,
            code="server_error",
            type="server_error",
            message="The server had an error while processing your request. Sorry about that!",
        ),
        "timeout": Say(status=408, code="request_timeout", type=_INVALID, message="Request timed out."),
        "conflict": Say(status=409, code="conflict", type=_INVALID, message="The resource is being changed."),
        "early": Say(status=425, code="too_early", type=_INVALID, message="Too early."),
        "auth": Say(status=401, code="invalid_api_key", type=_INVALID, message="Incorrect API key provided."),
        "forbidden": Say(
            status=403, code="permission_denied", type=_INVALID, message="You do not have access to this organization."
        ),
        "invalid": Say(status=400, code="invalid_value", type=_INVALID, message="The request is not valid."),
        "model": Say(
            status=404,
            code="model_not_found",
            type=_INVALID,
            message="The model does not exist or you do not have access to it.",
        ),
        "moderation": Say(
            status=400,
            code="moderation_blocked",
            type="video_generation_user_error",
            message="Your request was blocked by our moderation system.",
        ),
        "too_large": Say(status=413, code="request_too_large", type=_INVALID, message="Request body too large."),
        "media_type": Say(status=415, code="unsupported_media_type", type=_INVALID, message="Unsupported media type."),
        "unprocessable": Say(
            status=422, code="unprocessable", type=_INVALID, message="The request is not processable."
        ),
        "missing": Say(status=404, code="not_found", type=_INVALID, message="Video not found."),
        "no_path": Say(status=404, code=None, type=_INVALID, message="Invalid URL."),
        "method": Say(status=405, code=None, type=_INVALID, message="Not allowed with this method."),
        "content_soon": Say(
            status=400, code="not_ready", type=_INVALID, message="Video is not ready yet, use GET to check its status."
        ),
        "content_early": Say(
            status=404, code="not_ready", type=_INVALID, message="Video is not ready yet, use GET to check its status."
        ),
        "content_failed": Say(status=404, code="video_failed", type=_INVALID, message="Video generation failed."),
        "content_gone": Say(status=404, code="content_expired", type=_INVALID, message="The video has expired."),
        "content_cloud": Say(status=400, code="not_here", type=_INVALID, message="The video lies in a cloud store."),
        "content_variant": Say(status=404, code="not_found", type=_INVALID, message="There is no such variant."),
        "content_removed": Say(status=410, code="content_expired", type=_INVALID, message="The video is gone."),
    }

    def key_of(self, headers: Headers) -> str:
        """Return the key that came with the request, with or without `Bearer`; empty where there is none."""
        return headers.get("Authorization", "").removeprefix("Bearer ").strip()

    def asked(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        """Return the fields of a submit under the names of the reference dialect. Raises Refused."""
        return fields

    def new_id(self, now: float) -> str:
        """Return an id for a new video."""
        return f"video_{int(now):08x}{secrets.token_hex(20)}"

    def refusal(
        self, kind: str, *, message: str | None = None, param: str | None = None, code: str | None = None
    ) -> Refusal:
        """Return the error of that kind, with the dialect's own words where none are given."""
        say = self.errors[kind]
        error = {"message": message or say.message, "type": say.type, "param": param, "code": code or say.code}
        return Refusal(status=say.status, body={"error": {**error, **self.error_extra(kind)}})

    def error_extra(self, kind: str) -> Mapping[str, str | None]:
        """Return what else stands in an error of that kind."""
        del kind
        return {}

    def refused(self, message: str, *, param: str, code: str = "invalid_value") -> Refused:
        """Return the exception for a field that was refused."""
        return Refused(self.refusal("invalid", message=message, param=param, code=code))

    def video(self, seen: Seen, *, asked: Asked, root: str) -> dict[str, object]:
        """Return the video as the dialect shows it. `root` is the URL of the server."""
        del asked, root
        shown: dict[str, object] = {
            "id": seen.id,
            "object": "video",
            "model": seen.model,
            "status": self.word(seen),
            "progress": seen.progress,
            "created_at": self.instant(seen, seen.created_at),
            "completed_at": self.instant(seen, seen.completed_at),
            "expires_at": self.instant(seen, seen.expires_at),
            "prompt": seen.prompt,
            "size": seen.size,
            "seconds": str(seen.seconds),
            "remixed_from_video_id": seen.remixed_from,
            "error": self.failure(seen),
            "quality": "standard",
        }
        return self.without(seen, shown)

    def word(self, seen: Seen) -> str:
        """Return the dialect's word for the status."""
        return (self.synonyms if "synonyms" in seen.traits else self.words)[seen.status]

    def instant(self, seen: Seen, at: float | None) -> int | None:
        """Return a time as the dialect writes it."""
        return None if at is None else int(at * 1000) if "millis" in seen.traits else int(at)

    def without(self, seen: Seen, shown: dict[str, object]) -> dict[str, object]:
        """Return the shown fields without those that the video's traits leave out."""
        hidden = {_HIDES[name] for name in seen.traits & _HIDES.keys()}
        return {name: value for name, value in shown.items() if name not in hidden}

    def failure(self, seen: Seen) -> object:
        """Return the `error` field of a video."""
        if seen.failure is None or seen.failure.shape == "null":
            return None
        if seen.failure.shape == "string":
            return seen.failure.message
        return self.error_object(seen.failure)

    def error_object(self, failure: Failure) -> object:
        """Return an error as an object."""
        return {"code": failure.code, "message": failure.message}

    def settled(self, seen: Seen) -> Seen:
        """Return what becomes of a video in this dialect: a moderated one in its own words."""
        if seen.failure is None or seen.failure.code != "moderation":
            return seen
        say = self.errors["moderation"]
        return replace(seen, failure=Failure(code=say.code or "", message=say.message))

    def http_failure(self, shown: dict[str, object], *, status: int) -> Mapping[str, object]:
        """Return the body of a poll of a failed video that is answered with an HTTP error."""
        del status
        return shown

    def page(self, videos: Sequence[dict[str, object]], *, has_more: bool) -> dict[str, object]:
        """Return one page of the list."""
        return {
            "object": "list",
            "data": list(videos),
            "first_id": videos[0]["id"] if videos else None,
            "last_id": videos[-1]["id"] if videos else None,
            "has_more": has_more,
        }

    def deleted(self, seen: Seen) -> dict[str, object]:
        """Return the answer to a DELETE."""
        return {"id": seen.id, "object": "video.deleted", "deleted": True}

    def headers(self, seen: Seen) -> Mapping[str, str]:
        """Return further headers of an answer about one video."""
        return {} if seen.status in {"completed", "failed"} else {"openai-poll-after-ms": "1000"}
