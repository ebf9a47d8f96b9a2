"""The headers by which a client says that a POST may be a repeat."""

from __future__ import annotations

import re

from flask import request

from gateway.jobs.errors import InvalidField

LONGEST_KEY = 255


def idempotency_key() -> str | None:
    """Return the present request's key, or None; raises InvalidField.

    The draft standard sends a quoted string, everybody else the bare text: the two are the same key.
    """
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    quoted = re.fullmatch(r'"((?:[^"\\]|\\["\\])*)"', given)
    key = re.sub(r'\\(["\\])', r"\1", quoted[1]) if quoted else given
    if not re.fullmatch(rf"[ -~]{{1,{LONGEST_KEY}}}", key, re.ASCII):
        raise InvalidField("Idempotency-Key", f"Expected 1 to {LONGEST_KEY} printable ASCII characters.")
    return key


def sdk_retry() -> int:
    """Return which retry of one call this is that an official SDK makes by itself; 0 for the first try."""
    count = request.headers.get("x-stainless-retry-count", "")
    return int(count) if re.fullmatch(r"[0-9]{1,4}", count, re.ASCII) else 0
