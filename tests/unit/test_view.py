"""The video object: every field of the protocol's, and nothing of the upstream's."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gateway.jobs.job import SHOWN_AS, Failure, Job, Reference, Status, Stored
from gateway.jobs.view import filename, urls, video

PROTOCOL = {
    "id", "object", "model", "status", "progress", "prompt", "size", "seconds", "created_at", "completed_at",
    "expires_at", "error", "remixed_from_video_id",
}  # fmt: skip

JOB = Job(
    id="video_1", client="the-client", status=Status.QUEUED, version=4, model="sora-2", size="720x1280", seconds=8,
    created_at=1796000000.75, due_at=1796000001.0, prompt="a cat", metadata={"order": "7"}, extra={"seed": 99887766},
    callback_url="https://hooks.example.com/", callback_events=("video.completed",),
    reference=Reference(url="https://SECRET-reference", object_key="SECRET-key"), claimed_by="SECRET-worker",
    upstream="SECRET-upstream", upstream_key="SECRET-upstream-key", upstream_job_id="SECRET-id",
    remixed_from="video_0",
)  # fmt: skip
STORED = Stored(object_key="SECRET-object", size=7, sha256="abc", content_type="video/mp4")


@pytest.mark.parametrize("status", Status)
def test_the_video_object_has_every_field_of_the_protocol_in_every_status(status: Status) -> None:
    shown = video(replace(JOB, status=status))
    assert set(shown) >= PROTOCOL
    assert shown["status"] == SHOWN_AS[status]
    assert (shown["id"], shown["object"], shown["seconds"], shown["created_at"]) == (
        "video_1", "video", "8", 1796000000,
    )  # fmt: skip


@pytest.mark.parametrize("status", Status)
def test_the_video_object_tells_nothing_of_the_upstream_the_bucket_or_the_worker(status: Status) -> None:
    shown = json.dumps(video(replace(JOB, status=status, stored=STORED)))
    assert "SECRET" not in shown
    assert "99887766" not in shown
    assert "the-client" not in shown


def test_a_completed_video_shows_when_it_was_and_what_it_is() -> None:
    done = replace(JOB, status=Status.COMPLETED, stored=STORED, finished_at=1796000099.9, progress=100)
    shown = video(done)
    assert (shown["completed_at"], shown["progress"]) == (1796000099, 100)
    assert shown["content"] == {"bytes": 7, "sha256": "abc", "content_type": "video/mp4"}


def test_a_video_whose_content_was_removed_shows_none_but_when_it_was_completed() -> None:
    removed = replace(JOB, stored=STORED, finished_at=1796000099.9, removed_at=1796009999.0, prompt=None)
    shown = video(removed)
    assert (shown["content"], shown["completed_at"], shown["prompt"]) == (None, 1796000099, None)


def test_a_failed_video_shows_its_reason_and_no_completion() -> None:
    failed = replace(JOB, status=Status.FAILED, error=Failure(code="c", message="m"), finished_at=1796000099.9)
    assert video(failed)["error"] == {"code": "c", "message": "m"}
    assert video(failed)["completed_at"] is None


def test_what_is_shown_can_be_changed_without_changing_the_job() -> None:
    shown = video(JOB)
    shown["metadata"]["order"] = "8"  # type: ignore[index]
    assert JOB.metadata == {"order": "7"}


def test_the_addresses_of_a_video_begin_with_the_public_url() -> None:
    assert urls("https://gw.example.com", "video_1") == {
        "get": "https://gw.example.com/v1/videos/video_1",
        "content": "https://gw.example.com/v1/videos/video_1/content",
        "events": "https://gw.example.com/v1/videos/video_1/events",
        "cancel": "https://gw.example.com/v1/videos/video_1/cancel",
    }


@pytest.mark.parametrize(("kind", "name"), [("video/mp4", "video_1.mp4"), ("video/webm", "video_1.webm")])
def test_a_video_is_saved_under_its_id_and_its_kind(kind: str, name: str) -> None:
    assert filename(replace(JOB, stored=replace(STORED, content_type=kind))) == name
    assert filename(JOB) == "video_1.mp4"
