"""The door and the envelope: keys, open access, rates, methods, headers, the log, and errors nobody foresaw."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.api import errors
from gateway.api.openapi import OPERATIONS
from gateway.api.operation import Operation
from gateway.api.services import ConfiguredKey
from gateway.bucket.port import BucketError
from gateway.db.clients import SqlClients
from gateway.jobs import errors as core
from gateway.jobs.errors import Unavailable
from tests.api_world import World, make_world

PUBLIC = {"/healthz", "/readyz", "/metrics", "/openapi.yaml", "/docs", "/docs/{asset}"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.database.close()


def _send(world: World, operation: Operation, headers: dict[str, str]) -> Any:
    path = operation.path.replace("{asset}", "page.js").replace("{", "").replace("}", "")
    return world.http.open(path, method=operation.method, headers=headers)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_route_but_the_public_ones_asks_for_a_key(world: World, operation: Operation) -> None:
    world.key("alice")
    without = _send(world, operation, {})
    wrong = _send(world, operation, {"Authorization": "Bearer sgw_wrong"})
    if operation.path in PUBLIC:
        assert without.status_code == wrong.status_code == 200
    else:
        assert without.status_code == wrong.status_code == 401
        assert without.json["error"]["code"] == "missing_api_key"
        assert wrong.json["error"]["code"] == "invalid_api_key"
        assert wrong.headers["WWW-Authenticate"] == "Bearer"


def test_flask_serves_nothing_that_is_no_operation(world: World) -> None:
    rules = {(rule.endpoint, rule.rule) for rule in world.http.application.url_map.iter_rules()}
    assert rules == {(operation.name, operation.rule) for operation in OPERATIONS}


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER   {}", "{}", "  {}  "])
def test_a_key_is_taken_with_and_without_bearer(world: World, form: str) -> None:
    world.key("alice")
    answer = world.http.get("/v1/models", headers={"Authorization": form.format(world.keys["alice"])})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer " + "x" * 600, "Bearer ü"]
)
def test_anything_else_is_no_key(world: World, value: str) -> None:
    answer = world.http.get("/v1/models", headers={"Authorization": value})
    assert (answer.status_code, answer.json["error"]["type"]) == (401, "invalid_request_error")


def test_a_revoked_key_is_refused_at_once(world: World) -> None:
    headers = world.key("alice")
    clients = SqlClients(world.database)
    before = world.http.get("/v1/models", headers=headers).status_code
    clients.revoke_key(clients.keys()[0].id, now=world.database.now())
    assert (before, world.http.get("/v1/models", headers=headers).status_code) == (200, 401)


def test_a_key_of_the_settings_speaks_for_its_client(tmp_path: Path) -> None:
    keys = [ConfiguredKey(client="carol", key="first-key"), ConfiguredKey(client="carol", key="second-key")]
    world = make_world(tmp_path, configured_keys=keys)
    made = world.http.post("/v1/videos", json={"prompt": "p"}, headers={"Authorization": "Bearer first-key"})
    seen = world.http.get(f"/v1/videos/{made.json['id']}", headers={"Authorization": "second-key"})
    assert (made.status_code, seen.status_code) == (202, 200)
    assert world.job(made.json["id"]).client == "carol"
    assert "first-key" not in repr(world.services)
    world.database.close()


# -- open access -------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, open_access=True)
    yield made
    made.database.close()


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:8080", "127.8.8.8", "[::1]:8080"])
def test_a_gateway_without_keys_is_open_on_loopback(open_world: World, host: str) -> None:
    headers = {"Host": host, "Authorization": "Bearer whatever-the-sdk-sends"}
    answer = open_world.http.post("/v1/videos", json={"prompt": "p"}, headers=headers)
    assert answer.status_code == 202
    assert open_world.job(answer.json["id"]).client == "default"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "gateway.example.com"}, {"Host": "10.0.0.1:8080"}, {"Host": "[::1"}, {"Host": "localhost.example.com"},
        {"Origin": "https://example.com"}, {"Origin": "null"}, {"Origin": "http://localhost:3000"},
        {"Origin": "http://[::1"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ],
)  # fmt: skip
def test_open_access_is_not_for_other_sites_pages(open_world: World, headers: dict[str, str]) -> None:
    answer = open_world.http.post("/v1/videos", data={"prompt": "p"}, headers={"Host": "localhost", **headers})
    assert answer.status_code in {400, 403}
    assert answer.json["error"]["message"]
    assert open_world.jobs_written() == 0


def test_the_first_key_ends_open_access(open_world: World) -> None:
    before = open_world.http.get("/v1/models").status_code
    key = open_world.key("alice")
    after = open_world.http.get("/v1/models")
    assert (before, after.status_code, open_world.http.get("/v1/models", headers=key).status_code) == (200, 401, 200)


# -- rates -------------------------------------------------------------------------------------------------------------


def test_a_client_that_sends_too_much_is_told_how_long_to_wait(tmp_path: Path) -> None:
    world = make_world(tmp_path, client_requests_per_minute=60)
    assert world.get("/v1/models").status_code == 200
    world.turnstile.wait_s = 2.3
    answer = world.get("/v1/models")
    assert (answer.status_code, answer.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert answer.headers["Retry-After"] == "3"
    assert world.turnstile.asked == [("alice", 60)] * 2
    assert world.http.get("/healthz").status_code == 200
    world.database.close()


def test_no_rate_is_asked_for_where_none_is_set(world: World) -> None:
    world.turnstile.wait_s = 9.0
    assert world.get("/v1/models").status_code == 200
    assert world.turnstile.asked == []


# -- the envelope ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/nothing", "/v1/videos/a/b/c", "//v1/videos", "/console", "/V1/videos", "/v1/videos/video_%00"],
)
def test_an_unknown_route_is_404_in_json(world: World, path: str) -> None:
    answer = world.http.get(path)
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/videos", {"GET", "POST", "HEAD", "OPTIONS"}),
        ("PATCH", "/v1/videos/x", {"GET", "DELETE", "HEAD", "OPTIONS"}),
        ("GET", "/v1/videos/x/cancel", {"POST", "OPTIONS"}),
        ("DELETE", "/v1/models", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("BREW", "/v1/videos", {"GET", "POST", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method_is_405_and_names_the_right_ones(
    world: World, method: str, path: str, allowed: set[str]
) -> None:
    answer = world.http.open(path, method=method, headers=world.key("alice"))
    assert (answer.status_code, answer.json["error"]["code"]) == (405, "method_not_allowed")
    assert {name.strip() for name in answer.headers["Allow"].split(",")} == allowed


def test_head_answers_as_get_does_without_a_body(world: World) -> None:
    got, head = world.get("/v1/models"), world.http.head("/v1/models", headers=world.key("alice"))
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_options_names_the_methods_to_who_has_a_key(world: World) -> None:
    answer = world.http.options("/v1/videos", headers=world.key("alice"))
    assert answer.status_code == 200
    assert "POST" in answer.headers["Allow"]
    assert world.http.options("/v1/videos").status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/v1/videos", "/v1/videos/none", "/nothing"])
def test_every_answer_has_an_id_and_safe_headers(world: World, path: str) -> None:
    answer = world.get(path, headers={"x-request-id": "mine"})
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Server" not in answer.headers


def test_every_core_error_has_a_row_in_the_table() -> None:
    kinds = [kind for kind in vars(core).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert [kind for kind in kinds if kind is not core.Refusal and kind not in errors.TABLE] == []


def test_an_error_nobody_foresaw_is_500_and_says_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def explode() -> bytes:
        raise RuntimeError("sk-secret-words")

    object.__setattr__(world.services, "metrics_text", explode)
    answer = world.http.get("/metrics")
    assert (answer.status_code, answer.json["error"]["code"]) == (500, "internal_error")
    assert b"secret" not in answer.data
    assert f"unexpected error in {answer.headers['x-request-id']}" in caplog.text
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize(
    "trouble", [Unavailable("The database is busy.", code="unavailable"), BucketError("http://secret")]
)
def test_trouble_of_ours_is_503_with_a_time_to_come_back(world: World, trouble: Exception) -> None:
    def fail() -> bytes:
        raise trouble

    object.__setattr__(world.services, "metrics_text", fail)
    answer = world.http.get("/metrics")
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert b"secret" not in answer.data


def test_the_log_has_one_line_a_request_and_no_secret(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gateway.api")
    posted = world.post(callback_url="https://example.com/hook?token=hush", metadata={"a": "confidential"})
    caplog.clear()
    answer = world.get(f"/v1/videos/{posted.json['id']}?token=hush")
    (line,) = caplog.records
    assert line.getMessage().startswith(f"GET /v1/videos/{posted.json['id']} 200 ")
    assert line.getMessage().endswith(f" alice {answer.headers['x-request-id']}")
    fields = vars(line)
    assert fields["client"] == "alice"
    assert fields["request_id"] == answer.headers["x-request-id"]
    assert fields["status"] == 200
    assert fields["ms"] >= 0
    told = repr(fields)
    assert "hush" not in told
    assert world.keys["alice"] not in told
    assert "confidential" not in told


def test_no_line_break_gets_into_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="gateway.api")
    world.http.get("/v1/x%0Afaked%20line")
    assert "\n" not in caplog.records[-1].getMessage()


def test_requests_are_observed_by_rule_and_not_by_path(tmp_path: Path) -> None:
    seen: list[tuple[str, str, int]] = []
    world = make_world(tmp_path, observe=lambda method, route, status, _: seen.append((method, route, status)))
    world.get("/v1/videos/video_1")
    world.http.get("/etc/passwd")
    assert seen == [("GET", "/v1/videos/<video_id>", 404), ("GET", "unmatched", 404)]
    world.database.close()


def test_methods_that_nobody_serves_are_observed_as_one(tmp_path: Path) -> None:
    seen: list[str] = []
    world = make_world(tmp_path, observe=lambda method, *_: seen.append(method))
    for method in ("OPTIONS", "BREW", "get", "X-0001"):
        world.http.open("/v1/videos", method=method)
        world.http.open("/nowhere", environ_overrides={"REQUEST_METHOD": method})
    assert sorted(set(seen)) == ["GET", "OPTIONS", "other"]
    world.database.close()
