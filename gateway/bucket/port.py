"""The port to the bucket: whole objects in, presigned links out. Nothing here knows of jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol


class BucketError(Exception):
    """The store did not do what was asked: unreachable, refused, or changed the bytes. Worth another try later."""


class ObjectMissing(BucketError):
    """There is no object of that key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """An object that lies whole in the bucket: as many bytes and the same hash as went in."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A presigned GET. `url` is a secret: shown to its client, never logged or stored."""

    url: str = field(repr=False)
    expires_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """An open object, or a range of it, for passing through."""

    status: int
    headers: dict[str, str]
    blocks: Iterator[bytes]


class Bucket(Protocol):
    """One bucket and prefix. Safe from many threads."""

    def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Write a small object at once. Raises BucketError."""

    def get(self, key: str, *, limit: int) -> bytes:
        """Return a small object; raises ObjectMissing, or BucketError also where it is larger than `limit` bytes."""

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
        """Stream an object of any size in constant memory; it exists whole or not at all.

        `readinto` fills a buffer and returns 0 at the end; what it raises passes through after the upload was aborted.
        A source that gives fewer or more bytes than `length` raises BucketError. `alive` is called between parts, at
        least every few seconds of progress, and may raise to give up. Content-Disposition is `inline` with `filename`.
        """

    def link(self, key: str, *, now: float, ttl_s: int, filename: str) -> Link:
        """Sign a GET that lives `ttl_s` seconds (at most 7 days, or the credentials' life); no request is made."""

    def open(self, key: str, *, range_header: str | None) -> AbstractContextManager[Download]:
        """Open an object for passing through, with the store's own answer to a Range. Raises ObjectMissing."""

    def delete(self, key: str) -> None:
        """Remove the object and abort every unfinished upload under exactly this key; neither need be there."""
