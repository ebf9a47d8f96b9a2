"""Streaming uploads: presigned PUTs fed straight from a source, one for a small object, many for a large one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.bucket.access import Access, object_url
from gateway.bucket.faults import code_in, refusal, speaking
from gateway.bucket.port import BucketError
from gateway.bucket.presign import life, presign
from gateway.bucket.source import BLOCK, Body, Held, Payload, Source
from gateway.clock import Clock
from gateway.outbound.errors import AnswerLost, NotSent
from gateway.outbound.session import Outbound, Reply

MOST_IN_ONE_PUT = 64 << 20
SMALLEST_PART = 8 << 20
MOST_PARTS = 10_000

_SLOWEST_BYTES_PER_S = 64 << 10
_PATIENCE_S = 60
_MOST_ANSWER = 16 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """Where an object goes and the headers it will be served with."""

    key: str
    content_type: str
    disposition: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a PUT of the whole object."""
        return {"Content-Type": self.content_type, "Content-Disposition": self.disposition}


def part_size(length: int) -> int:
    """Return the size of every part but the last, so that 10,000 of them hold `length` bytes; whole MiB."""
    least = -(-length // MOST_PARTS)
    return max(SMALLEST_PART, -(-least // BLOCK) * BLOCK)


class Uploads:
    """The ways into one bucket. Each either leaves the object whole or raises; a failed multipart upload is aborted."""

    def __init__(self, *, access: Access, bucket: str, outbound: Outbound, clock: Clock) -> None:
        self._access = access
        self._bucket = bucket
        self._outbound = outbound
        self._clock = clock

    def of_length(self, label: Label, source: Source, length: int) -> None:
        """Upload exactly `length` bytes in the memory of one block."""
        block = bytearray(BLOCK)
        if length == 0:
            source.must_be_over()
        if length <= MOST_IN_ONE_PUT:
            self._whole(label, Body(source, length=length, block=block, last=True))
            return
        size = part_size(length)
        with self._multipart(label) as parts:
            for start in range(0, length, size):
                here = min(size, length - start)
                parts.send(Body(source, length=here, block=block, last=start + here == length))

    def of_unknown_length(self, label: Label, source: Source) -> None:
        """Upload all that the source gives in the memory of one part."""
        buffer = memoryview(bytearray(SMALLEST_PART))
        filled = source.fill(buffer)
        if filled < SMALLEST_PART:
            self._whole(label, Held(buffer[:filled]))
            return
        with self._multipart(label) as parts:
            while filled:
                parts.send(Held(buffer[:filled]))
                filled = source.fill(buffer) if filled == SMALLEST_PART else 0

    def _whole(self, label: Label, body: Payload) -> None:
        self.put("write", label.key, body, query={}, headers=label.headers)

    @contextlib.contextmanager
    def _multipart(self, label: Label) -> Iterator[_Parts]:
        target = {"Bucket": self._bucket, "Key": label.key}
        client = self._access.client
        with speaking("begin upload"):
            # No checksum is asked for: the parts go up through presigned URLs, which carry none.
            begun = client.create_multipart_upload(
                **target, ContentType=label.content_type, ContentDisposition=label.disposition
            )
        target["UploadId"] = begun["UploadId"]
        try:
            parts = _Parts(self, label.key, target["UploadId"])
            yield parts
            with speaking("complete upload"):
                client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts.sent})
        except BaseException:
            # Whatever ends the upload, its parts would be paid for until somebody removes them.
            with contextlib.suppress(BucketError), speaking("abort upload"):
                client.abort_multipart_upload(**target)
            raise

    def put(
        self, doing: str, key: str, body: Payload, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> Reply:
        """Send one signed PUT; raises what the payload raised, else BucketError for all but a 200 to all of it."""
        deadline_s = _PATIENCE_S + len(body) / _SLOWEST_BYTES_PER_S
        access_key = self._access.key()
        url = presign(
            "PUT",
            object_url(self._access.inner, key),
            key=access_key,
            life=life(access_key, now=self._clock(), ttl_s=3600),
            query=query,
            headers=headers,
        )
        try:
            answer = self._outbound.exchange(
                "PUT", url, deadline_s=deadline_s, max_body=_MOST_ANSWER, headers=headers, data=body
            )
        except BaseException as error:
            if body.failure is not None:
                raise body.failure from None
            if isinstance(error, NotSent | AnswerLost):
                raise BucketError(f"{doing}: no answer ({error.reason})") from None
            raise
        return _checked(doing, answer, body)


class _Parts:
    """The numbered parts of one multipart upload, sent one after the other."""

    def __init__(self, uploads: Uploads, key: str, upload_id: str) -> None:
        self._uploads = uploads
        self._key = key
        self._upload_id = upload_id
        self.sent: list[dict[str, Any]] = []

    def send(self, body: Payload) -> None:
        number = len(self.sent) + 1
        if number > MOST_PARTS:
            raise BucketError(f"write: more than {MOST_PARTS} parts")
        query = {"partNumber": str(number), "uploadId": self._upload_id}
        answer = self._uploads.put(f"write part {number}", self._key, body, query=query, headers={})
        etag = answer.headers.get("ETag")
        if not etag:
            raise BucketError(f"write part {number}: the store named no ETag")
        self.sent.append({"PartNumber": number, "ETag": etag})


def _checked(doing: str, answer: Reply, body: Payload) -> Reply:
    if body.failure is not None:
        raise body.failure
    if answer.status != 200:
        raise refusal(doing, code=code_in(answer.body), status=answer.status)
    if body.left:
        raise BucketError(f"{doing}: the store answered before it had all bytes")
    return answer
