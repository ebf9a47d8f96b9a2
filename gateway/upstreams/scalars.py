"""Numbers and instants out of whatever a JSON answer holds in their place. Nothing here ever raises."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

_LATEST = 1e11
"""The year 5138 in seconds; what is larger was given in milliseconds, microseconds or nanoseconds."""


def decode(body: bytes | str) -> object | None:
    """Return the decoded JSON, or None where it is none (or nests too deep to be an answer)."""
    try:
        return json.loads(body)  # type: ignore[no-any-return]
    except (ValueError, RecursionError):
        return None


def text(value: object) -> str:
    """Return a text or whole number as stripped text without lone surrogates, and "" for everything else."""
    if isinstance(value, str):
        return value.strip().encode("utf-8", "replace").decode()
    return whole_text(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def whole_text(value: int) -> str:
    """Return the digits, or "" for a number that is longer than any code or id."""
    return str(value) if abs(value) < 10**30 else ""


def number(value: object) -> float | None:
    """Return the number in `8`, `8.0`, `"8"` or `"45%"`, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value.strip().removesuffix("%").removesuffix("s") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def percent(value: object) -> int | None:
    """Return a progress as a whole number from 0 to 100, or None where none is told."""
    found = number(value)
    return None if found is None else int(min(100.0, max(0.0, found)))


def whole(value: object) -> int | None:
    """Return a length in seconds, or None where it is no whole positive number."""
    found = number(value)
    return int(found) if found is not None and 0 < found < 1e9 and found == int(found) else None


def instant(value: object) -> float | None:
    """Return Unix seconds, given those or milli-, micro- or nanoseconds as number or text, or ISO 8601."""
    found = number(value)
    if found is None:
        return _iso(value) if isinstance(value, str) else None
    while found >= _LATEST:
        found /= 1000
    return found if found > 0 else None


def _iso(value: str) -> float | None:
    try:
        at = datetime.fromisoformat(value.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
