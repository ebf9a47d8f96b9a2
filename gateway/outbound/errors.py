"""What can become of a request that brought no answer. The messages are fit for logs and for a client."""

from __future__ import annotations


class NotSent(Exception):
    """Surely not a byte of the request left.

    `reason` is one of `dns`, `refused`, `unreachable`, `timeout`, `tls`, `blocked`, `invalid`, `declined`.
    """

    def __init__(self, reason: str, *, declined: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.declined = declined
        """Whether `before_send` said no."""


class Blocked(NotSent):
    """The guard refused the URL or the address. The message says why, for the operator's log only."""

    def __init__(self, why: str) -> None:
        super().__init__("blocked")
        self.why = why

    def __str__(self) -> str:
        return f"blocked: {self.why}"


class AnswerLost(Exception):
    """Bytes may have left, but no answer came, or not the whole of it.

    `reason` is one of `timeout`, `reset`, `malformed`, `short`.
    """

    def __init__(self, reason: str, *, stale: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stale = stale
        """Whether a kept-alive connection turned out to be closed before the first byte of an answer."""
