"""Reference pictures, fetched right before the submit: from our bucket, or from where the client said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin

from gateway.bucket.port import Bucket, BucketError, ObjectMissing
from gateway.jobs.errors import Refusal, Unavailable
from gateway.jobs.job import Job
from gateway.outbound.errors import AnswerLost, Blocked, NotSent
from gateway.outbound.session import Reply
from gateway.upstreams.port import Image

MAX_BYTES = 10 * 1024 * 1024
"""The protocol's own limit is twice that; the strictest upstream's is this."""

_REDIRECTS = 3
_REMOTE_TRIES = 4
_DEADLINE_S = 30.0
_OK = 200
_REDIRECTION = {301, 302, 303, 307, 308}


class Unusable(Exception):
    """There is no picture to be had, now or later; the message is for the client."""


class Unfetched(Exception):
    """Not this time: try again."""


class Fetch(Protocol):
    """One GET under the guard against private addresses, redirects not followed."""

    def __call__(self, url: str, *, deadline_s: float, max_body: int) -> Reply:
        """Return the answer; raises NotSent or AnswerLost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """Where pictures come from."""

    bucket: Bucket
    fetch: Fetch
    inspect: Callable[[bytes], str]
    """Return the content type of a picture that decodes; raises Refusal with what is wrong with it."""

    def image(self, job: Job) -> Image | None:
        """Return the picture of a job, None where it has none. Raises Unusable or Unfetched."""
        reference = job.reference
        if reference is None:
            return None
        if reference.object_key:
            return Image(data=self._kept(reference.object_key), content_type=reference.content_type)
        return self._remote(reference.url, job.tries)

    def _kept(self, key: str) -> bytes:
        try:
            return self.bucket.get(key, limit=MAX_BYTES)
        except ObjectMissing:
            message = "The reference picture is no longer in the bucket."
            raise Unusable(message) from None
        except BucketError as error:
            raise Unfetched(str(error)) from error

    def _remote(self, url: str, tries: int) -> Image:
        try:
            data = self._followed(url)
        except Unfetched as error:
            if tries + 1 >= _REMOTE_TRIES:
                raise Unusable(str(error)) from error
            raise
        try:
            return Image(data=data, content_type=self.inspect(data))
        except Unavailable as error:
            raise Unfetched(error.message) from error
        except Refusal as error:
            raise Unusable(error.message) from error

    def _followed(self, url: str) -> bytes:
        for _ in range(_REDIRECTS + 1):
            reply = self._get(url)
            if reply.status not in _REDIRECTION:
                return _body(reply)
            url = urljoin(url, reply.headers.get("location", ""))
        message = "The picture's URL redirects too often."
        raise Unusable(message)

    def _get(self, url: str) -> Reply:
        try:
            return self.fetch(url, deadline_s=_DEADLINE_S, max_body=MAX_BYTES + 1)
        except Blocked as error:
            message = "The picture's URL does not lead to a public address."
            raise Unusable(message) from error
        except (NotSent, AnswerLost) as error:
            message = "The picture's URL did not answer in time."
            raise Unfetched(message) from error


def _body(reply: Reply) -> bytes:
    server_error, client_error = 500, 400
    if reply.status >= server_error:
        message = f"The picture's URL answered {reply.status}."
        raise Unfetched(message)
    if reply.status >= client_error or reply.status != _OK:
        message = f"The picture's URL answered {reply.status}."
        raise Unusable(message)
    if reply.truncated or len(reply.body) > MAX_BYTES:
        message = f"The picture is larger than {MAX_BYTES} bytes."
        raise Unusable(message)
    return reply.body
