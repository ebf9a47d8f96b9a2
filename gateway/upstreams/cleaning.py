"""Upstream words made fit for others: for clients nothing that names the upstream, for events no secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from gateway.upstreams.scalars import decode

MESSAGE_MAX = 500
"""Characters of an upstream's message that a client is shown."""
BODY_MAX = 4096
"""Bytes of an upstream's answer that an event keeps."""

_SCAN_MAX = 65536
_PARSE_MAX = 262144
_ELLIPSIS = "…"

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,20}:(?:\\*/){2})(?P<rest>(?:[^\s\"'<>\\?#]|\\+/)*)(?P<query>[?#][^\s\"'<>]*)?"
)
_SIGNED = re.compile(
    r"(?P<name>\b(?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|sig|signature|token"
    r"|access_token|api[_-]?key|access[_-]?key(?:id)?|secret|password)=)[^\s&\"'<>]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<name>\bbearer\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_KEY = re.compile(r"\b(?:sk|pk|rk|key)-[A-Za-z0-9_*-]{8,}")
_DATA_URL = re.compile(r"data:(?P<kind>[\w.+-]{1,60}/[\w.+-]{1,60});base64,[A-Za-z0-9+/=_-]*")

_ID = re.compile(
    r"\b(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|(?:[A-Za-z]{2,12}[_-]){1,3}(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{6,}[\w+/=-]*"
    r"|[0-9a-f]{24,}|[A-Za-z0-9+/=_-]{40,})",
)
_PATH = re.compile(r"(?<![\w/.])(?:[A-Za-z]:)?(?:[/\\][\w.{}@+=%~[\]-]+){2,}[/\\]?")
_HOST = re.compile(
    r"\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b|\b(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}:\d+\b|\blocalhost(?::\d+)?\b"
)
_OBJECT = re.compile(r"\s?\bat 0x[0-9a-f]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaner:
    """Cleans what one call to an upstream brought back."""

    secrets: Sequence[str] = field(default=(), repr=False)
    """What must appear nowhere: the key in use."""
    names: Sequence[str] = ()
    """What names the upstream, and so must not reach a client: its host, its id for the job."""
    hidden: Collection[str] = ()
    """Fields of a JSON answer that hold secrets or quote a prompt, whatever they look like."""

    def message(self, words: str) -> str:
        """Return a message as a client may see it: one line, capped, no links, ids, paths, hosts or keys."""
        line = " ".join(_printable(words[:_SCAN_MAX]).split())
        line = _DATA_URL.sub("[data]", line)
        line = _URL.sub("[link]", line)
        line = _without(_secretless(_without(line, self.secrets)), self.names)
        for pattern, shown in ((_HOST, "[host]"), (_PATH, "[path]"), (_ID, "[id]"), (_OBJECT, "")):
            line = pattern.sub(shown, line)
        return line if len(line) <= MESSAGE_MAX else line[: MESSAGE_MAX - 1].rstrip() + _ELLIPSIS

    def body(self, body: bytes) -> str:
        """Return an answer's body as events keep it: at most 4 kB, no keys, every URL's query and userinfo replaced.

        Prompts are left out: the video has its own, and retention must not have to look for copies.
        """
        if b"\0" in body[:1024]:
            return f"[{len(body)} bytes that are no text]"
        parsed = decode(body) if len(body) <= _PARSE_MAX else None
        if isinstance(parsed, (dict, list)):
            return _capped(_dumped(self._walked(parsed)))
        text = _unescaped(body[:_SCAN_MAX].decode("utf-8", "replace"))
        # What cannot be walked shows no field's end, so that no link in it can be told from a hidden one.
        return _capped(self._text(_URL.sub("[link]", text) if self.hidden else text))

    def _text(self, text: str) -> str:
        text = _DATA_URL.sub(r"data:\g<kind>;base64,…", text)
        return _printable(_secretless(_without(_URL.sub(_redact, text), self.secrets)))

    def _walked(self, value: object, depth: int = 40) -> object:
        if isinstance(value, str):
            return self._text(value)
        if depth == 0:
            return _ELLIPSIS
        if isinstance(value, dict):
            return {self._text(key): self._field(key, item, depth) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walked(item, depth - 1) for item in value]
        return value

    def _field(self, key: str, item: object, depth: int) -> object:
        prompt = key in {"prompt", "revised_prompt"} and isinstance(item, str)
        return _ELLIPSIS if prompt or (item and key in self.hidden) else self._walked(item, depth - 1)


def _unescaped(text: str) -> str:
    """Undo, in what is no JSON that we can walk, the escapes behind which a query could hide from the pattern."""
    for escape, meant in (("\\/", "/"), ("\\u003f", "?"), ("\\u003F", "?"), ("\\u0026", "&")):
        text = text.replace(escape, meant)
    return text


def _redact(found: re.Match[str]) -> str:
    authority, slash, path = found["rest"].partition("/")
    _, at, host = authority.rpartition("@")
    return f"{found['scheme']}{_ELLIPSIS + at if at else ''}{host}{slash}{path}{_query(found['query'])}"


def _query(query: str | None) -> str:
    return query[0] + _ELLIPSIS if query and len(query) > 1 else query or ""


def _secretless(text: str) -> str:
    text = _SIGNED.sub(r"\g<name>…", text)
    return _KEY.sub("[key]", _BEARER.sub(r"\g<name>[key]", text))


def _without(text: str, hidden: Sequence[str]) -> str:
    for secret in hidden:
        if len(secret) >= 4:
            text = text.replace(secret, "[hidden]")
    return text


def _printable(text: str) -> str:
    """Drop what no terminal, log or database column should be handed: controls, lone surrogates, direction marks."""
    text = text.encode("utf-8", "replace").decode()
    return "".join(" " if char in "\r\n\t" else char for char in text if char in "\r\n\t " or char.isprintable())


def _dumped(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except ValueError:  # a whole number of more digits than Python writes
        return "[numbers too long to show]"


def _capped(text: str) -> str:
    raw = text.encode()
    if len(raw) <= BODY_MAX:
        return text
    return raw[: BODY_MAX - len(_ELLIPSIS.encode())].decode("utf-8", "ignore") + _ELLIPSIS
