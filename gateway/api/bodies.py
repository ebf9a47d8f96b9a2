"""Request bodies: JSON, multipart and urlencoded forms all become one dict of fields and at most one picture."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from flask import Request, request
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from gateway.api.errors import UnsupportedBody
from gateway.jobs.errors import InvalidField
from gateway.pictures.reader import LARGEST_BYTES, too_large

JSON = "application/json"
FORMS: Sequence[str] = ("multipart/form-data", "application/x-www-form-urlencoded")

OBJECTS: Sequence[str] = ("metadata", "extra", "input_reference")
"""Fields that are objects: `name[key]` in a form, or JSON text in one field."""

LISTS: Sequence[str] = ("callback_events", "event_types")
"""Fields that are lists: `name[]` repeated in a form, or JSON text in one field."""

_BRACKETS = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?")


class StrictFormParser(FormDataParser):
    """A form parser that says that a form is broken, where Werkzeug's returns an empty one."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **{**options, "silent": False})  # type: ignore[arg-type]


class GatewayRequest(Request):
    """The request class of the app."""

    form_data_parser_class = StrictFormParser


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A parsed body: the fields as they came, unchecked, and the bytes of the picture where a file part came."""

    fields: Mapping[str, object]
    picture: bytes | None = field(default=None, repr=False)


def read() -> Body:
    """Return the body of the present request; raises InvalidField or UnsupportedBody.

    A body that is too large raises Werkzeug's RequestEntityTooLarge, whether its length was announced or not.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedBody("A compressed body is not read here.", code="unsupported_content_encoding")
    _check_unannounced()
    kind = request.mimetype
    if kind == JSON:
        return Body(fields=_json_object(request.get_data()))
    if kind in FORMS:
        return _form()
    if not kind and not request.get_data():
        return Body(fields={})
    allowed = ", ".join([JSON, *FORMS])
    raise UnsupportedBody(f"The body's content type must be one of: {allowed}.", code="unsupported_content_type")


def _check_unannounced() -> None:
    """Read a chunked body whole before it is parsed: Werkzeug cuts one off at the limit and says nothing."""
    limit = request.max_content_length
    if request.content_length is not None or limit is None:
        return
    if len(request.get_data()) >= limit and request.environ["wsgi.input"].read(1):
        raise RequestEntityTooLarge


# -- JSON --------------------------------------------------------------------------------------------------------------


def _json_object(raw: bytes) -> dict[str, object]:
    try:
        found = parse_json(raw.decode())
    except (ValueError, RecursionError) as error:
        raise _broken("The body is not valid JSON", error) from error
    if not isinstance(found, dict):
        raise InvalidField("body", "The body must be a JSON object.", code="invalid_json")
    return found


def parse_json(text: str) -> object:
    """Return the decoded text; raises ValueError also for NaN, infinities and a name that stands twice."""
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _broken(what: str, error: Exception) -> InvalidField:
    where = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return InvalidField("body", f"{what}: {where[:200]}.", code="invalid_json")


# -- forms -------------------------------------------------------------------------------------------------------------


def _form() -> Body:
    try:
        texts, files = request.form, request.files
    except ValueError as error:
        raise InvalidField(
            "body", "The form is broken: it does not end, or names no boundary.", code="invalid_form"
        ) from error
    fields: dict[str, object] = {}
    for name, values in texts.lists():
        _put(fields, name, values)
    picture = _picture(files.lists())
    if picture is not None and "input_reference" in fields:
        raise _twice("input_reference")
    return Body(fields=fields, picture=picture)


def _put(fields: dict[str, object], name: str, values: Sequence[str]) -> None:
    bracketed = _BRACKETS.fullmatch(name)
    if bracketed is None:
        _put_plain(fields, name, values)
    elif bracketed[1] in LISTS and not bracketed[2]:
        _put_list(fields, bracketed[1], list(values))
    elif bracketed[1] in OBJECTS and bracketed[2]:
        _put_member(fields, bracketed[1], bracketed[2], values)
    else:
        fields[name] = values[0]  # the schema knows no such field and says so


def _put_plain(fields: dict[str, object], name: str, values: Sequence[str]) -> None:
    if name in LISTS:
        as_json = len(values) == 1 and values[0].lstrip().startswith("[")
        _put_list(fields, name, _json_text(name, values[0]) if as_json else list(values))
        return
    if len(values) > 1 or name in fields:
        raise _twice(name)
    fields[name] = _json_text(name, values[0]) if name in OBJECTS else values[0]


def _put_list(fields: dict[str, object], name: str, values: object) -> None:
    if name in fields:
        raise _twice(name)
    fields[name] = values


def _put_member(fields: dict[str, object], name: str, member: str, values: Sequence[str]) -> None:
    if len(values) > 1:
        raise _twice(f"{name}[{member}]")
    members = fields.setdefault(name, {})
    if not isinstance(members, dict) or member in members:
        raise _twice(name)
    # A form has only text, and official SDKs send nothing but forms: a seed must still reach the upstream as a number.
    members[member] = _scalar(values[0]) if name == "extra" else values[0]


def _scalar(text: str) -> object:
    if text in {"true", "false"}:
        return text == "true"
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    return float(text) if number[2] else int(text)


def _json_text(name: str, text: str) -> object:
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        message = (
            f"In a form, '{name}' is JSON text, or its parts are sent as '{name}[…]'. A picture is sent as a file part."
        )
        if name != "input_reference":
            message = message.removesuffix(" A picture is sent as a file part.")
        raise InvalidField(name, message, code="invalid_type") from error


def _picture(files: object) -> bytes | None:
    found: bytes | None = None
    for name, parts in files:  # type: ignore[attr-defined]
        if name != "input_reference":
            raise InvalidField(
                name[:64], "There is no such file part. Allowed: input_reference.", code="unknown_parameter"
            )
        given = [data for data in map(_bytes_of, parts) if data is not None]
        if len(given) > 1:
            raise _twice(name)
        found = given[0] if given else None
    return found


def _bytes_of(part: FileStorage) -> bytes | None:
    data = part.stream.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise too_large()
    # What a browser sends for a file field that was left empty.
    return data if data or part.filename else None


def _twice(name: str) -> InvalidField:
    return InvalidField(name[:64], f"'{name[:64]}' was sent more than once.", code="duplicate_parameter")
