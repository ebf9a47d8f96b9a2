"""What a dialect is: how one kind of upstream spells the protocol, as data. Each lies in `dialects/<name>.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gateway.upstreams.encoding import Body, multipart
from gateway.upstreams.port import DialectFacts, VideoRequest
from gateway.upstreams.reading import State


@dataclass(frozen=True, kw_only=True, slots=True)
class Auth:
    """Which header carries the key, and what stands before it."""

    header: str = "Authorization"
    prefix: str = "Bearer "

    def headers(self, secret: str) -> dict[str, str]:
        """Return the header for a key; none for an upstream that is used without one."""
        return {self.header: self.prefix + secret} if secret else {}


BEARER = Auth()
RAW = Auth(prefix="")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """One kind of upstream. A new one is a file with one of these and a line in `dialects/__init__.py`."""

    facts: DialectFacts
    auth: Auth = BEARER
    path: str = "/videos"
    """Appended to the configured base URL."""
    query: Mapping[str, str] = field(default_factory=dict)
    """Goes with every call to the upstream itself, such as Azure's `api-version`."""
    body: Callable[[VideoRequest], Body] = multipart
    secret_fields: frozenset[str] = frozenset()
    """Fields of its answers that the history does not keep, and in which no content is looked for."""
    statuses: Mapping[str, State] = field(default_factory=dict)
    """Status words of its own, normalised, where they differ from the common table."""
    content_first: Literal["path", "urls"] = "path"
    """Where the content is looked for first: at `content_path`, or at the URLs that the job names."""
    content_path: str = "/content"
    """Appended to the job's own path. Never with `?variant=video`: SGLang answers 404 to it."""
    failed_on_poll_http_body: bool = True
    """Whether a poll answered 4xx or 5xx whose JSON is a failed job tells that the job failed (vLLM-Omni does so)."""
    repeats_blank: bool = False
    """Whether it sends a submit again by itself, but without the body, when the connection behind it breaks."""
    ping_path: str | None = None
    """What `ping` asks for, from the base URL; None asks for the first entry of the list."""
