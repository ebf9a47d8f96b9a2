"""The bucket on any S3 store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import boto3
from botocore.exceptions import ClientError

from gateway.bucket.access import Access, Addressing, object_url
from gateway.bucket.disposition import inline
from gateway.bucket.faults import error_code, error_status, speaking
from gateway.bucket.port import BucketError, Download, Link, ObjectMissing, Written
from gateway.bucket.presign import life, presign
from gateway.bucket.source import Source
from gateway.bucket.upload import Label, Uploads
from gateway.clock import Clock, monotonic, wall
from gateway.outbound.session import Outbound

_BLOCK = 256 << 10
_GET_DEADLINE_S = 120
_MOST_PAGES = 100
_PASSED_ON = (
    "accept-ranges",
    "content-disposition",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
)


class S3Bucket:
    """`gateway.bucket.port.Bucket` over S3. Safe from many threads, and from a fork before its first use.

    `outbound` carries the bytes of uploads (with a block size of 1 MiB it is fastest); everything else goes
    through boto3, with credentials and region from `session`, by default the standard AWS chain. Links name
    `public_endpoint_url`, where that is not the endpoint itself. Sets no ACL and no encryption: the bucket's own
    defaults hold. The constructor raises BucketError for settings that name no store; it does not connect to it.
    """

    def __init__(
        self,
        *,
        bucket: str,
        outbound: Outbound,
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        prefix: str = "",
        addressing: Addressing = "auto",
        session: boto3.Session | None = None,
        clock: Clock = wall,
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._access = Access(
            bucket=bucket,
            endpoint_url=endpoint_url,
            public_endpoint_url=public_endpoint_url,
            addressing=addressing,
            session=session or boto3.Session(),
        )
        self._uploads = Uploads(access=self._access, bucket=bucket, outbound=outbound, clock=clock)

    def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Write a small object at once, in one attempt: about 20 s at most. Raises BucketError."""
        with speaking("put"):
            self._access.prompt_client.put_object(**self._at(key), Body=data, ContentType=content_type)

    def get(self, key: str, *, limit: int) -> bytes:
        """Return a small object; raises ObjectMissing, or BucketError also where it is larger than `limit` bytes."""
        over_at = monotonic() + _GET_DEADLINE_S
        found = bytearray()
        with self.open(key, range_header=None) as download:
            for block in download.blocks:
                found += block
                if len(found) > limit:
                    raise BucketError(f"get: the object is larger than {limit} bytes")
                if monotonic() > over_at:
                    raise BucketError(f"get: not done after {_GET_DEADLINE_S} s")
        return bytes(found)

    def write(
        self,
        key: str,
        readinto: Callable[[memoryview], int],
        *,
        length: int | None,
        content_type: str,
        filename: str,
        alive: Callable[[], None],
    ) -> Written:
        """Stream an object in: about 1 MiB of memory where `length` is known, 9 MiB where not. See the port."""
        source = Source(readinto=readinto, alive=alive)
        label = Label(key=self._prefix + key, content_type=content_type, disposition=inline(filename))
        try:
            if length is None:
                self._uploads.of_unknown_length(label, source)
            else:
                self._uploads.of_length(label, source, length)
            self._prove_size(key, source.size)
        except BaseException:
            # A PUT whose answer was lost may have made the object all the same.
            with contextlib.suppress(BucketError):
                self._remove(key)
            raise
        return Written(size=source.size, sha256=source.sha256)

    def link(self, key: str, *, now: float, ttl_s: int, filename: str) -> Link:
        """Sign a GET as of `now` that lives `ttl_s` seconds (at most 7 days, or the credentials' own life).

        No request is made to the store. Raises BucketError where there are no live credentials.
        """
        access_key = self._access.key()
        span = life(access_key, now=now, ttl_s=ttl_s)
        url = object_url(self._access.outer, self._prefix + key)
        query = {"response-content-disposition": inline(filename)}
        return Link(url=presign("GET", url, key=access_key, life=span, query=query), expires_at=span.ends_at)

    def open(self, key: str, *, range_header: str | None) -> AbstractContextManager[Download]:
        """Open an object for passing through, with the store's own answer to a Range (206, 416). Raises ObjectMissing.

        A stall of 45 s ends `blocks` with BucketError; bytes already given out stay given.
        """
        return self._open(key, {} if range_header is None else {"Range": range_header})

    @contextlib.contextmanager
    def _open(self, key: str, extra: dict[str, str]) -> Iterator[Download]:
        try:
            with speaking("get"):
                answer = self._answer(key, extra)
        except _Unsatisfiable as refused:
            yield Download(status=416, headers=refused.headers, blocks=iter(()))
            return
        with contextlib.closing(answer["Body"]) as body:
            meta = answer["ResponseMetadata"]
            yield Download(status=meta["HTTPStatusCode"], headers=_passed_on(meta), blocks=_blocks(body))

    def _answer(self, key: str, extra: dict[str, str]) -> Any:
        try:
            return self._access.client.get_object(**self._at(key), **extra)
        except ClientError as error:
            if error_status(error) == 416:
                raise _Unsatisfiable(_passed_on(error.response["ResponseMetadata"])) from None
            raise

    def delete(self, key: str) -> None:
        """Remove the object and abort every unfinished upload under exactly this key; no error where there is neither.

        Raises BucketError where either could not be done, the object being tried in any case.
        """
        try:
            for upload_id in self._unfinished(key):
                self._abort(key, upload_id)
        finally:
            self._remove(key)

    def _remove(self, key: str) -> None:
        # One by one: DeleteObjects wants checksums that old stores do not know.
        with contextlib.suppress(ObjectMissing), speaking("delete"):
            self._access.client.delete_object(**self._at(key))

    def _abort(self, key: str, upload_id: str) -> None:
        with speaking("abort upload"):
            try:
                self._access.client.abort_multipart_upload(**self._at(key), UploadId=upload_id)
            except ClientError as error:
                # Its own writer was faster, which is just as well.
                if error_code(error) != "NoSuchUpload":
                    raise

    def _unfinished(self, key: str) -> Iterator[str]:
        at = self._at(key)
        asked: dict[str, Any] = {"Bucket": at["Bucket"], "Prefix": at["Key"]}
        for _ in range(_MOST_PAGES):
            with speaking("list uploads"):
                page = self._access.client.list_multipart_uploads(**asked)
            yield from (upload["UploadId"] for upload in page.get("Uploads", ()) if upload["Key"] == at["Key"])
            if not page.get("IsTruncated"):
                return
            asked |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _prove_size(self, key: str, size: int) -> None:
        stored = 0
        with contextlib.suppress(ObjectMissing), speaking("verify"):
            stored = self._access.client.head_object(**self._at(key))["ContentLength"]
        if stored != size:
            raise BucketError(f"verify: {size} bytes were written, the store has {stored}")

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}


class _Unsatisfiable(Exception):
    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__()
        self.headers = headers


def _passed_on(meta: dict[str, Any]) -> dict[str, str]:
    headers = meta["HTTPHeaders"]
    return {name: headers[name] for name in _PASSED_ON if name in headers}


def _blocks(body: Any) -> Iterator[bytes]:
    while True:
        with speaking("get"):
            block = body.read(_BLOCK)
        if not block:
            return
        yield block
