"""An operation: one method on one path, with the view that answers it and all that the OpenAPI document says of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from flask import Response
from marshmallow import Schema

from gateway.jobs.refusal_codes import RefusalCode


@dataclass(frozen=True, kw_only=True, slots=True)
class Success:
    """One answer that is no error."""

    status: int
    description: str
    schema: type[Schema] | None = None
    content_type: str = "application/json"
    other_types: Sequence[str] = ()
    """Where there is no schema: as what it may come, too."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Header name to description."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter in the path, the query or a header."""

    name: str
    place: Literal["path", "query", "header"]
    description: str
    schema: Mapping[str, object] = field(default_factory=lambda: {"type": "string"})
    slashes: bool = False
    """In the path: whether its value may hold slashes, sent as `%2F`, which WSGI decodes before anybody routes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """What is registered with Flask and written into the document; the one does not exist without the other."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    """As OpenAPI spells it: `/v1/videos/{video_id}`."""
    name: str
    view: Callable[..., Response]
    """Called with the services and the path's parameters."""
    tag: str
    summary: str
    description: str = ""
    public: bool = False
    """Whether it is answered without an API key."""
    documented: bool = True
    """Whether the document tells of it; the files that a page loads are no part of the API."""
    parameters: Sequence[Parameter] = ()
    query: type[Schema] | None = None
    body: type[Schema] | None = None
    file_parts: Sequence[str] = ()
    successes: Sequence[Success]
    errors: Mapping[int, RefusalCode] = field(default_factory=dict)
    """Status to the code of the recorded example, beside those that every operation has."""

    @property
    def rule(self) -> str:
        """The path as Flask spells it."""
        rule = re.sub(r"\{(\w+)\}", r"<\1>", self.path)
        for parameter in self.parameters:
            if parameter.slashes:
                rule = rule.replace(f"<{parameter.name}>", f"<path:{parameter.name}>")
        return rule
