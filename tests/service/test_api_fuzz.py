"""Requests made up from the document: nothing is answered otherwise than it says, and nothing with 500."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from gateway.api.openapi import openapi_document
from tests.api_world import World, make_world

WORLDS: list[World] = []


def _app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Serve with the app of the present module's world, which is made after the tests are collected."""
    return WORLDS[-1].http.application(environ, start_response)


DOCUMENT = schemathesis.openapi.from_dict(openapi_document())
DOCUMENT.app = _app


@pytest.fixture(scope="module", autouse=True)
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    WORLDS.append(make_world(tmp_path_factory.mktemp("fuzz")))
    yield WORLDS[-1]
    WORLDS.pop().database.close()


@DOCUMENT.parametrize()
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_made_up_requests_are_answered_as_the_document_says(case: Any) -> None:
    answer = case.call(headers=WORLDS[-1].key("alice"))
    assert answer.status_code < 500
    # A header that we don't know is no error; the key that is sent here is not the one that the tool takes away; and
    # which sizes and models are served is not for the document to say.
    case.validate_response(answer, excluded_checks=[ignored_auth, negative_data_rejection, positive_data_acceptance])
