"""Rows to jobs and back: the one place that knows how a `Job` lies in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy.engine import RowMapping

from gateway.jobs.job import Failure, Job, Reference, Source, Status, Stored

_PLAIN = (
    "id", "client", "version", "model", "size", "seconds", "prompt", "callback_url", "remixed_from",
    "created_at", "due_at", "claim_token", "claimed_by", "claimed_at", "progress", "tries", "missing", "missing_since",
    "stood_still_s", "bucket_failed", "upstream", "upstream_key", "key_fingerprint", "upstream_job_id",
    "accepted_at", "rendered_at", "content_expires_at", "finished_at", "removed_at", "deleted_at",
)  # fmt: skip
_CLAIM = ("claim_token", "claimed_at")


def job_of(row: Mapping[str, Any] | RowMapping) -> Job:
    """Return the job that a row of the jobs table holds."""
    return Job(
        **{name: row[name] for name in _PLAIN},
        status=Status(row["status"]),
        metadata=row["metadata"],
        extra=row["extra"],
        callback_events=tuple(row["callback_events"]),
        routes=routes_of(row["routes"]),
        reference=Reference(**row["reference"]) if row["reference"] else None,
        source=_source(row),
        stored=_stored(row),
        variants={name: Stored(**told) for name, told in (row["variants"] or {}).items()},
        error=Failure(code=row["error_code"], message=row["error_message"]) if row["error_code"] else None,
    )


def routes_text(routes: Sequence[str]) -> str:
    """Return the names of upstreams as one column holds them; no name has a comma."""
    return ",".join(routes)


def routes_of(text: str) -> tuple[str, ...]:
    """Return the names of upstreams that a column holds."""
    return tuple(text.split(",")) if text else ()


def _source(row: Mapping[str, Any] | RowMapping) -> Source | None:
    if row["source_job_id"] is None:
        return None
    return Source(upstream_job_id=row["source_job_id"], key_fingerprint=row["source_key"])


def _stored(row: Mapping[str, Any] | RowMapping) -> Stored | None:
    if row["object_key"] is None:
        return None
    return Stored(
        object_key=row["object_key"],
        size=row["object_size"],
        sha256=row["object_sha256"],
        content_type=row["object_type"],
    )


def values_of(job: Job) -> dict[str, Any]:
    """Return every column of a job's row."""
    return {
        **{name: getattr(job, name) for name in _PLAIN},
        "status": job.status.value,
        "metadata": dict(job.metadata),
        "extra": dict(job.extra),
        "callback_events": list(job.callback_events),
        "routes": routes_text(job.routes),
        "reference": asdict(job.reference) if job.reference else None,
        "source_job_id": job.source.upstream_job_id if job.source else None,
        "source_key": job.source.key_fingerprint if job.source else None,
        "variants": {name: asdict(stored) for name, stored in job.variants.items()} or None,
        "object_key": job.stored.object_key if job.stored else None,
        "object_size": job.stored.size if job.stored else None,
        "object_sha256": job.stored.sha256 if job.stored else None,
        "object_type": job.stored.content_type if job.stored else None,
        "error_code": job.error.code if job.error else None,
        "error_message": job.error.message if job.error else None,
    }


def changes_of(before: Job, after: Job) -> dict[str, Any]:
    """Return the columns in which two states of a job differ: a claim made in between is never undone by them."""
    old, new = values_of(before), values_of(after)
    return {name: value for name, value in new.items() if value != old[name] and name not in _CLAIM}
