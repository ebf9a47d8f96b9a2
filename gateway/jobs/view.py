"""A job as the protocol's `video` object: every fact a client may see, and none of the upstream's."""

from __future__ import annotations

from gateway.jobs.job import SHOWN_AS, SUFFIXES, Job


def video(job: Job) -> dict[str, object]:
    """Return the facts of the video as they are in this row: no links, which are made anew for each reader."""
    return {
        "id": job.id,
        "object": "video",
        "model": job.model,
        "status": SHOWN_AS[job.status],
        "progress": job.progress,
        "prompt": job.prompt,
        "size": job.size,
        "seconds": str(job.seconds),
        "created_at": int(job.created_at),
        "completed_at": int(job.finished_at) if job.finished_at is not None and job.stored is not None else None,
        "expires_at": None,
        "error": {"code": job.error.code, "message": job.error.message} if job.error else None,
        "remixed_from_video_id": job.remixed_from,
        "content": _content(job),
        "callback_url": job.callback_url,
        "metadata": dict(job.metadata),
    }


def _content(job: Job) -> dict[str, object] | None:
    if job.stored is None or job.removed_at is not None:
        return None
    return {"bytes": job.stored.size, "sha256": job.stored.sha256, "content_type": job.stored.content_type}


def urls(public_url: str, video_id: str) -> dict[str, str]:
    """Return where the video's own endpoints are reached."""
    video_url = f"{public_url}/v1/videos/{video_id}"
    return {
        "get": video_url,
        "content": f"{video_url}/content",
        "events": f"{video_url}/events",
        "cancel": f"{video_url}/cancel",
    }


def filename(job: Job, variant: str | None = None) -> str:
    """Return the name under which the video is saved, or what lies beside it."""
    stored = job.variants.get(variant) if variant is not None else job.stored
    name = job.id if variant is None else f"{job.id}-{variant}"
    return f"{name}.{SUFFIXES[stored.content_type] if stored is not None else 'mp4'}"
