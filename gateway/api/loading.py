"""Running a schema over what a request says, and telling in the protocol's words which field is wrong and why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError

from gateway.jobs.errors import InvalidField

_DEEPEST = 32
_SURROGATE = re.compile("[\ud800-\udfff]")
MISSING = "Missing required parameter"
UNKNOWN = "Unknown parameter"
TYPE = "Invalid type"


def load(schema: Schema, given: Mapping[str, object]) -> Any:
    """Return what the schema makes of the fields; raises InvalidField for the first that is wrong."""
    for name, value in given.items():
        _check_texts(name, name, 0)
        _check_texts(name, value, 0)
    try:
        return schema.load(given)
    except ValidationError as error:
        raise _first(error, schema) from error


def _check_texts(field: str, value: object, depth: int) -> None:
    """Refuse what no database and no upstream takes in any text, however deep it lies."""
    if depth > _DEEPEST:
        raise InvalidField(field[:64], f"'{field[:64]}' is nested too deeply: at most {_DEEPEST} levels.")
    if isinstance(value, str):
        if "\0" in value or _SURROGATE.search(value):
            shown = "body" if value is field else field[:64]
            raise InvalidField(shown, f"'{shown}' holds a NUL character or half a surrogate pair, which is no text.")
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_texts(field, key, depth + 1)
            _check_texts(field, member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check_texts(field, member, depth + 1)


def _first(error: ValidationError, schema: Schema) -> InvalidField:
    param, found = next(iter(dict(error.messages_dict).items()))
    name = str(param)[:64]
    words = _words(found)
    if words == UNKNOWN:
        allowed = ", ".join(sorted(field.data_key or key for key, field in schema.load_fields.items()))
        return InvalidField(name, f"{UNKNOWN}: '{name}'. Allowed: {allowed}.", code="unknown_parameter")
    if words == MISSING:
        return InvalidField(name, f"{MISSING}: '{name}'.", code="missing_required_parameter")
    if words.startswith(TYPE):
        return InvalidField(name, f"{TYPE} for '{name}'{words.removeprefix(TYPE)}", code="invalid_type")
    return InvalidField(name, f"Invalid value for '{name}': {words}")


def _words(found: object) -> str:
    while isinstance(found, dict | list):
        found = next(iter(found.values())) if isinstance(found, dict) else found[0]
    return str(found)


def errors(expected: str) -> dict[str, Any]:
    """Return the messages of a field that expects something: a sentence's end that `load` completes."""
    wrong = f"{TYPE}: expected {expected}."
    return {
        "required": MISSING,
        "null": wrong,
        "invalid": wrong,
        "type": wrong,
        "invalid_utf8": wrong,
        "validator_failed": wrong,
    }
