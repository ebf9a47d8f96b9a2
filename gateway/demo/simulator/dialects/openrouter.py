"""The dialect of OpenRouter (openrouter.ai/docs/api_reference/videos and the PyPI package openrouter 1.3)."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import ClassVar

from gateway.demo.simulator.dialects.openai import OpenAI
from gateway.demo.simulator.protocol import Asked, Refusal, Say, Seen, Served, Status

_CENTS_A_SECOND = 40


class OpenRouter(OpenAI):
    """JSON only, `duration` and `frame_images`, errors as strings, and links that open to whoever holds them."""

    name: ClassVar[str] = "openrouter"
    path: ClassVar[str] = "/api/v1"
    models: ClassVar[Mapping[str, Served]] = {
        "google/veo-3.1": Served(sizes=("1280x720", "720x1280", "1920x1080", "1080x1920"), seconds=(4, 6, 8)),
    }
    can_list: ClassVar[bool] = False
    can_delete: ClassVar[bool] = False
    can_remix: ClassVar[bool] = False
    has_variants: ClassVar[bool] = False
    takes_forms: ClassVar[bool] = False
    refuses_unknown_fields: ClassVar[bool] = False
    seconds_as_text: ClassVar[bool] = False
    key_path: ClassVar[str | None] = "/key"
    models_path: ClassVar[str] = "/videos/models"
    words: ClassVar[Mapping[Status, str]] = {**OpenAI.words, "queued": "pending"}
    errors: ClassVar[Mapping[str, Say]] = {
        **OpenAI.errors,
        **dict.fromkeys(
            ("quota", "credit"),
            Say(status=402, code=None, type="", message="Insufficient credits. Add more to continue."),
        ),
        "moderation": Say(
            status=403, code=None, type="", message="The model requires moderation and your input was flagged."
        ),
    }

    def asked(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        """Return the fields with the length and the first frame as the reference dialect spells them."""
        known = {name: value for name, value in fields.items() if name not in {"duration", "frame_images", "seconds"}}
        if "seconds" in fields or "input_reference" in fields:
            raise self.refused("The length is named 'duration', a picture goes into 'frame_images'.", param="duration")
        duration = fields.get("duration")
        if duration is not None:
            if not isinstance(duration, int):
                raise self.refused("Expected 'duration' to be a whole number.", param="duration")
            known["seconds"] = duration
        frames = fields.get("frame_images")
        if frames is not None:
            known["input_reference"] = {"image_url": self._first_frame(frames)}
        return known

    def _first_frame(self, frames: object) -> object:
        frame = frames[0] if isinstance(frames, Sequence) and frames else None
        link = frame.get("image_url") if isinstance(frame, Mapping) and frame.get("type") == "image_url" else None
        first = isinstance(frame, Mapping) and frame.get("frame_type") == "first_frame"
        if not first or not isinstance(link, Mapping):
            raise self.refused("Expected 'frame_images' to hold a first frame.", param="frame_images")
        return link.get("url")

    def new_id(self, now: float) -> str:
        """Return an id for a new video."""
        return f"gen-vid-{int(now)}-{secrets.token_hex(10)}"

    def refusal(
        self, kind: str, *, message: str | None = None, param: str | None = None, code: str | None = None
    ) -> Refusal:
        """Return the error of that kind: its code is the HTTP status."""
        del param, code
        say = self.errors[kind]
        error: dict[str, object] = {"code": say.status, "message": message or say.message}
        if kind == "moderation":
            error["metadata"] = {"reasons": ["violence"], "flagged_input": "what the prompt said", "provider_name": "x"}
        return Refusal(status=say.status, body={"error": error})

    def video(self, seen: Seen, *, asked: Asked, root: str) -> dict[str, object]:
        """Return the video: little at first, and where it lies once it is finished."""
        where = f"{root}{self.path}/videos/{seen.id}"
        shown: dict[str, object] = {"id": seen.id, "polling_url": where, "status": self.word(seen)}
        if asked == "create":
            return shown
        shown["generation_id"] = f"gen-{seen.id[8:]}"
        error = self.failure(seen)
        if error is not None:
            shown["error"] = error
        if seen.status == "completed" and error is None:
            shown["unsigned_urls"] = [f"{where}/content?index=0"]
            # As the real ones, it carries its own permission; nobody is meant to follow it.
            shown["urls"] = [f"{root}{self.path}/outputs/{hashlib.sha256(seen.id.encode()).hexdigest()}.mp4?sig=1"]
            shown["expires_at"] = self.instant(seen, seen.expires_at)
            shown["usage"] = {"cost": seen.seconds * _CENTS_A_SECOND / 100, "is_byok": False}
        return self.without(seen, shown)

    def failure(self, seen: Seen) -> object:
        """Return the error, which is always a string."""
        failure = seen.failure
        return None if failure is None or failure.shape == "null" else failure.message

    def headers(self, seen: Seen) -> Mapping[str, str]:
        """Return no further headers."""
        del seen
        return {}
