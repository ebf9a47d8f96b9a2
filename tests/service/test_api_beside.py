"""What stands beside the videos: events, deliveries, models, health, metrics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.db.engine import Database
from gateway.db.outbox import SqlOutbox
from gateway.db.queries import SqlQueries
from gateway.db.workers import SqlWorkers
from gateway.jobs.catalogue import Catalogue
from gateway.jobs.job import Status
from gateway.jobs.ports import AttemptResult, Made
from tests.api_world import OFFER, World, make_world
from tests.contracts.world import claimed_singly

HOOK = "https://example.com/hook?token=t"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.database.close()


def delivered(world: World) -> str:
    """Complete a video with a callback, and make one attempt that the receiver refuses."""
    video_id: str = world.post(callback_url=HOOK).json["id"]
    world.advance(video_id, Status.COMPLETED)
    outbox, now = SqlOutbox(world.database), world.database.now()
    (due,) = claimed_singly(outbox, now=now + 1)
    assert outbox.held([due])
    result = AttemptResult(status=500, latency_ms=12, answer="no", error="")
    outbox.failed(due, result, due_at=None, held_until=None, now=now + 1)
    return video_id


def test_events_tell_each_transition_in_order(world: World) -> None:
    video_id = world.post().json["id"]
    world.advance(video_id, Status.COMPLETED)
    events = world.get(f"/v1/videos/{video_id}/events").json
    assert [event["event"] for event in events["data"]] == ["queued", "submitting", "accepted", "rendered", "completed"]
    assert [event["status"] for event in events["data"]] == [
        "queued",
        "queued",
        "in_progress",
        "in_progress",
        "completed",
    ]
    assert [event["at"] for event in events["data"]] == sorted(event["at"] for event in events["data"])
    assert events["has_more"] is False


def test_only_an_admin_key_sees_the_upstream_in_the_events(world: World) -> None:
    video_id = world.post().json["id"]
    world.advance(video_id, Status.RENDERING)
    path = f"/v1/videos/{video_id}/events"
    plain = world.get(path).json["data"]
    admin = world.http.get(path, headers=world.key("alice", admin=True)).json["data"]
    assert [event["detail"] for event in plain] == [{}, {}, {}]
    assert admin[1]["detail"] == {"upstream": "one", "key": "main"}
    assert admin[2]["detail"]["answer"] == {"status": 200, "body": "raw"}


def test_an_admin_key_of_another_client_sees_nothing(world: World) -> None:
    video_id = world.post().json["id"]
    answer = world.http.get(f"/v1/videos/{video_id}/events", headers=world.key("bob", admin=True))
    assert answer.status_code == 404


def test_deliveries_show_every_attempt(world: World) -> None:
    video_id = delivered(world)
    (delivery,) = world.get(f"/v1/videos/{video_id}/deliveries").json["data"]
    (attempt,) = delivery["attempts"]
    assert (delivery["object"], delivery["type"], delivery["video_id"]) == ("delivery", "video.completed", video_id)
    assert (delivery["status"], delivery["url"], delivery["next_attempt_at"]) == ("exhausted", HOOK, None)
    assert delivery["event_id"].startswith("evt_")
    assert (attempt["number"], attempt["status"], attempt["latency_ms"], attempt["answer"]) == (1, 500, 12, "no")
    last = world.get(f"/v1/videos/{video_id}/events").json["data"][-1]
    assert (last["event"], last["detail"]["answer"]) == ("callback", "no")


def test_a_delivery_is_made_again_for_its_client_only(world: World) -> None:
    video_id = delivered(world)
    (delivery,) = world.get(f"/v1/videos/{video_id}/deliveries").json["data"]
    path = f"/v1/deliveries/{delivery['id']}/redeliver"
    foreign = world.http.post(path, headers=world.key("bob"))
    answer = world.http.post(path, headers=world.key("alice"))
    assert foreign.status_code == 404
    assert (answer.status_code, answer.json["status"]) == (202, "pending")
    assert answer.json["event_id"] == delivery["event_id"]
    assert answer.json["next_attempt_at"] is not None


def test_a_delivered_callback_can_be_made_again(world: World) -> None:
    video_id = delivered(world)
    (delivery,) = world.get(f"/v1/videos/{video_id}/deliveries").json["data"]
    path = f"/v1/deliveries/{delivery['id']}/redeliver"
    world.http.post(path, headers=world.key("alice"))
    outbox, now = SqlOutbox(world.database), world.database.now()
    (due,) = claimed_singly(outbox, now=now + 1)
    outbox.delivered([Made(due, AttemptResult(status=204, latency_ms=1, answer="", error=""), now + 1)], now=now + 1)
    (done,) = world.get("/v1/deliveries?status=delivered").json["data"]
    again = world.http.post(path, headers=world.key("alice"))
    assert (done["id"], done["status"]) == (delivery["id"], "delivered")
    assert (again.status_code, again.json["status"], again.json["event_id"]) == (202, "pending", done["event_id"])


def test_deliveries_of_a_client_are_listed_page_by_page(world: World) -> None:
    videos = [delivered(world) for _ in range(3)]
    first = world.get("/v1/deliveries?limit=2").json
    second = world.get(f"/v1/deliveries?limit=2&after={first['last_id']}").json
    assert [entry["video_id"] for entry in first["data"] + second["data"]] == videos[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert first["data"][0]["attempts"][0]["status"] == 500
    assert world.get("/v1/deliveries", client="bob").json["data"] == []


def test_deliveries_are_picked_by_status_and_time(world: World) -> None:
    delivered(world)
    later = int(world.database.now()) + 60
    assert len(world.get("/v1/deliveries?status=exhausted&since=0").json["data"]) == 1
    assert world.get("/v1/deliveries?status=pending").json["data"] == []
    assert world.get(f"/v1/deliveries?since={later}").json["data"] == []


@pytest.mark.parametrize(
    ("asked", "status", "param"),
    [
        ("status=lost", 400, "status"),
        ("since=never", 400, "since"),
        ("limit=101", 400, "limit"),
        ("after=del_x", 404, "after"),
    ],
)
def test_a_list_of_deliveries_that_makes_no_sense_names_the_parameter(
    world: World, asked: str, status: int, param: str
) -> None:
    answer = world.get(f"/v1/deliveries?{asked}")
    assert (answer.status_code, answer.json["error"]["param"]) == (status, param)


def test_all_that_failed_since_a_time_is_made_again_for_its_client_only(world: World) -> None:
    delivered(world)
    delivered(world)
    path, since = "/v1/deliveries/redeliver", {"since": 0}
    foreign = world.http.post(path, json=since, headers=world.key("bob"))
    answer = world.http.post(path, json=since, headers=world.key("alice"))
    twice = world.http.post(path, json=since, headers=world.key("alice"))
    assert foreign.json["count"] == 0
    assert (answer.status_code, answer.json) == (
        202,
        {"object": "delivery.redelivered", "count": 2, "has_more": False},
    )
    assert twice.json["count"] == 0
    missing = world.http.post(path, json={}, headers=world.key("alice"))
    assert (missing.status_code, missing.json["error"]["param"]) == (400, "since")


def test_a_model_is_found_whose_name_holds_a_slash(tmp_path: Path) -> None:
    world = make_world(tmp_path, catalogue=Catalogue(models={"Wan-AI/Wan2.2": [OFFER]}))
    assert world.get("/v1/models/Wan-AI%2FWan2.2").json["id"] == "Wan-AI/Wan2.2"
    world.database.close()


def test_models_are_listed_with_what_they_take(world: World) -> None:
    listed = world.get("/v1/models").json
    (model,) = listed["data"]
    assert model == {
        "id": "sora-2", "object": "model", "created": 0, "owned_by": "sora-gateway", "sizes": ["720x1280", "1280x720"],
        "seconds": ["4", "8", "12"], "default_size": "720x1280", "default_seconds": "4", "prompt_max_characters": 32000,
        "extra": ["negative_prompt", "seed"],
    }  # fmt: skip
    assert world.get("/v1/models/sora-2").json == model
    assert world.get("/v1/models/none").json["error"]["code"] == "model_not_found"


def test_readiness_tells_of_workers_and_paused_keys_and_stays_200(world: World) -> None:
    before = world.http.get("/readyz")
    SqlWorkers(world.database).join("w", now=world.database.now())
    after = world.http.get("/readyz")
    assert (before.status_code, before.json) == (
        200,
        {"status": "ready", "worker_heartbeat_age_s": None, "paused_keys": []},
    )
    assert 0 <= after.json["worker_heartbeat_age_s"] < 30


def test_readiness_names_the_keys_that_are_paused(world: World) -> None:
    from gateway.db.lanes import SqlLanes

    video_id = world.post().json["id"]
    world.advance(video_id, Status.SUBMITTING)
    SqlLanes(world.database).pause("one", "main", reason="insufficient_quota", answer="402", now=world.database.now())
    (paused,) = world.http.get("/readyz").json["paused_keys"]
    assert (paused["upstream"], paused["key"], paused["reason"]) == ("one", "main", "insufficient_quota")


def test_readiness_is_503_while_stopping(tmp_path: Path) -> None:
    world = make_world(tmp_path, stopping=lambda: True)
    answer = world.http.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (503, "stopping")
    assert world.http.get("/healthz").json == {"status": "ok"}
    world.database.close()


def test_readiness_is_503_without_a_current_schema(tmp_path: Path) -> None:
    empty = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    (tmp_path / "world").mkdir()
    world = make_world(tmp_path / "world", queries=SqlQueries(empty))
    answer = world.http.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (503, "schema_outdated")
    empty.close()
    world.database.close()


def test_readiness_is_503_without_a_database(tmp_path: Path) -> None:
    nowhere = Database(f"sqlite:///{tmp_path / 'missing' / 'gateway.db'}")
    (tmp_path / "world").mkdir()
    world = make_world(tmp_path / "world", queries=SqlQueries(nowhere))
    answer = world.http.get("/readyz")
    assert (answer.status_code, answer.json["status"]) == (503, "database_unavailable")
    assert "Retry-After" in answer.headers
    nowhere.close()
    world.database.close()


def test_metrics_are_plain_text(world: World) -> None:
    answer = world.http.get("/metrics")
    assert (answer.status_code, answer.data) == (200, b"gateway_up 1\n")
    assert answer.content_type.startswith("text/plain; version=0.0.4")
