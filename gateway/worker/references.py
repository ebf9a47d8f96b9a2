"""Reference pictures, fetched right before the submit: from our bucket, or from where the client said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urljoin

from gateway.bucket.port import Bucket, BucketError, ObjectMissing
from gateway.clock import Clock
from gateway.jobs.errors import Refusal, Unavailable
from gateway.jobs.intake import ReferenceImage
from gateway.jobs.job import Job
from gateway.outbound.errors import AnswerLost, Blocked, NotSent
from gateway.outbound.session import Reply
from gateway.upstreams.port import Image

MAX_BYTES = 10 * 1024 * 1024
"""The protocol's own limit is twice that; the strictest upstream's is this."""

_REDIRECTS = 3
_REMOTE_TRIES = 4
_DEADLINE_S = 30.0
"""For the whole way to a picture, redirects included: half of what its job is claimed for."""
_OK = 200
_PASSING = {408, 425, 429}
_REDIRECTION = {301, 302, 303, 307, 308}


class Unusable(Exception):
    """There is no picture to be had, now or later; the message is for the client."""


class Unfetched(Exception):
    """Not this time: try again. `counts`: a few times only, since it is not our own bucket that is in trouble."""

    def __init__(self, message: str, *, counts: bool) -> None:
        super().__init__(message)
        self.counts = counts


class Fetch(Protocol):
    """One GET under the guard against private addresses, redirects not followed."""

    def __call__(self, url: str, *, deadline_s: float, max_body: int) -> Reply:
        """Return the answer; raises NotSent or AnswerLost."""


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """Where pictures come from."""

    bucket: Bucket
    fetch: Fetch
    read: Callable[[bytes], ReferenceImage]
    """Return a picture that decodes, upright and without metadata; raises Refusal with what is wrong with it."""
    monotonic: Clock

    def image(self, job: Job) -> Image | None:
        """Return the picture of a job, None where it has none. Raises Unusable or Unfetched."""
        reference = job.reference
        if reference is None:
            return None
        if reference.object_key:
            kept = self._kept(reference.object_key)
            return Image(data=kept, content_type=reference.content_type, dimensions=reference.dimensions)
        return self._remote(reference.url, job.missing)

    def _kept(self, key: str) -> bytes:
        try:
            return self.bucket.get(key, limit=MAX_BYTES)
        except ObjectMissing:
            message = "The reference picture is no longer in the bucket."
            raise Unusable(message) from None
        except BucketError as error:
            raise Unfetched(str(error), counts=False) from error

    def _remote(self, url: str, failed_before: int) -> Image:
        try:
            data = self._followed(url)
        except Unfetched as error:
            if failed_before + 1 >= _REMOTE_TRIES:
                raise Unusable(str(error)) from error
            raise
        try:
            picture = self.read(data)
        except Unavailable as error:
            raise Unfetched(error.message, counts=False) from error
        except Refusal as error:
            raise Unusable(error.message) from error
        return Image(data=picture.data, content_type=picture.content_type, dimensions=picture.dimensions)

    def _followed(self, url: str) -> bytes:
        until = self.monotonic() + _DEADLINE_S
        for _ in range(_REDIRECTS + 1):
            reply = self._get(url, until - self.monotonic())
            if reply.status not in _REDIRECTION:
                return _body(reply)
            url = _target(reply, url)
        message = "The picture's URL redirects too often."
        raise Unusable(message)

    def _get(self, url: str, left_s: float) -> Reply:
        late = "The picture's URL did not answer in time."
        if left_s <= 0:
            raise Unfetched(late, counts=True)
        try:
            return self.fetch(url, deadline_s=left_s, max_body=MAX_BYTES + 1)
        except Blocked as error:
            message = "The picture's URL does not lead to a public address."
            raise Unusable(message) from error
        except (NotSent, AnswerLost) as error:
            raise Unfetched(late, counts=True) from error


def _target(reply: Reply, url: str) -> str:
    try:
        return urljoin(url, reply.headers["location"])
    except (KeyError, ValueError) as error:
        message = "The picture's URL redirects to nowhere."
        raise Unusable(message) from error


def _body(reply: Reply) -> bytes:
    if reply.status in _PASSING or reply.status >= 500:
        message = f"The picture's URL answered {reply.status}."
        raise Unfetched(message, counts=True)
    if reply.status != _OK:
        message = f"The picture's URL answered {reply.status}."
        raise Unusable(message)
    if reply.truncated or len(reply.body) > MAX_BYTES:
        message = f"The picture is larger than {MAX_BYTES} bytes."
        raise Unusable(message)
    return reply.body
