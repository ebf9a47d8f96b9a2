"""How an operation and its schemas are written in OpenAPI's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema
from werkzeug.http import HTTP_STATUS_CODES

from gateway.api import answers, bodies
from gateway.api.errors import error_body
from gateway.api.operation import Operation, Success
from gateway.api.schemas import ImageUrl, Seconds
from gateway.jobs.refusal_codes import RefusalCode

_ALWAYS: Mapping[int, RefusalCode] = {
    401: "invalid_api_key",
    414: "malformed_request",
    429: "rate_limit_exceeded",
    500: "internal_error",
    503: "unavailable",
}
"""What every operation behind the API key can answer, and an example code of it."""

_RETRY_AFTER = {"Retry-After": {"description": "In how many seconds to try again.", "schema": {"type": "integer"}}}

_TYPES: Mapping[int, str] = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}

_INTRO = """\
Submit, poll, store, call back: the video-generation loop as a service. One resource, the protocol's own: the
**video**. A client of the OpenAI Videos API works by changing its base URL; what this gateway adds stands beside.

Every error answer has the same body and an `x-request-id`; 429 and 503 say in `Retry-After` when to come back.
"""


def described(version: str, operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document as plain data."""
    plugin = MarshmallowPlugin(schema_name_resolver=_name_of)
    spec = APISpec(
        title="Sora Gateway",
        version=version,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": _INTRO, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": "/"}],
        security=[{"bearer": []}],
        tags=[{"name": name} for name in dict.fromkeys(operation.tag for operation in operations)],
    )
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    assert plugin.converter is not None  # noqa: S101 - set by APISpec's constructor
    plugin.converter.add_attribute_function(_own_fields)  # type: ignore[no-untyped-call]
    spec.components.schema("Error", schema=answers.ErrorSchema)
    for status, code in _ALWAYS.items():
        spec.components.response(_shared(status), _error(status, code))
    for operation in operations:
        spec.path(path=operation.path, operations={operation.method.lower(): _described(spec, plugin, operation)})
    found = spec.to_dict()
    return {"openapi": found.pop("openapi"), **found}


def _name_of(schema: Any) -> str:
    made = schema if isinstance(schema, type) else type(schema)
    return str(made.__name__).removesuffix("Schema")


def _own_fields(converter: object, field: object, **options: object) -> dict[str, Any]:
    """Describe the fields that marshmallow doesn't know."""
    del converter, options
    if isinstance(field, Seconds):
        # Written out with null, since the converter adds it only to a plain `type`.
        return {"type": ["string", "integer", "null"], "pattern": "^[0-9]{1,4}$", "minimum": 1, "maximum": 9999}
    if isinstance(field, ImageUrl):
        return {
            "type": ["object", "null"],
            "properties": {"image_url": {"type": "string", "pattern": "^(https?://|data:)", "maxLength": 20_971_520}},
            "required": ["image_url"],
            "additionalProperties": False,
        }
    return {}


def _described(spec: APISpec, plugin: MarshmallowPlugin, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
    }
    parameters = [_parameter(parameter) for parameter in operation.parameters]
    if operation.query is not None:
        parameters += _query(plugin, operation.query)
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = _body(spec, operation, operation.body)
    if operation.public:
        described["security"] = []
    described["responses"] = _responses(operation)
    return described


def _parameter(parameter: Any) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _query(plugin: MarshmallowPlugin, schema: type[Schema]) -> list[dict[str, Any]]:
    assert plugin.converter is not None  # noqa: S101 - as above
    found = plugin.converter.schema2parameters(schema, location="query")
    for parameter in found:
        if parameter["schema"].get("type") == "object":
            parameter["style"], parameter["explode"] = "deepObject", True
    return list(found)


def _body(spec: APISpec, operation: Operation, schema: type[Schema]) -> dict[str, Any]:
    """Describe a body that may come as JSON or as a form; only a form can hold a file part."""
    example = dict(operation.body_example)
    json = {"schema": schema, "example": example}
    name = f"{_name_of(schema)}Form"
    if name not in spec.components.schemas:
        spec.components.schema(name, schema=type(name, (schema,), {}))
        form = spec.components.schemas[name]
        for part in operation.file_parts:
            file = {"type": "string", "format": "binary", "contentMediaType": "image/*"}
            form["properties"][part] = {"anyOf": [file, form["properties"][part]]}
    encoding = {name: {"style": "deepObject", "explode": True} for name in bodies.OBJECTS}
    multipart = {"schema": {"$ref": f"#/components/schemas/{name}"}, "example": example, "encoding": encoding}
    urlencoded = {**json, "encoding": encoding}
    return {
        "required": True,
        "content": dict(zip((bodies.JSON, *bodies.FORMS), (json, multipart, urlencoded), strict=True)),
    }


def _responses(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {str(success.status): _success(success) for success in operation.successes}
    errors = dict(operation.errors) if operation.public else {**_ALWAYS, **operation.errors}
    for status, code in sorted(errors.items()):
        shared = not operation.public and _ALWAYS.get(status) == code
        found.setdefault(str(status), _shared(status) if shared else _error(status, code))
    return found


def _shared(status: int) -> str:
    return HTTP_STATUS_CODES[status].replace(" ", "")


def _headers(described: Mapping[str, str]) -> dict[str, Any]:
    request_id = {"x-request-id": "Names this request in the log."}
    return {
        name: {"description": text, "schema": {"type": "string"}} for name, text in {**described, **request_id}.items()
    }


def _success(success: Success) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": success.description, "headers": _headers(success.headers)}
    if success.schema is not None:
        answer["content"] = {success.content_type: {"schema": success.schema, "example": success.example}}
    elif success.status < 300:
        read_as = "object" if success.content_type.endswith("yaml") else "string"
        answer["content"] = {success.content_type: {"schema": {"type": read_as}}}
    return answer


def _error(status: int, code: RefusalCode) -> dict[str, Any]:
    example = error_body(
        "What is wrong, and what is allowed.", type_=_TYPES.get(status, "invalid_request_error"), code=code
    )
    headers = {**_headers({}), **(_RETRY_AFTER if status in {429, 503} else {})}
    content = {bodies.JSON: {"schema": answers.ErrorSchema, "example": example}}
    return {"description": f"{HTTP_STATUS_CODES[status]}, such as `{code}`.", "headers": headers, "content": content}
