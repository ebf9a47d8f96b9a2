"""The examples in the document: what was really asked, answered and sent in a run. `make record` writes them anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("recorded.json")
"""By operation: `request`, and each answer by its status. Ids, times, hosts and signatures are evened out."""

EVERY = "every"
"""Where the answers stand that every operation behind the key may give."""

CALLBACKS = "callbacks"
"""Where the callbacks stand, by type, each with `headers` and `body`."""


def example(name: str, kind: str) -> Any:
    """Return what was recorded under an operation's name as `request`, as an answer's status or as a type of event.

    None where nothing was: a test says so, and the gateway serves its document all the same.
    """
    return _recorded().get(name, {}).get(kind)


@cache
def _recorded() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found
