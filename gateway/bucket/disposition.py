"""The Content-Disposition of an object: played in place, saved under a given name."""

from __future__ import annotations

import re
from urllib.parse import quote

_LONGEST_NAME = 180
# RFC 5987 attr-char, beside letters and digits.
_PLAIN = "!#$&+-.^_`|~"
_USUAL = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{_LONGEST_NAME - 2}}}[A-Za-z0-9_-]", re.ASCII)


def inline(filename: str) -> str:
    """Return `inline; filename="…"`, all ASCII, with RFC 5987's `filename*` added where the name is not ASCII.

    Path separators, quotes and control characters become `_`, so a name can neither leave its directory nor its header.
    """
    if _USUAL.fullmatch(filename):
        return f'inline; filename="{filename}"'
    name = "".join("_" if char in '/\\"%' or not char.isprintable() else char for char in filename)
    name = name[:_LONGEST_NAME].strip(" .") or "video"
    fallback = name.encode("ascii", "replace").decode().replace("?", "_")
    if fallback == name:
        return f'inline; filename="{name}"'
    return f"inline; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe=_PLAIN)}"
