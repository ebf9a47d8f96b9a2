"""The bytes on their way into the bucket: hashed, counted, and cut into bodies of known length."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from gateway.bucket.port import BucketError
from gateway.clock import Clock, monotonic

BLOCK = 1 << 20
"""Bytes read and sent at once."""

_ALIVE_EVERY_BYTES = 8 << 20
_ALIVE_EVERY_S = 1.0


class Payload(Protocol):
    """An HTTP body of known length, as the upload sees it afterwards."""

    left: int
    """Bytes not yet read."""
    failure: BaseException | None
    """What stopped the reading: the HTTP library may wrap or replace what it sees."""

    def __len__(self) -> int: ...

    def read(self, size: int = -1) -> memoryview:
        """Return the next bytes, at most `size`; empty at the end. The view is good until the next call."""


class Source:
    """A caller's `readinto`, with the hash and the count of all that went through it."""

    def __init__(
        self, *, readinto: Callable[[memoryview], int], alive: Callable[[], None], clock: Clock = monotonic
    ) -> None:
        self._readinto = readinto
        self._alive = alive
        self._clock = clock
        self._hash = hashlib.sha256()
        self._alive_at = (0, clock())
        self.size = 0

    @property
    def sha256(self) -> str:
        """The hash so far, in hex."""
        return self._hash.hexdigest()

    def into(self, view: memoryview) -> int:
        """Fill the start of `view` and return how much; 0 is the end. Raises what the caller's functions raise."""
        self._show_life()
        count = self._readinto(view)
        self._hash.update(view[:count])
        self.size += count
        return count

    def fill(self, view: memoryview) -> int:
        """Fill all of `view`, less only at the end."""
        filled = 0
        while filled < len(view):
            count = self.into(view[filled : filled + BLOCK])
            if count == 0:
                break
            filled += count
        return filled

    def must_be_over(self) -> None:
        """Raise BucketError if there is a byte left."""
        if self.into(memoryview(bytearray(1))):
            raise BucketError(f"write: the source gave more than the {self.size - 1} bytes it named")

    def _show_life(self) -> None:
        size, since = self._alive_at
        now = self._clock()
        if self.size - size >= _ALIVE_EVERY_BYTES or now - since >= _ALIVE_EVERY_S:
            self._alive_at = (self.size, now)
            self._alive()


class Body:
    """`length` bytes of a source as a payload that is read block by block out of one reused buffer."""

    def __init__(self, source: Source, *, length: int, block: bytearray, last: bool) -> None:
        self._source = source
        self._length = length
        self._view = memoryview(block)
        self._last = last
        self.left = length
        self.failure: BaseException | None = None

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> memoryview:
        """Return the next bytes; raises, now and ever after, what the source raised or BucketError."""
        if self.failure is not None:
            raise self.failure
        most = min(self.left, len(self._view), size if size >= 0 else self.left)
        try:
            count = self._next(most) if most else 0
        except BaseException as error:
            self.failure = error
            raise
        return self._view[:count]

    def _next(self, most: int) -> int:
        count = self._source.into(self._view[:most])
        if count == 0:
            raise BucketError(f"write: the source ended after {self._source.size} bytes, before the length it named")
        self.left -= count
        # Asked before the last block leaves, so that a source that is too long never becomes an object at all.
        if self._last and self.left == 0:
            self._source.must_be_over()
        return count


class Held:
    """Bytes in memory as a payload."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.left = len(data)
        self.failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._data)

    def read(self, size: int = -1) -> memoryview:
        """Return the next bytes."""
        count = min(self.left, size if size >= 0 else self.left)
        start = len(self._data) - self.left
        self.left -= count
        return self._data[start : start + count]
