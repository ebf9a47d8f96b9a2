"""A gateway as its clients meet it: over HTTP, patient where it is away for a moment."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from gateway.clock import Clock
from gateway.outbound.retry_after import retry_after_s
from gateway.outbound.session import AnswerLost, NotSent, Outbound, Reply, Stream

Video = dict[str, Any]

PATIENCE_S = 300.0
"""For how long a gateway that has answered before, and is away or too busy now, is asked again: it may restart."""

FIRST_PATIENCE_S = 5.0
"""And one that never answered: more likely its URL is wrong."""

_ANSWER_MAX = 4 << 20
_ASK_S = 30.0
_POST_S = 120.0
_AGAIN_S = (0.5, 1.0, 2.0, 5.0)
_AWAY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Refused(Exception):
    """The gateway said no; `status` and `code` are its own."""

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        self.status = status
        self.code = code
        super().__init__(message)


class Unreachable(Exception):
    """The gateway gave no answer for as long as it was waited for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gateway:
    """One gateway, asked with one key. `url` is without `/v1`; an empty `key` is for one that asks for none."""

    url: str
    key: str
    outbound: Outbound
    monotonic: Clock = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def create(self, fields: Mapping[str, str], image: Path | None) -> Video:
        """Post a video. Repeated under one Idempotency-Key where the answer is lost, so it is made once.

        Raises Refused, Unreachable, and OSError for an image that cannot be read.
        """
        form: list[tuple[str, Any]] = [(name, (None, text)) for name, text in fields.items()]
        if image is not None:
            form.append(("input_reference", (image.name, image.read_bytes())))
        headers = {**self._headers(), "Idempotency-Key": secrets.token_hex(16)}
        return self._asked(
            "POST",
            f"{self.url}/v1/videos",
            deadline_s=_POST_S,
            patience_s=FIRST_PATIENCE_S,
            headers=headers,
            files=form,
        )[0]

    def video(self, video_id: str) -> Video:
        """Return the video as it is now. Raises Refused, Unreachable."""
        return self._look(video_id, FIRST_PATIENCE_S)[0]

    def changes(self, video_id: str) -> Iterator[Video]:
        """Yield the video again and again until it is final, as often as the gateway says. Raises as `video` does."""
        patience_s = FIRST_PATIENCE_S
        while True:
            video, headers = self._look(video_id, patience_s)
            patience_s = PATIENCE_S
            yield video
            if video["status"] in {"completed", "failed", "cancelled"}:
                return
            after_ms = headers.get("openai-poll-after-ms", "")
            self.sleep(int(after_ms) / 1000 if after_ms.isdigit() else 1.0)

    @contextmanager
    def content(self, video_id: str, *, start: int) -> Iterator[Stream]:
        """Open the content from byte `start`, through the gateway's redirect. Raises Refused, NotSent, AnswerLost."""
        url, headers = f"{self._url(video_id)}/content", self._headers()
        ranged = {"Range": f"bytes={start}-"} if start else {}
        with ExitStack() as stack:
            for _ in range(5):
                opened = self.outbound.stream(
                    "GET", url, first_byte_s=_ASK_S, stall_s=_ASK_S, deadline_s=None, headers={**headers, **ranged}
                )
                stream = stack.enter_context(opened)
                location = stream.headers.get("location")
                if stream.status not in _REDIRECTS or not location:
                    break
                stack.close()
                target = urljoin(url, location)
                # A presigned link carries its own permission, and the key is nobody else's business.
                headers = headers if urlsplit(target)[:2] == urlsplit(url)[:2] else {}
                url = target
            if stream.status not in {200, 206, 416}:
                raise _refusal(stream.status, stream.read_up_to(_ANSWER_MAX))
            yield stream

    def _look(self, video_id: str, patience_s: float) -> tuple[Video, Mapping[str, str]]:
        return self._asked(
            "GET", self._url(video_id), deadline_s=_ASK_S, patience_s=patience_s, headers=self._headers()
        )

    def _asked(
        self,
        method: str,
        url: str,
        *,
        deadline_s: float,
        patience_s: float,
        headers: Mapping[str, str],
        files: Any = None,
    ) -> tuple[Video, Mapping[str, str]]:
        until, tries = self.monotonic() + patience_s, 0
        while True:
            reply, reason = self._once(method, url, deadline_s=deadline_s, headers=headers, files=files)
            if reply is not None and reply.status not in _AWAY:
                return _document(reply), reply.headers
            wait_s = _AGAIN_S[min(tries, len(_AGAIN_S) - 1)]
            if reply is not None:
                wait_s = max(wait_s, retry_after_s(reply.headers, now=time.time()) or 0.0)
            if self.monotonic() + wait_s >= until:
                if reply is not None:
                    raise _refusal(reply.status, reply.body)
                raise Unreachable(f"no answer from {self.url} ({reason})")
            self.sleep(wait_s)
            tries += 1

    def _once(self, method: str, url: str, **options: Any) -> tuple[Reply | None, str]:
        try:
            return self.outbound.exchange(method, url, max_body=_ANSWER_MAX, **options), ""
        except (NotSent, AnswerLost) as error:
            return None, error.reason

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def _url(self, video_id: str) -> str:
        return f"{self.url}/v1/videos/{quote(video_id, safe='')}"


def _document(reply: Reply) -> Video:
    if reply.status not in {200, 202}:
        raise _refusal(reply.status, reply.body)
    try:
        document = json.loads(reply.body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise Refused("the answer is no video; is that the URL of a gateway?", status=reply.status)
    return document


def _refusal(status: int, body: bytes) -> Refused:
    """Return what an error answer says, in the gateway's words where it has any."""
    try:
        error = json.loads(body)["error"]
        return Refused(str(error["message"]), status=status, code=str(error.get("code") or ""))
    except (ValueError, LookupError, TypeError):
        return Refused(f"HTTP {status}", status=status)
