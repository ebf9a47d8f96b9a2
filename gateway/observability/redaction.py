"""Secrets and private parts of URLs taken out of anything that is about to be logged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MASK = "***"

_PLAIN = frozenset({str, int, float, bool, type(None)})

_SECRET_NAMES = re.compile(
    r"(?i)^(proxy[-_])?authorization$|cookie$|secret|password|passwd|(api|access|private)[-_]?key$|token$|signature$"
)

# In this order: an URL loses its user and query as a whole before single parameters are looked for.
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}:/{2})[^\s/?#\"'<>]*@"), rf"\1{MASK}@"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,20}:/{2}[^\s?#\"'<>]*)[?#][^\s\"'<>]*"), rf"\1?{MASK}"),
    (re.compile(r"((?:^|[\s\"'(=])/[^\s?#\"'<>()]*)\?[^\s\"'<>)]+"), rf"\1?{MASK}"),
    # Also percent-encoded, as a link lies inside another one or in a form, once or twice over.
    (re.compile(r"(?i)(x-amz-(?:signature|credential|security-token)|\bsignature|\bsig|\bawsaccesskeyid)"
                r"(=|%(?:25)*3d)[^\s&\"'<>]+"),
     rf"\1\2{MASK}"),
    (re.compile(r"(?i)(\bauthorization[\"']?\s*[:=]\s*[\"']?)[^\r\n\"'},]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)(\b(?:bearer|basic)\s+)[a-z0-9._~+/=-]{6,}"), rf"\1{MASK}"),
    (re.compile(r"\b(whsec_|sgw_|(?:sk|pk|rk)-)[A-Za-z0-9+/=_-]{6,}"), rf"\1{MASK}"),
    (re.compile(r"\bv1,[A-Za-z0-9+/]{43}="), f"v1,{MASK}"),
)  # fmt: skip


def redact(text: str) -> str:
    """Return the text without credentials, signatures, and the user and query of URLs."""
    if not _suspicious(text.lower()):
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _suspicious(lowered: str) -> bool:
    """Whether a pattern can match: each needs one of these, most texts have none, and looking costs a hundredth.

    Spelled out, since a loop over them costs as much as the patterns. None holds `i` or `s`, which `re.IGNORECASE` also
    finds in letters that are others in lower case, but for the one that would else be found in every third hex id.
    """
    return (
        "://" in lowered or "?" in lowered or "=" in lowered or "%" in lowered
        or "auth" in lowered or "bear" in lowered or "basic" in lowered or ("ba" in lowered and not lowered.isascii())
        or "ec_" in lowered or "gw_" in lowered or "k-" in lowered or "v1," in lowered
    )  # fmt: skip


def is_harmless(fields: Mapping[str, object], text: str) -> bool:
    """Whether nothing of the fields, whose values all stand in the text, would be redacted. False also where unsure."""
    return not (
        _suspicious(text.lower())
        or "\\u" in text  # an escape may be a letter that matters
        or any(_is_secret(name) or type(value) not in _PLAIN for name, value in fields.items())
    )


def redact_value(value: object) -> object:
    """Return the value as it may be logged: numbers as they are, containers item by item, all else as redacted text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return redact_fields(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact_value(item) for item in value]
    return redact(value if isinstance(value, str) else repr(value))


def redact_fields(fields: Mapping[Any, object]) -> dict[str, object]:
    """Return every field redacted; one whose name says that it is a secret is masked whole."""
    return {str(name): MASK if _hides(name, value) else redact_value(value) for name, value in fields.items()}


def _hides(name: object, value: object) -> bool:
    # A number or a flag under such a name (`secret_versions=2`) is a fact about secrets, not one of them.
    return _is_secret(str(name)) and value is not None and not isinstance(value, (bool, int, float))


@lru_cache(maxsize=256)  # the names of fields are few, and in every line
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None
