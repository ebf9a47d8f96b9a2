"""What single dialects do that no other does, played by their twins, and what a client of the gateway sees of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.ground import Ground, open_ground
from tests.service.rig import Rig


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


def played(ground: Ground, dialect: str, word: str, **settings: object) -> tuple[Rig, str]:
    """Post a video whose prompt has the word, and play it to its end."""
    rig = ground.shared(dialect=dialect, **settings)  # type: ignore[arg-type]
    video_id = rig.post(rig.prompt(word))
    rig.play(rig.final(video_id))
    return rig, video_id


def test_sglang_s_video_is_fetched_from_the_cloud_store_that_its_content_path_refuses(ground: Ground) -> None:
    rig, video_id = played(ground, "sglang", "cloud")
    rig.ends(video_id, "completed", event="content_not_ready")
    books = rig.simulator.books()
    assert (books.count("files"), books.count("files_with_key")) == (1, 0)


def test_sglang_s_cloud_link_is_shown_to_nobody(ground: Ground) -> None:
    rig, video_id = played(ground, "sglang", "cloud")
    history = str(rig.events(video_id))
    assert "/_simulator/files/" in history
    assert "?signature=" not in history
    assert "/_simulator/files/" not in str(rig.video(video_id))


def test_litellm_s_video_is_asked_for_by_the_id_of_the_submit(ground: Ground) -> None:
    rig, video_id = played(ground, "litellm", "")
    rig.ends(video_id, "completed")
    (made,) = [video for video in rig.simulator.books().videos if video.id == rig.upstream_id(video_id)]
    assert made.id.endswith("=") or len(made.id) > 100
    assert made.polls >= 1


def test_litellm_s_failed_video_is_read_out_of_the_error_that_holds_it(ground: Ground) -> None:
    rig, video_id = played(ground, "litellm", "fail-http=500")
    video = rig.ends(video_id, "failed", code="upstream_error")
    assert video["error"]["message"] == "CUDA out of memory"


def test_litellm_s_wait_is_heeded_under_its_own_name(ground: Ground) -> None:
    rig, video_id = played(ground, "litellm", "submit-429=7")
    rig.ends(video_id, "completed")
    first, second = (note.received_at for note in rig.submits(rig.video(video_id)["prompt"]))
    assert second - first >= 7.0


def test_vllm_omni_s_failed_video_comes_as_an_http_error_and_fails_at_the_first_poll(ground: Ground) -> None:
    rig, video_id = played(ground, "vllm-omni", "fail-http=500")
    video = rig.ends(video_id, "failed", code="upstream_error")
    assert video["error"]["message"] == "CUDA out of memory"
    assert "poll_unanswered" not in rig.happened(video_id)


def test_apiyi_s_completed_video_with_an_error_is_a_failed_one(ground: Ground) -> None:
    rig, video_id = played(ground, "apiyi", "completed-error")
    rig.ends(video_id, "failed", code="content_policy_violation")


def test_apiyi_s_content_that_is_not_ready_right_after_completion_is_asked_for_again(ground: Ground) -> None:
    rig, video_id = played(ground, "apiyi", "")
    rig.ends(video_id, "completed", event="content_not_ready")


def test_apiyi_s_empty_balance_pauses_the_key_although_it_is_called_forbidden(ground: Ground) -> None:
    rig = ground.shared(dialect="apiyi")
    video_id = rig.post(rig.prompt("submit-quota*2"))
    rig.play(lambda: bool(rig.paused()))
    assert [key["reason"] for key in rig.paused()] == ["quota"]
    rig.play(rig.final(video_id))
    rig.ends(video_id, "completed")
