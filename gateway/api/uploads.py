"""Bodies that nobody reads to their end: how much is still taken in, so that the sender gets to see the answer."""

from __future__ import annotations

import time

from flask import request

LARGEST_DISCARDED = 128 * 1024 * 1024
"""In bytes; beyond it the connection is simply closed."""

LONGEST_S = 10.0

_BLOCK = 64 * 1024


def discard_rest() -> None:
    """Read what is left of the request's body and drop it, in constant memory.

    A connection that is closed with unread bytes is reset, and the reset overtakes the answer: the client would see a
    dropped connection instead of the 413 or the 401.
    """
    left = _unread()
    stream = request.environ["wsgi.input"]
    until = time.monotonic() + LONGEST_S
    while left > 0 and time.monotonic() < until:
        try:
            block = stream.read(min(_BLOCK, left))
        except OSError:
            return
        if not block:
            return
        left -= len(block)


def _unread() -> int:
    announced = request.content_length
    if request.environ.get("wsgi.input_terminated"):
        return LARGEST_DISCARDED if announced is None else min(announced, LARGEST_DISCARDED)
    # Without an end mark, reading on after a body that was read already would wait for ever: only a body that was
    # refused for its size is surely unread.
    limit = request.max_content_length
    return min(announced, LARGEST_DISCARDED) if announced is not None and limit is not None and announced > limit else 0
