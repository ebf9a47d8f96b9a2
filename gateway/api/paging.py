"""Lists: their one shape, and the query that asks for a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from flask import request

from gateway.jobs.errors import InvalidField


def listed(data: Sequence[Mapping[str, object]], *, has_more: bool = False) -> dict[str, object]:
    """Return the protocol's list object; its ends are the ids that the next page is asked for with."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0].get("id") if data else None,
        "last_id": data[-1].get("id") if data else None,
        "has_more": has_more,
    }


def query() -> dict[str, object]:
    """Return the query's parameters, `metadata[key]` as an object; raises InvalidField for one that stands twice."""
    found: dict[str, object] = {}
    pairs: dict[str, str] = {}
    for name, values in request.args.lists():
        if len(values) > 1:
            raise InvalidField(name[:64], f"'{name[:64]}' was sent more than once.", code="duplicate_parameter")
        member = re.fullmatch(r"metadata\[(.+)\]", name, re.DOTALL)
        if member:
            pairs[member[1]] = values[0]
        else:
            found[name] = values[0]
    if pairs:
        found["metadata"] = pairs
    return found
