"""The document, the routes and the answers say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from gateway.api.description import ALWAYS
from gateway.api.examples import CALLBACKS, EVERY, FILE
from gateway.api.openapi import OPERATIONS, openapi_document, openapi_yaml
from gateway.api.operation import Operation
from gateway.jobs.job import Status
from gateway.webhooks.events import TYPES
from tests.api_world import World, make_world
from tests.document.notebook import BY_NAME, differences
from tests.document.refusals import recorded_refusals

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    made.database.close()


def test_the_document_in_the_repository_is_the_one_the_code_makes() -> None:
    assert (ROOT / "openapi.yaml").read_text() == openapi_yaml()


def test_the_document_is_valid_and_served(world: World) -> None:
    document = openapi_document()
    validate(document)
    answer = world.http.get("/openapi.yaml")
    assert yaml.safe_load(answer.data) == document
    assert answer.content_type.startswith("application/yaml")


def test_every_route_stands_in_the_document_and_nothing_else() -> None:
    written = {(m.upper(), path) for path, item in openapi_document()["paths"].items() for m in item}
    assert written == {(operation.method, operation.path) for operation in OPERATIONS if operation.documented}
    assert {operation.path for operation in OPERATIONS if not operation.documented} == {"/docs/{asset}"}


def test_what_is_refused_is_refused_as_the_document_shows(tmp_path: Path) -> None:
    assert differences(recorded_refusals(tmp_path)) == {}, "run `make record`"


def test_there_are_recorded_examples_of_every_operation() -> None:
    recorded = json.loads(FILE.read_text(encoding="utf-8"))
    missing = {
        f"{operation.name} {kind}"
        for operation in OPERATIONS
        if operation.documented
        for kind in _shown(operation) - recorded.get(operation.name, {}).keys()
    }
    assert missing == set(), "let tests/document ask for it, and run `make record`"


def _shown(operation: Operation) -> set[str]:
    """Return what the document should show of an operation: of several good answers the first will do."""
    described = [str(success.status) for success in operation.successes if success.schema is not None]
    asked = {"request"} if operation.body is not None else set()
    return {*described[:1], *map(str, operation.errors), *asked}


def test_nothing_is_recorded_that_the_document_does_not_show() -> None:
    recorded = json.loads(FILE.read_text(encoding="utf-8"))
    assert list(recorded.pop(CALLBACKS)) == list(TYPES)
    assert {int(status) for status in recorded.pop(EVERY)} == set(ALWAYS)
    for name, kinds in recorded.items():
        operation = BY_NAME[name]
        statuses = {success.status for success in operation.successes} | set(operation.errors)
        assert set(kinds) - {"request"} <= set(map(str, statuses)), name


def test_every_example_keeps_to_its_own_schema() -> None:
    document = openapi_document()
    looked_at = 0
    for content in _contents(document):
        if "example" in content:
            _check(document, content["schema"], content["example"])
            looked_at += 1
    assert looked_at > 30


def test_answers_keep_to_the_document(world: World) -> None:
    video_id = world.post(callback_url="https://example.com/h").json["id"]
    _answer(world, "POST", "/v1/videos", "/v1/videos", 202)
    _answer(world, "GET", "/v1/videos/{video_id}", f"/v1/videos/{video_id}", 200)
    world.advance(video_id, Status.COMPLETED)
    for path in ("/v1/videos/{video_id}", "/v1/videos/{video_id}/events", "/v1/videos/{video_id}/deliveries"):
        _answer(world, "GET", path, path.replace("{video_id}", video_id), 200)
    for path in ("/v1/videos", "/v1/models", "/healthz", "/readyz"):
        _answer(world, "GET", path, path, 200)
    _answer(world, "GET", "/v1/models/{model}", "/v1/models/sora-2", 200)
    _answer(world, "GET", "/v1/videos/{video_id}", "/v1/videos/none", 404)
    _answer(world, "POST", "/v1/videos/{video_id}/cancel", f"/v1/videos/{video_id}/cancel", 409)
    _answer(world, "DELETE", "/v1/videos/{video_id}", f"/v1/videos/{video_id}", 200)


def _answer(world: World, method: str, path: str, url: str, status: int) -> None:
    body = {"prompt": "p"} if (method, path) == ("POST", "/v1/videos") else None
    answer = world.http.open(url, method=method, headers=world.key("alice"), json=body)
    assert answer.status_code == status
    document = openapi_document()
    response = document["paths"][path][method.lower()]["responses"][str(status)]
    schema = _resolved(document, response)["content"]["application/json"]["schema"]
    _check(document, schema, answer.json)
    properties = _resolved(document, schema)["properties"]
    assert set(answer.json) <= set(properties), "a field that the document doesn't know"


def _check(document: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)


def _resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def _contents(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in [*document["paths"].values(), *document["webhooks"].values()]:
        for operation in item.values():
            answers = [_resolved(document, answer) for answer in operation["responses"].values()]
            for body in [operation.get("requestBody", {}), *answers]:
                yield from body.get("content", {}).values()
