"""What can be wrong with a request, as the core sees it. The API turns each into one status and one stable code."""

from __future__ import annotations

from gateway.jobs.refusal_codes import RefusalCode


class Refusal(Exception):
    """A request that is not carried out. `message` names what is allowed."""

    def __init__(self, message: str, *, code: RefusalCode, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param


class InvalidField(Refusal):
    """A field is wrong; `param` names it."""

    def __init__(self, param: str, message: str, *, code: RefusalCode = "invalid_value") -> None:
        super().__init__(message, code=code, param=param)


class NotFound(Refusal):
    """There is no such thing, or it is another client's: the two look alike."""


class Conflict(Refusal):
    """The thing is in a state in which this can't be done."""


class Gone(Refusal):
    """It was there and has been removed."""


class KeyReused(Refusal):
    """An idempotency key came back with another body."""


class QueueFull(Refusal):
    """The client has as many unfinished videos as it may."""

    retry_after_s = 30


class Unavailable(Refusal):
    """Ours to mend: the database is busy or the bucket is down. Nothing was kept; the request may be sent again."""

    retry_after_s = 2


class StaleJob(Exception):
    """Somebody else was faster: the row is no longer as it was read. The caller drops its work or reads again."""
