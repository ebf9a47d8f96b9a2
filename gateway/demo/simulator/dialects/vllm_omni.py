"""The dialect of vLLM-Omni 0.30 (docs.vllm.ai/projects/vllm-omni, serving/videos_api), as its own server answers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import ClassVar

from gateway.demo.simulator.dialects.openai import OpenAI
from gateway.demo.simulator.protocol import Asked, Failure, Refusal, Say, Seen, Served

_FPS = 24.0


class VllmOmni(OpenAI):
    """Forms only, error codes that are HTTP statuses, and polls of a failed video that answer with an HTTP error."""

    name: ClassVar[str] = "vllm-omni"
    models: ClassVar[Mapping[str, Served]] = {"Wan-AI/Wan2.2-T2V-A14B-Diffusers": Served(sizes=(), seconds=())}
    can_remix: ClassVar[bool] = False
    has_variants: ClassVar[bool] = False
    takes_json: ClassVar[bool] = False
    refuses_unknown_fields: ClassVar[bool] = False
    errors: ClassVar[Mapping[str, Say]] = {
        **OpenAI.errors,
        "missing": Say(status=404, code=None, type="", message="Video not found"),
        "content_early": Say(status=404, code=None, type="", message="Generation is still in-progress"),
        "content_failed": Say(
            status=422, code=None, type="", message="Video generation failed. Check job status for error details."
        ),
        "model": Say(status=400, code=None, type="", message="Model mismatch: the server is running another one."),
    }

    def new_id(self, now: float) -> str:
        """Return an id for a new video."""
        del now
        return f"video_gen_{uuid.uuid4().hex}"

    def refusal(
        self, kind: str, *, message: str | None = None, param: str | None = None, code: str | None = None
    ) -> Refusal:
        """Return the error of that kind: `type` is the status's phrase and `code` its number."""
        del code
        say = self.errors[kind]
        field = f"body.{param}" if param in {"prompt", "size", "seconds"} else None
        error = {
            "message": message or say.message,
            "type": HTTPStatus(say.status).phrase,
            "param": field,
            "code": say.status,
        }
        return Refusal(status=say.status, body={"error": error})

    def video(self, seen: Seen, *, asked: Asked, root: str) -> dict[str, object]:
        """Return the video with what the engine tells of it."""
        shown = super().video(seen, asked=asked, root=root)
        done = seen.status == "completed"
        return {
            **shown,
            "quality": "default",
            "media_type": "video/mp4",
            "file_name": f"{seen.id}.mp4" if done else None,
            "inference_time_s": seen.completed_at - seen.created_at if done and seen.completed_at else None,
            "fps": _FPS,
            "num_frames": int(seen.seconds * _FPS),
            "duration_s": float(seen.seconds),
            "metrics": None,
            "stage_durations": {"diffuse": 1.0} if done else {},
            "peak_memory_mb": 0.0,
            "action": None,
        }

    def error_object(self, failure: Failure) -> object:
        """Return an error whose code is a number."""
        return {"code": failure.http_status, "message": failure.message}

    def settled(self, seen: Seen) -> Seen:
        """Return the video: no progress until the end, no expiry, and a failure with the status its polls answer."""
        seen = super().settled(seen)
        failure = seen.failure
        if failure is not None and seen.status == "failed" and failure.http_status == HTTPStatus.OK:
            failure = replace(failure, http_status=500)
        progress = 100 if seen.status == "completed" else 0
        return replace(seen, progress=progress, expires_at=None, failure=failure)
