"""How an operation and its schemas are written in OpenAPI's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema
from werkzeug.http import HTTP_STATUS_CODES

from gateway.api import answers, bodies, callbacks, code_tables
from gateway.api.examples import EVERY, example
from gateway.api.operation import Operation, Success
from gateway.api.schemas import ImageUrl, Seconds
from gateway.jobs.refusal_codes import RefusalCode

ALWAYS: Mapping[int, RefusalCode] = {
    401: "invalid_api_key",
    414: "malformed_request",
    429: "rate_limit_exceeded",
    500: "internal_error",
    503: "unavailable",
}
"""What every operation behind the API key can answer, and an example code of it."""

_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key: `gateway keys create NAME` makes one. The page `/docs` forgets it when closed.",
}

_RETRY_AFTER = {"Retry-After": {"description": "In how many seconds to try again.", "schema": {"type": "integer"}}}

_INTRO = f"""\
Submit, poll, store, call back: the video-generation loop as a service. One resource, the protocol's own: the
**video**. A client of the OpenAI Videos API works by changing its base URL; what this gateway adds stands beside.

1. **Post** `POST /v1/videos`. The answer is 202 at once; from then on the video is never lost. Send an
   `Idempotency-Key`: where no answer comes, the same request again gives the same video.
2. **Receive** the callback at your `callback_url`, signed after Standard Webhooks, as often as it takes until you
   answer 2xx: see **Webhooks** below. Or ask `GET /v1/videos/{{video_id}}`, which `Prefer: wait=60` holds.
3. **Fetch** the MP4 from the link in `url`, which needs no key. Links end; each `GET` of the video signs a fresh one.

Every error answer has the same body, `{{"error": {{"message", "type", "param", "code"}}}}`, and an `x-request-id`; 429
and 503 say in `Retry-After` when to come back.

<details>
<summary>All codes of a request that is refused</summary>

{code_tables.refusals()}
</details>
<details>
<summary>All codes of a video that failed</summary>

{code_tables.failures()}
</details>
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
    spec.components.security_scheme("bearer", _BEARER)
    assert plugin.converter is not None  # noqa: S101 - set by APISpec's constructor
    plugin.converter.add_attribute_function(_own_fields)  # type: ignore[no-untyped-call]
    spec.components.schema("Error", schema=answers.ErrorSchema)
    for status, code in ALWAYS.items():
        spec.components.response(_shared(status), _error(EVERY, status, code))
    for operation in (operation for operation in operations if operation.documented):
        spec.path(path=operation.path, operations={operation.method.lower(): _described(spec, plugin, operation)})
    webhooks = callbacks.described(spec)
    found = spec.to_dict()
    return {"openapi": found.pop("openapi"), "info": found.pop("info"), **found, "webhooks": webhooks}


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
            # Without an example, a page that sends requests makes up pairs that no video has.
            parameter.update(style="deepObject", explode=True, example={})
    return list(found)


def _body(spec: APISpec, operation: Operation, schema: type[Schema]) -> dict[str, Any]:
    """Describe a body that may come as JSON or as a form; only a form can hold a file part."""
    json = _content(schema, operation.name, "request")
    name = f"{_name_of(schema)}Form"
    if name not in spec.components.schemas:
        spec.components.schema(name, schema=type(name, (schema,), {}))
        form = spec.components.schemas[name]
        for part in operation.file_parts:
            file = {"type": "string", "format": "binary", "contentMediaType": "image/*"}
            form["properties"][part] = {"anyOf": [file, form["properties"][part]]}
    encoding = {name: {"style": "deepObject", "explode": True} for name in bodies.OBJECTS}
    multipart = {**json, "schema": {"$ref": f"#/components/schemas/{name}"}, "encoding": encoding}
    urlencoded = {**json, "encoding": encoding}
    return {
        "required": True,
        "content": dict(zip((bodies.JSON, *bodies.FORMS), (json, multipart, urlencoded), strict=True)),
    }


def _responses(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {str(success.status): _success(operation, success) for success in operation.successes}
    errors = dict(operation.errors) if operation.public else {**ALWAYS, **operation.errors}
    for status, code in sorted(errors.items()):
        shared = not operation.public and ALWAYS.get(status) == code
        found.setdefault(str(status), _shared(status) if shared else _error(operation.name, status, code))
    return found


def _shared(status: int) -> str:
    return HTTP_STATUS_CODES[status].replace(" ", "")


def _headers(described: Mapping[str, str]) -> dict[str, Any]:
    request_id = {"x-request-id": "Names this request in the log."}
    return {
        name: {"description": text, "schema": {"type": "string"}} for name, text in {**described, **request_id}.items()
    }


def _success(operation: Operation, success: Success) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": success.description, "headers": _headers(success.headers)}
    if success.schema is not None:
        answer["content"] = {success.content_type: _content(success.schema, operation.name, str(success.status))}
    elif success.status < 300:
        read_as = "object" if success.content_type.endswith("yaml") else "string"
        kinds = (success.content_type, *success.other_types)
        answer["content"] = {kind: {"schema": {"type": read_as}} for kind in kinds}
    return answer


def _content(schema: type[Schema], name: str, kind: str) -> dict[str, Any]:
    shown = example(name, kind)
    return {"schema": schema} if shown is None else {"schema": schema, "example": shown}


def _error(name: str, status: int, code: RefusalCode) -> dict[str, Any]:
    headers = {**_headers({}), **(_RETRY_AFTER if status in {429, 503} else {})}
    content = {bodies.JSON: _content(answers.ErrorSchema, name, str(status))}
    return {"description": f"{HTTP_STATUS_CODES[status]}, such as `{code}`.", "headers": headers, "content": content}
