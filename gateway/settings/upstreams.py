"""Upstreams as settings: one that the environment describes, or several in `[[upstreams]]` of the TOML file."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from gateway.settings import values
from gateway.settings.values import NamedSecret, Secret

ONLY = "default"
"""The name of the one upstream that the environment describes."""

_SIZE = r"[1-9][0-9]{1,4}x[1-9][0-9]{1,4}\Z"
_NAMED = "GATEWAY_CONFIG: upstreams"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """One model of one upstream. What is None is as the dialect knows it."""

    client_name: str
    upstream_name: str
    sizes: tuple[str, ...] | None = None
    seconds: tuple[int, ...] | None = None
    available_until: dt.date | None = None
    """The last day on which it takes new videos, in UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpstreamSettings:
    """One configured upstream. What is None is as for every upstream, or as the dialect knows it."""

    name: str
    url: str
    dialect: str
    keys: tuple[NamedSecret, ...]
    max_concurrent: int
    requests_per_minute: int
    strict: bool
    models: tuple[ModelSettings, ...] = ()
    """Empty for all that the dialect knows."""
    auth: str | None = None
    body: str | None = None
    image_must_match_size: bool | None = None
    variants: bool = True
    """Whether what the dialect has beside a video is fetched."""
    available_until: dt.date | None = None


def _parsed(parse: Callable[[str], object]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        try:
            parse(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    return check


class _ModelTable(Schema):
    """`[upstreams.models."client name"]`."""

    class Meta:
        unknown = RAISE

    name = fields.String(validate=validate.Length(1, 200))
    sizes = fields.List(
        fields.String(validate=validate.Regexp(_SIZE, error="must be WIDTHxHEIGHT")), validate=validate.Length(1)
    )
    seconds = fields.List(fields.Integer(strict=True, validate=validate.Range(1, 3600)), validate=validate.Length(1))
    available_until = fields.Raw()


class _UpstreamTable(Schema):
    """`[[upstreams]]`."""

    class Meta:
        unknown = RAISE

    name = fields.String(
        required=True, validate=validate.Regexp(values.NAME.pattern + r"\Z", error="must be a plain name")
    )
    url = fields.String(required=True, validate=_parsed(values.http_url))
    dialect = fields.String(validate=_parsed(values.word))
    auth = fields.String()
    body = fields.String()
    keys = fields.List(
        fields.String(
            validate=validate.Regexp(r"env:[A-Za-z_][A-Za-z0-9_]*\Z", error="must be env:NAME, never the key itself")
        )
    )
    max_concurrent = fields.Integer(strict=True, validate=validate.Range(1, 100_000))
    requests_per_minute = fields.Integer(strict=True, validate=validate.Range(0, 10_000_000))
    strict = fields.Boolean(truthy={True}, falsy={False})
    image_must_match_size = fields.Boolean(truthy={True}, falsy={False})
    variants = fields.Boolean(truthy={True}, falsy={False})
    available_until = fields.Raw()
    models = fields.Dict(keys=fields.String(validate=validate.Length(1, 200)), values=fields.Nested(_ModelTable))


def read_tables(
    tables: object, *, secret_of: Callable[[str], str], usual: UpstreamSettings, problems: list[str]
) -> tuple[UpstreamSettings, ...]:
    """Return the upstreams of `[[upstreams]]`, in order; a line is added to `problems` for each thing wrong.

    `usual` has what an upstream does not say: the settings of the same names. `secret_of` returns what the environment
    has under a name, or an empty text.
    """
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.append(f"{_NAMED}: must be [[upstreams]] tables")
        return ()
    before = len(problems)
    read = [_upstream(place, table, secret_of, usual, problems) for place, table in enumerate(tables, 1)]
    names = [upstream.name for upstream in read if upstream]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"{_NAMED}.{name}: the name is given twice" for name in twice]
    return tuple(upstream for upstream in read if upstream) if len(problems) == before else ()


def _upstream(
    place: int,
    table: dict[str, Any],
    secret_of: Callable[[str], str],
    usual: UpstreamSettings,
    problems: list[str],
) -> UpstreamSettings | None:
    name = table.get("name") if isinstance(table.get("name"), str) else str(place)
    try:
        loaded: dict[str, Any] = _UpstreamTable().load(table)
        models = tuple(_model(client, model) for client, model in loaded.get("models", {}).items())
        until = _day(loaded, "available_until")
    except ValidationError as error:
        problems += [f"{_NAMED}.{name}.{line}" for line in _lines(error.messages)]
        return None
    return UpstreamSettings(
        name=loaded["name"],
        url=values.http_url(loaded["url"]),
        dialect=loaded.get("dialect", usual.dialect),
        keys=tuple(_keys(loaded, secret_of, problems)),
        max_concurrent=loaded.get("max_concurrent", usual.max_concurrent),
        requests_per_minute=loaded.get("requests_per_minute", usual.requests_per_minute),
        strict=loaded.get("strict", usual.strict),
        models=models,
        auth=loaded.get("auth"),
        body=loaded.get("body"),
        image_must_match_size=loaded.get("image_must_match_size"),
        variants=loaded.get("variants", True),
        available_until=until,
    )


def _model(client: str, table: dict[str, Any]) -> ModelSettings:
    return ModelSettings(
        client_name=client,
        upstream_name=table.get("name", client),
        sizes=tuple(table["sizes"]) if "sizes" in table else None,
        seconds=tuple(table["seconds"]) if "seconds" in table else None,
        available_until=_day(table, f"models.{client}.available_until"),
    )


def _day(table: dict[str, Any], name: str) -> dt.date | None:
    value = table.get("available_until")
    if value is None or (isinstance(value, dt.date) and not isinstance(value, dt.datetime)):
        return value
    raise ValidationError({name: ["must be a date without quotes: 2027-06-30"]})


def _keys(table: dict[str, Any], secret_of: Callable[[str], str], problems: list[str]) -> Iterator[NamedSecret]:
    names = [key.removeprefix("env:") for key in table.get("keys", ())]
    seen: set[str] = set()
    for name in names:
        secret = secret_of(name)
        if not secret:
            problems.append(f"{_NAMED}.{table['name']}.keys: {name} is not set in the environment")
        elif secret in seen:
            problems.append(f"{_NAMED}.{table['name']}.keys: {name} holds the same key as another")
        else:
            seen.add(secret)
            yield NamedSecret(name, Secret(secret))


def _lines(messages: object, path: str = "") -> Iterator[str]:
    """Yield a line for each of marshmallow's nested messages: `where.it.is: what is wrong`."""
    if isinstance(messages, Mapping):
        for key, inner in messages.items():
            # Of a dictionary marshmallow says whether its key or its value is wrong; of a list, which place.
            yield from _lines(inner, path if key == "value" else f"{path}.{key}".lstrip("."))
    elif isinstance(messages, Sequence) and not isinstance(messages, str):
        for inner in messages:
            yield from _lines(inner, path)
    else:
        yield f"{path}: {messages}"
