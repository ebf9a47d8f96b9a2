"""What each fault does to the request it strikes, and each fate and trait to its video."""

from __future__ import annotations

import contextlib
import hashlib

import pytest

from gateway.demo.simulator import Simulator
from tests.service.simulator.driver import SETTINGS, Client
from tests.service.simulator.outcome import outcome

PLAIN: dict[str, object] = {
    "408": (408, "request_timeout"),
    "409": (409, "conflict"),
    "425": (425, "too_early"),
    "401": (401, "invalid_api_key"),
    "403": (403, "permission_denied"),
    "500": (500, "server_error"),
    "quota": (429, "insufficient_quota"),
    "429": (429, "rate_limit_exceeded"),
    "429-bare": (429, "rate_limit_exceeded"),
    "503": (503, "server_is_overloaded"),
    "502": (502, "html"),
    "503-plain": (503, "html"),
    "504": (504, "html"),
    "html": (200, "html"),
    "reset": "broken off",
}
WRONG_JSON: dict[str, object] = {
    "cut": "broken off",
    "broken": (200, "no json"),
    "blank": (200, "no json"),
    "array": (200, "json"),
    "huge=100000": (200, "json"),
}
SUBMITS: dict[str, object] = {
    **PLAIN,
    "slow-down": (429, "slow_down"),
    "credit": (429, "credit_balance_exhausted"),
    "402": (402, "insufficient_quota"),
    "400": (400, "invalid_value"),
    "moderation": (400, "moderation_blocked"),
    "404": (404, "model_not_found"),
    "413": (413, "request_too_large"),
    "422": (422, "unprocessable"),
}
MADE: dict[str, object] = {
    **WRONG_JSON,
    "500-after": (500, "server_error"),
    "502-after": (502, "html"),
    "504-after": (504, "html"),
    "html-after": (200, "html"),
    "reset-after": "broken off",
    "no-id": (200, "json"),
    "id-as=task_id": (200, "json"),
    "slow=0": (200, "json"),
}


@pytest.mark.parametrize("name", SUBMITS)
def test_a_submit_fault_that_refuses_makes_no_video_and_the_next_submit_does(client: Client, name: str) -> None:
    prompt = f"a cat sim:submit-{name}"
    assert outcome(lambda: client.submit(prompt)) == SUBMITS[name]
    assert client.simulator.books().videos == []
    assert client.submit(prompt).status_code == 200
    notes = client.simulator.books().submissions
    assert [bool(note.video_id) for note in notes] == [False, True]
    assert [note.fault for note in notes] == [f"submit-{name}", ""]


@pytest.mark.parametrize("name", MADE)
def test_a_submit_fault_that_only_spoils_the_answer_makes_the_video(client: Client, name: str) -> None:
    assert outcome(lambda: client.submit(f"a cat sim:submit-{name}")) == MADE[name]
    (note,) = client.simulator.books().submissions
    (video,) = client.simulator.books().videos
    assert (note.video_id, note.fault) == (video.id, f"submit-{name.split('=', maxsplit=1)[0]}")


@pytest.mark.parametrize("name", [*PLAIN, *WRONG_JSON, "404", "slow=0", "status=thinking"])
def test_a_poll_fault_strikes_once_and_leaves_the_video_alone(client: Client, name: str) -> None:
    wanted = {**PLAIN, **WRONG_JSON, "404": (404, "not_found")}.get(name, (200, "json"))
    video_id = client.made(f"a cat sim:poll-{name}")
    assert outcome(lambda: client.get(f"/{video_id}")) == wanted
    assert client.get(f"/{video_id}").json()["status"] == "completed"


