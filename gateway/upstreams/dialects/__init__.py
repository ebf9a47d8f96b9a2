"""The registry of dialects: one line for each file beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gateway.upstreams.dialect import BEARER, RAW, Auth, Dialect
from gateway.upstreams.dialects.apiyi import APIYI
from gateway.upstreams.dialects.azure import AZURE
from gateway.upstreams.dialects.litellm import LITELLM
from gateway.upstreams.dialects.openai import OPENAI
from gateway.upstreams.dialects.openrouter import OPENROUTER
from gateway.upstreams.dialects.sglang import SGLANG
from gateway.upstreams.dialects.vllm_omni import VLLM_OMNI
from gateway.upstreams.encoding import as_json, multipart

DIALECTS: Mapping[str, Dialect] = {
    dialect.facts.name: dialect for dialect in (OPENAI, APIYI, AZURE, VLLM_OMNI, SGLANG, LITELLM, OPENROUTER)
}

_BODIES = {"multipart": multipart, "json": as_json}


def named(name: str, *, auth: str | None = None, body: str | None = None) -> Dialect:
    """Return the dialect, with another `auth` or `body` where given.

    `auth` is `bearer`, `raw` or `header:NAME`; `body` is `multipart` or `json`. Raises ValueError, which says what
    is allowed, for a name or option that there is not.
    """
    dialect = DIALECTS.get(name)
    if dialect is None:
        raise ValueError(f"unknown dialect {name!r}: one of {', '.join(sorted(DIALECTS))}")
    if auth is not None:
        dialect = replace(dialect, auth=_auth(auth))
    if body is not None:
        if body not in _BODIES:
            raise ValueError(f"unknown body {body!r}: multipart or json")
        dialect = replace(dialect, body=_BODIES[body])
    return dialect


def _auth(option: str) -> Auth:
    kind, _, header = option.partition(":")
    if kind == "header" and header.replace("-", "").isalnum() and header.isascii():
        return Auth(header=header, prefix="")
    if option not in {"bearer", "raw"}:
        raise ValueError(f"unknown auth {option!r}: bearer, raw or header:NAME")
    return BEARER if option == "bearer" else RAW
