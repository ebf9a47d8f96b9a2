"""Every way in which the list that settles a lost answer can fail, and what the client sees of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.ground import Ground, open_ground
from tests.service.rig import Rig


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as ground:
        yield ground


@pytest.fixture
def rig(ground: Ground) -> Rig:
    return ground.shared(poll_timeout_s=0.5)


HICCUPS = {
    "408": "list-408",
    "409": "list-409",
    "425": "list-425",
    "429": "list-429-bare",
    "429, Retry-After": "list-429=5",
    "500": "list-500",
    "502": "list-502",
    "503 overloaded": "list-503=5",
    "503 plain": "list-503-plain",
    "504": "list-504",
    "401": "list-401",
    "403": "list-403",
    "quota": "list-quota",
    "404, no such path": "list-404",
    "HTML": "list-html",
    "reset": "list-reset",
    "cut in the middle": "list-cut",
    "broken JSON": "list-broken",
    "empty": "list-blank",
    "JSON array": "list-array",
    "oversized": "list-huge=26000000",
    "time-out": "list-slow=5",
}


@pytest.mark.parametrize("row", HICCUPS)
def test_a_lost_video_is_adopted_though_the_list_fails_at_first(rig: Rig, row: str) -> None:
    rig.simulator.faults(f"{HICCUPS[row]}*{1 if row in {'oversized', 'time-out'} else 3}")
    prompt = rig.prompt("submit-504-after")
    video_id = rig.post(prompt)
    rig.play(lambda: "list_unanswered" in rig.happened(video_id))
    assert (rig.video(video_id)["status"], rig.video(video_id)["error"]) == ("queued", None)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="list_unanswered")
    assert len(rig.submits(prompt)) == len(rig.made(prompt)) == 1


@pytest.mark.parametrize("row", sorted(HICCUPS.keys() - {"oversized", "time-out"}))
def test_a_lost_video_is_not_submitted_again_when_the_list_never_answers(rig: Rig, row: str) -> None:
    rig.simulator.faults(f"{HICCUPS[row]}*all")
    prompt = rig.prompt("submit-504")
    video_id = rig.post(prompt)
    began = rig.time.wall()

    rig.play(rig.final(video_id))

    assert rig.time.wall() - began >= rig.installation.settings.max_wait_s
    rig.ends(video_id, "failed", code="submission_unknown", event="list_unanswered")
    assert (len(rig.submits(prompt)), len(rig.made(prompt))) == (1, 0)


def test_a_lost_video_is_submitted_again_when_the_list_never_answers_and_the_operator_chose_so(ground: Ground) -> None:
    rig = ground.shared(resubmit_unknown="true")
    rig.simulator.faults("list-503-plain*all")
    prompt = rig.prompt("submit-504")
    video_id = rig.post(prompt)

    rig.play(rig.final(video_id))

    rig.ends(video_id, "completed", event="submitted_again_unproven")
    assert (len(rig.submits(prompt)), len(rig.made(prompt))) == (2, 1)
