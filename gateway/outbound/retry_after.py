"""When a remote says to come again: `Retry-After` and its relatives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

DAY_S = 86400.0
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{0,9})?", re.ASCII)


def retry_after_s(headers: Mapping[str, str], *, now: float, most_s: float = DAY_S) -> float | None:
    """Return how many seconds the remote wants to be left alone, at most `most_s`, or None where it does not say.

    Reads `retry-after-ms` (OpenAI), `retry-after` in seconds or as an HTTP-date (RFC 9110, 10.2.3), and
    `llm_provider-retry-after` (LiteLLM, for the provider behind it), in this order; names must match in any case.
    A negative or malformed value, or a date in the past, counts as not said.
    """
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return min(milliseconds / 1000, most_s)
    for name in ("retry-after", "llm_provider-retry-after"):
        text = headers.get(name, "").strip()
        seconds = _seconds(text)
        if seconds is None:
            seconds = _until(text, now=now)
        if seconds is not None:
            return min(seconds, most_s)
    return None


def _seconds(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def _until(text: str, *, now: float) -> float | None:
    try:
        at = parsedate_to_datetime(text)
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return seconds if seconds >= 0 else None
