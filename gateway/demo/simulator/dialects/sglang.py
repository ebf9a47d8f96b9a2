"""The dialect of SGLang 0.5 (its `multimodal_gen/runtime/entrypoints/openai/video_api.py`)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from gateway.demo.simulator.dialects.openai import OpenAI
from gateway.demo.simulator.protocol import Asked, Failure, Refusal, Say, Seen, Served


class SGLang(OpenAI):
    """No prompts shown, errors without a code, FastAPI's `detail`, and paths of the server's own disk."""

    name: ClassVar[str] = "sglang"
    models: ClassVar[Mapping[str, Served]] = {"sora-2": Served(sizes=(), seconds=())}
    can_list: ClassVar[bool] = True
    can_remix: ClassVar[bool] = False
    has_cloud: ClassVar[bool] = True
    variants_are_numbers: ClassVar[bool] = True
    has_variants: ClassVar[bool] = False
    refuses_unknown_fields: ClassVar[bool] = False
    seconds_as_text: ClassVar[bool] = False
    errors: ClassVar[Mapping[str, Say]] = {
        **OpenAI.errors,
        "missing": Say(status=404, code=None, type="", message="Video not found"),
        "content_early": Say(status=404, code=None, type="", message="Generation is still in-progress"),
        "content_failed": Say(status=404, code=None, type="", message="Video variant video not found"),
    }

    def new_id(self, now: float) -> str:
        """Return an id for a new video."""
        del now
        return str(uuid.uuid4())

    def refusal(
        self, kind: str, *, message: str | None = None, param: str | None = None, code: str | None = None
    ) -> Refusal:
        """Return the error of that kind: one line under `detail`."""
        del param, code
        say = self.errors[kind]
        return Refusal(status=say.status, body={"detail": message or say.message})

    def video(self, seen: Seen, *, asked: Asked, root: str) -> dict[str, object]:
        """Return the video without its prompt, with where it lies on the server's disk."""
        shown = super().video(seen, asked=asked, root=root)
        path = f"/srv/outputs/{seen.id}.mp4" if seen.status == "completed" and not seen.link else None
        del shown["prompt"]
        return {
            **shown,
            "url": seen.link or None,
            "urls": [seen.link] if seen.link else [],
            "file_path": path,
            "file_paths": [path] if path else [],
            "num_outputs": 1,
            "revised_prompt": None,
            "action": None,
            "lidar": None,
            "peak_memory_mb": None,
            "inference_time_s": None,
        }

    def error_object(self, failure: Failure) -> object:
        """Return an error that has no code."""
        return {"message": failure.message}

    def settled(self, seen: Seen) -> Seen:
        """Return the video, which never expires."""
        return replace(super().settled(seen), expires_at=None)

    def deleted(self, seen: Seen) -> dict[str, object]:
        """Return the whole video, called deleted."""
        return {**self.video(seen, asked="poll", root=""), "status": "deleted"}
