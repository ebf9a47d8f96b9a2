"""An answer whose body is still on the wire."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

from urllib3 import BaseHTTPResponse

from gateway.outbound.call import Call
from gateway.outbound.errors import AnswerLost


class Stream:
    """Status and headers, and the body as it comes. Use it from one thread at a time."""

    def __init__(self, *, response: BaseHTTPResponse, call: Call) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.peer = call.peer
        self._raw = response
        self._answer: Any = response._original_response  # type: ignore[attr-defined]  # noqa: SLF001
        self._call = call
        self._ended = False

    @property
    def length(self) -> int | None:
        """How many bytes of body are still to come, or None where the answer does not say."""
        return None if self._answer.chunked else self._answer.length

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer as far as one read gives, and return the number of bytes; 0 at the end. Raises AnswerLost."""
        if self._ended or not len(buffer):
            return 0
        try:
            count = self._read(buffer)
        except TimeoutError as error:
            raise AnswerLost("timeout") from error
        except http.client.IncompleteRead as error:
            raise self._call.lost("short") from error
        except (http.client.HTTPException, ValueError) as error:
            raise self._call.lost("malformed") from error
        except OSError as error:
            raise self._call.lost("reset") from error
        if not count:
            self._end()
        return count

    def read_up_to(self, limit: int) -> bytes:
        """Return the next bytes until the end or `limit`, whichever is first. Raises AnswerLost."""
        body = bytearray()
        size = min(limit, 65536 if self.length is None else max(1, self.length))
        block = memoryview(bytearray(size))
        while len(body) < limit and (count := self.readinto(block[: limit - len(body)])):
            body += block[:count]
        return bytes(body)

    def limit(self, *, stall_s: float, at: float | None) -> None:
        """From now on no read waits longer than `stall_s` seconds, and none goes on past the monotonic instant `at`."""
        self._call.extend(at)
        if self._call.sock is not None:
            self._call.sock.settimeout(stall_s)

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else close it."""
        self._call.unwatch()
        if not self._ended:
            self._raw.close()
        self._raw.release_conn()
        self._call.finish()

    def _read(self, buffer: memoryview) -> int:
        answer = self._answer
        if answer.chunked:
            block = answer.read1(len(buffer))
            buffer[: len(block)] = block
            return len(block)
        if answer.fp is None or answer.length == 0:
            return 0
        if answer.length is not None:
            buffer = buffer[: answer.length]
        # Past http.client's own readinto, which goes on until the buffer is full and a short body for whole.
        count: int = answer.fp.readinto1(buffer)
        if answer.length is not None:
            if not count:
                raise http.client.IncompleteRead(b"", answer.length)
            answer.length -= count
        return count

    def _end(self) -> None:
        # A body without a length ends when the connection does; so does one that the deadline cut off.
        if self._answer.length is None and self._call.expired:
            raise AnswerLost("timeout")
        self._ended = True
        self._answer.close()