CONTENTS: dict[str, object] = {
    **PLAIN,
    "400": (400, "not_ready"),
    "404": (404, "content_expired"),
    "410": (410, "content_expired"),
    "json": (200, None),
    "wrong": (200, "no film"),
    "blank": (200, "no film"),
    "cut": "broken off",
    "cut=1000": "broken off",
    "reset-late": "broken off",
    "slow=0": (200, "film"),
    "drip=100000000": (200, "film"),
    "chunked": (200, "film"),
    "close": (200, "film"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_content_fault_strikes_once_and_then_the_film_comes_whole(client: Client, name: str) -> None:
    video_id = client.made(f"a cat sim:content-{name}")
    assert outcome(lambda: client.get(f"/{video_id}/content")) == CONTENTS[name]
    whole = client.get(f"/{video_id}/content").content
    film = client.simulator.content_of(video_id)
    assert film is not None
    assert hashlib.sha256(whole).hexdigest() == film.sha256()


@pytest.mark.parametrize("name", [*PLAIN, *(word for word in WRONG_JSON if word != "blank"), "404", "slow=0"])
def test_a_list_fault_strikes_every_client_once(client: Client, name: str) -> None:
    client.simulator.faults(f"list-{name}")
    wanted = {**PLAIN, **WRONG_JSON, "404": (404, None)}.get(name, (200, "json"))
    assert outcome(lambda: client.get("")) == wanted
    assert client.get("").json()["object"] == "list"


@pytest.mark.parametrize("name", PLAIN)
def test_a_delete_fault_deletes_nothing(client: Client, name: str) -> None:
    video_id = client.submit(f"a cat sim:delete-{name}").json()["id"]
    assert outcome(lambda: client.delete(f"/{video_id}")) == PLAIN[name]
    assert client.get(f"/{video_id}").status_code == 200
    assert client.delete(f"/{video_id}").json()["deleted"] is True


@pytest.mark.parametrize(
    ("fate", "http", "status", "error"),
    [
        ("fail-moderation", 200, "failed", {"code": "moderation_blocked"}),
        ("fail-error", 200, "failed", {"code": "server_error"}),
        ("fail-string", 200, "failed", "Content generation failed"),
        ("fail-null", 200, "failed", None),
        ("fail-http", 500, "failed", {"code": "server_error"}),
        ("fail-http=400", 400, "failed", {"code": "server_error"}),
        ("completed-error", 200, "completed", {"code": "moderation_blocked"}),
        ("expired", 200, "expired", None),
        ("cancelled", 200, "cancelled", None),
        ("stuck", 200, "in_progress", None),
        ("stuck=7", 200, "in_progress", None),
    ],
)
def test_a_fate_is_how_the_video_ends(client: Client, fate: str, http: int, status: str, error: object) -> None:
    video_id = client.made(f"a cat sim:{fate}")
    answer = client.get(f"/{video_id}")
    shown = answer.json()
    assert (answer.status_code, shown["status"]) == (http, status)
    assert (shown["error"] if not isinstance(error, dict) else {"code": shown["error"]["code"]}) == error
    assert shown["progress"] == (7 if fate.endswith("=7") else 100 if status == "completed" else 99)
    assert client.get(f"/{video_id}/content").status_code == 404


def test_traits_change_how_a_video_is_shown(client: Client) -> None:
    video_id = client.made("a cat sim:synonyms sim:millis sim:no-progress sim:no-expiry sim:bytes=500000")
    shown = client.get(f"/{video_id}").json()
    assert (shown["status"], shown["created_at"] > 1e12) == ("succeeded", True)
    assert not {"progress", "expires_at"} & shown.keys()
    assert client.get(f"/{video_id}/content").headers["Content-Length"] == "500000"


def test_the_list_can_lag_hide_and_have_small_pages() -> None:
    now = [1_800_000_000.0]
    with Simulator(SETTINGS, wall=lambda: now[0]) as simulator, contextlib.closing(Client(simulator)) as client:
        late = client.submit("late sim:list-lag=30").json()["id"]
        client.submit("hidden sim:list-hide")
        shown = client.submit("shown").json()["id"]
        assert [video["id"] for video in client.get("").json()["data"]] == [shown]
        now[0] += 30
        assert [video["id"] for video in client.get("").json()["data"]] == [shown, late]
        simulator.faults("list-pages=1")
        assert (len(client.get("").json()["data"]), client.get("").json()["has_more"]) == (1, True)
        simulator.faults("list-hide")
        assert client.get("").json()["data"] == []
