"""Account-wide webhook endpoints, as the official SDK sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai.types.webhooks import (
    DeletedWebhookEndpoint,
    WebhookEndpoint,
    WebhookEndpointList,
    WebhookEndpointTestResult,
    WebhookEndpointWithSecret,
    WebhookEventTypeList,
)

from gateway.db.outbox import SqlOutbox
from gateway.jobs.ports import AttemptResult, Delivery, Made
from gateway.webhooks.signing import well_formed
from tests.api_world import World, make_world
from tests.contracts.world import claimed_singly

PATH = "/v1/webhook_endpoints"
FIELDS = {"name": "shop", "url": "https://example.com/hook", "event_types": ["video.completed", "video.failed"]}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.database.close()


def post(world: World, path: str = PATH, client: str = "alice", **fields: object) -> Any:
    return world.http.post(path, json=fields, headers=world.key(client))


def made(world: World, client: str = "alice", **fields: object) -> dict[str, Any]:
    answer = post(world, client=client, **{**FIELDS, **fields})
    assert answer.status_code == 200
    endpoint: dict[str, Any] = answer.json
    return endpoint


def test_an_endpoint_is_made_with_a_secret_that_is_shown_once(world: World) -> None:
    endpoint = made(world)
    WebhookEndpointWithSecret.model_validate(endpoint)
    shown = world.get(f"{PATH}/{endpoint['id']}").json
    WebhookEndpoint.model_validate(shown)
    secret = endpoint.pop("signing_secret")
    assert well_formed(secret)
    assert shown == endpoint
    assert shown["signing_secret_hint"] == f"whsec_…{secret[-4:]}"
    assert (shown["name"], shown["url"], shown["event_types"], shown["enabled"]) == (*FIELDS.values(), True)


def test_endpoints_are_listed_newest_first_page_by_page(world: World) -> None:
    ids = [made(world, name=str(number))["id"] for number in range(3)]
    first = world.get(f"{PATH}?limit=2").json
    second = world.get(f"{PATH}?limit=2&after={first['last_id']}").json
    WebhookEndpointList.model_validate(first)
    assert [entry["id"] for entry in first["data"] + second["data"]] == ids[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "ftp://example.com/"), ("url", None), ("name", ""), ("event_types", []),
        ("event_types", ["batch.completed"]), ("event_types", ["video.failed", "video.failed"]), ("color", "red"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(world: World, field: str, value: object) -> None:
    endpoint = made(world)
    new = post(world, **{**FIELDS, field: value})
    changed = post(world, f"{PATH}/{endpoint['id']}", **{field: value})
    assert [(answer.status_code, answer.json["error"]["param"]) for answer in (new, changed)] == [(400, field)] * 2


def test_a_url_that_the_guard_refuses_is_refused_at_creation_and_change(world: World) -> None:
    endpoint = made(world)
    world.refusals["http://10.0.0.1/"] = "It is not public."
    new = post(world, **{**FIELDS, "url": "http://10.0.0.1/"})
    changed = post(world, f"{PATH}/{endpoint['id']}", url="http://10.0.0.1/")
    assert [(answer.status_code, answer.json["error"]["param"]) for answer in (new, changed)] == [(400, "url")] * 2
    assert world.get(f"{PATH}/{endpoint['id']}").json["url"] == FIELDS["url"]


def test_only_what_is_named_is_changed(world: World) -> None:
    endpoint = made(world)
    changed = post(world, f"{PATH}/{endpoint['id']}", event_types=["video.cancelled"]).json
    assert changed["event_types"] == ["video.cancelled"]
    assert (changed["name"], changed["url"]) == (endpoint["name"], endpoint["url"])


def test_an_endpoint_is_turned_off_and_on_by_hand(world: World) -> None:
    path = f"{PATH}/{made(world)['id']}"
    off = post(world, path, enabled=False).json
    refused = post(world, f"{path}/test")
    on = post(world, path, enabled=True).json
    assert (off["enabled"], on["enabled"], on["disabled_at"]) == (False, True, None)
    assert off["disabled_at"] is not None
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "endpoint_disabled")


def test_another_clients_endpoint_is_not_found(world: World) -> None:
    path = f"{PATH}/{made(world)['id']}"
    bob = world.key("bob")
    answers = [
        world.http.get(path, headers=bob),
        world.http.delete(path, headers=bob),
        *(world.http.post(path + end, json={}, headers=bob) for end in ("", "/test", "/rotate_secret")),
    ]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert world.get(PATH, client="bob").json["data"] == []


def test_a_deleted_endpoint_is_gone(world: World) -> None:
    path = f"{PATH}/{made(world)['id']}"
    answer = world.http.delete(path, headers=world.key("alice"))
    DeletedWebhookEndpoint.model_validate(answer.json)
    assert world.get(path).status_code == 404
    assert world.http.delete(path, headers=world.key("alice")).status_code == 404


def test_a_rotation_shows_a_new_secret(world: World) -> None:
    endpoint = made(world)
    rotated = post(world, f"{PATH}/{endpoint['id']}/rotate_secret").json
    WebhookEndpointWithSecret.model_validate(rotated)
    assert well_formed(rotated["signing_secret"])
    assert rotated["signing_secret"] != endpoint["signing_secret"]


def test_a_test_is_written_to_the_outbox_and_not_waited_for_where_no_thread_can_be_spared(tmp_path: Path) -> None:
    world = make_world(tmp_path, waits=0)
    endpoint = made(world)
    answer = post(world, f"{PATH}/{endpoint['id']}/test", event_type="video.failed")
    (delivery,) = world.get("/v1/deliveries").json["data"]
    assert (answer.status_code, answer.json["event_type"], answer.json["status_code"]) == (202, "video.failed", None)
    assert (delivery["id"], delivery["status"]) == (answer.json["delivery_id"], "pending")
    assert (delivery["webhook_endpoint_id"], delivery["video_id"]) == (endpoint["id"], None)
    world.database.close()


def answer_to_a_test(world: World, result: AttemptResult) -> Any:
    """The answer to a test whose one attempt comes out so."""
    path = f"{PATH}/{made(world)['id']}/test"
    outbox, headers = SqlOutbox(world.database), world.key("alice")
    other = world.http.application.test_client()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(other.post, path, json={}, headers=headers)
        due: Sequence[Delivery] = ()
        while not due:
            assert not answer.done(), answer.result().json
            due = claimed_singly(outbox, limit=1, lease_s=60, now=world.database.now())
        now = world.database.now()
        if result.status == 200:
            outbox.delivered([Made(due[0], result, now)], now=now)
        else:
            outbox.failed(due[0], result, due_at=now + 60, held_until=None, now=now)
        return answer.result(timeout=60)


@pytest.mark.parametrize("status", [200, 500])
def test_a_test_says_what_the_receiver_answered(world: World, status: int) -> None:
    answer = answer_to_a_test(world, AttemptResult(status=status, latency_ms=1, answer="", error=""))
    WebhookEndpointTestResult.model_validate(answer.json, strict=True)
    assert (answer.status_code, answer.json["status_code"]) == (200, status)


def test_a_test_of_a_receiver_that_gives_no_answer_says_why(world: World) -> None:
    answer = answer_to_a_test(world, AttemptResult(status=None, latency_ms=1, answer="", error="connection refused"))
    assert (answer.status_code, answer.json["error"]["code"]) == (424, "receiver_silent")
    assert "connection refused" in answer.json["error"]["message"]


def test_the_event_types_are_listed_in_the_sdks_shape(world: World) -> None:
    listed = world.get("/v1/webhook_event_types").json
    WebhookEventTypeList.model_validate(listed)
    assert made(world, event_types=listed["data"])["event_types"] == listed["data"]


def test_a_client_may_not_have_endpoints_without_end(world: World) -> None:
    for _ in range(50):
        made(world)
    answer = post(world, **FIELDS)
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "too_many_endpoints")
    assert made(world, client="bob")["enabled"]
