"""The API's operations, all of them, and the OpenAPI document made from them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import yaml
from flask import Response

from gateway.api import content, deliveries, docs_page, endpoints, events, health, models, videos
from gateway.api.description import described
from gateway.api.operation import Operation, Success
from gateway.api.services import ApiServices


def openapi_document(release: str | None = None) -> dict[str, Any]:
    """Return the document as plain data. `release`: the version it names, else that of this program."""
    return described(release or version("sora-gateway"), OPERATIONS)


def openapi_yaml(release: str | None = None) -> str:
    """Return the document as YAML: what `/openapi.yaml` serves, `gateway openapi` prints and the repository holds."""
    return yaml.dump(openapi_document(release), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


class _Plain(yaml.SafeDumper):
    """A dumper that writes a value that stands twice twice: references inside a document confuse its readers."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _written(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _written)


_served = cache(openapi_yaml)


def show(services: ApiServices) -> Response:
    """Answer with the document."""
    del services
    return Response(_served(), content_type="application/yaml; charset=utf-8")


OPERATIONS: Sequence[Operation] = (
    *videos.OPERATIONS,
    *content.OPERATIONS,
    *events.OPERATIONS,
    *deliveries.OPERATIONS,
    *endpoints.OPERATIONS,
    *models.OPERATIONS,
    *health.OPERATIONS,
    *docs_page.OPERATIONS,
    Operation(
        method="GET", path="/openapi.yaml", name="openapi", view=show, tag="Operation", public=True,
        summary="This document", description="OpenAPI 3.1.",
        successes=[Success(status=200, description="The document.", content_type="application/yaml")],
    ),
)  # fmt: skip
