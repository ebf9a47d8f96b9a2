"""The faults that the simulated upstream can be asked for, as one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Stage(StrEnum):
    """Where a fault strikes."""

    SUBMIT = "submit"
    POLL = "poll"
    CONTENT = "content"
    VARIANT = "variant"
    LIST = "list"
    DELETE = "delete"
    FATE = "fate"
    """How the video ends."""
    TRAIT = "trait"
    """How it, or the server, is for as long as it lasts."""


class Trick(StrEnum):
    """What is done to an answer instead of sending it as it is."""

    RESET = "reset"
    CUT = "cut"
    BROKEN = "broken"
    BLANK = "blank"
    ARRAY = "array"
    HUGE = "huge"
    NO_ID = "no-id"
    ID_AS = "id-as"
    STATUS = "status"
    SLOW = "slow"
    HOLD = "hold"
    HOLD_BODY = "hold-body"
    STALL = "stall"
    DRIP = "drip"
    WRONG = "wrong"
    CHUNKED = "chunked"
    CLOSE = "close"
    REDIRECT = "redirect"
    ENDLESS = "endless"


@dataclass(frozen=True, kw_only=True, slots=True)
class Error:
    """Answer with the dialect's own error of that kind."""

    kind: str
    retry_after: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Answer with an HTML page, as a proxy in between would."""

    status: int


Takes = Literal["", "number", "word"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One fault of the table. `times` None means for ever; `value` is the default; `made`: the request takes effect."""

    name: str
    stage: Stage
    does: str
    act: Error | Page | Trick | None = None
    takes: Takes = ""
    value: str = ""
    times: int | None = 1
    made: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A row as somebody asked for it."""

    row: Row
    value: str
    times: int | None
    first: int

    @property
    def number(self) -> float:
        """The value as a number."""
        return float(self.value)


def _errors(stage: Stage) -> Iterator[Row]:
    """Yield the errors that any request may meet: `submit-429`, `poll-429` and so on."""
    for name, kind, does in (
        ("408", "timeout", "408 request timeout"),
        ("409", "conflict", "409 conflict"),
        ("425", "early", "425 too early"),
        ("401", "auth", "401: the key is refused"),
        ("403", "forbidden", "403: the key may not do this"),
        ("500", "server", "500 with a JSON error"),
        ("quota", "quota", "the balance is empty, as the dialect says it (429 or 403)"),
    ):
        yield Row(name=f"{stage}-{name}", stage=stage, does=does, act=Error(kind=kind))
    for name, kind, does in (
        ("429", "rate", "429 for rate with `Retry-After: VALUE`"),
        ("503", "overloaded", "503 overloaded with `Retry-After: VALUE`"),
    ):
        act = Error(kind=kind, retry_after=True)
        yield Row(name=f"{stage}-{name}", stage=stage, does=does, act=act, takes="number", value="1")
    yield Row(name=f"{stage}-429-bare", stage=stage, does="429 for rate without Retry-After", act=Error(kind="rate"))
    for status in (502, 503, 504):
        name = "503-plain" if status == 503 else str(status)
        yield Row(
            name=f"{stage}-{name}", stage=stage, does=f"{status} with a proxy's HTML page", act=Page(status=status)
        )
    yield Row(name=f"{stage}-html", stage=stage, does="200 with an HTML page", act=Page(status=200))
    yield Row(name=f"{stage}-reset", stage=stage, does="the connection is reset, no byte of an answer", act=Trick.RESET)


_HOLD = "the answer waits until `POST /_simulator/release`"


def _answers(stage: Stage) -> Iterator[Row]:
    """Yield what can become of a right answer in JSON."""
    for trick, does, value in (
        (Trick.CUT, "the answer breaks off in the middle", ""),
        (Trick.BROKEN, "200 with broken JSON", ""),
        (Trick.BLANK, "200 with an empty body", ""),
        (Trick.ARRAY, "200 with a JSON array", ""),
        (Trick.HUGE, "200 with VALUE bytes of JSON", "8000000"),
        (Trick.SLOW, "the right answer, VALUE seconds late", "10"),
        (Trick.HOLD, _HOLD, ""),
    ):
        takes: Takes = "number" if value else ""
        yield Row(name=f"{stage}-{trick}", stage=stage, does=does, act=trick, takes=takes, value=value, made=True)


_SUBMIT = (
    ("slow-down", "429 slow_down", Error(kind="slow_down", retry_after=True)),
    ("credit", "429 credit_balance_exhausted", Error(kind="credit")),
    ("402", "402: payment required", Error(kind="payment")),
    ("400", "400: the request is refused as invalid", Error(kind="invalid")),
    ("moderation", "400: moderation refuses the prompt", Error(kind="moderation")),
    ("404", "404: the model is not known", Error(kind="model")),
    ("413", "413: the body is too large", Error(kind="too_large")),
    ("415", "415: the kind of body or picture is not taken", Error(kind="media_type")),
    ("422", "422: cannot be processed", Error(kind="unprocessable")),
)


_MADE_ALL_THE_SAME = {f"submit-{name}" for name in ("500", "502", "503-plain", "504", "html", "reset")}


def _submit() -> Iterator[Row]:
    stage = Stage.SUBMIT
    for row in _errors(stage):
        yield row
        if row.name in _MADE_ALL_THE_SAME:
            does = f"{row.does}, and the video is made all the same"
            yield Row(name=f"{row.name}-after", stage=stage, does=does, act=row.act, made=True)
    for name, does, act in _SUBMIT:
        yield Row(name=f"submit-{name}", stage=stage, does=does, act=act, value="1")
    for row in _answers(stage):
        does = row.does + ("; the video is made at once" if row.name == "submit-hold" else "; the video is made")
        name = "submit-hold-after" if row.name == "submit-hold" else row.name
        yield Row(name=name, stage=stage, does=does, act=row.act, takes=row.takes, value=row.value, made=True)
    yield Row(name="submit-hold", stage=stage, does=f"{_HOLD}; the video is made then", act=Trick.HOLD)
    yield Row(
        name="submit-no-id", stage=stage, does="200 without any id; the video is made", act=Trick.NO_ID, made=True
    )
    does = "the id stands where VALUE says, as `task_id` or `data.task_id`"
    yield Row(
        name="submit-id-as", stage=stage, does=does, act=Trick.ID_AS, takes="word", value="data.task_id", made=True
    )


def _poll() -> Iterator[Row]:
    stage = Stage.POLL
    yield from _errors(stage)
    yield from _answers(stage)
    does = "404, as if the video were not there (`*all`: lost for good)"
    yield Row(name="poll-404", stage=stage, does=does, act=Error(kind="missing"))
    does = "the right answer with VALUE as its status word"
    yield Row(name="poll-status", stage=stage, does=does, act=Trick.STATUS, takes="word", value="thinking", made=True)


def _content(stage: Stage) -> Iterator[Row]:
    what = "video" if stage is Stage.CONTENT else "picture"
    yield from _errors(stage)
    rows: tuple[tuple[str, str, Error | Trick, str], ...] = (
        ("400", f"400 not ready, though the {what} is completed", Error(kind="content_soon"), ""),
        ("404", "404 (`*all`: the file has expired)", Error(kind="content_gone"), ""),
        ("410", "410 gone", Error(kind="content_removed"), ""),
        ("json", f"200 with a JSON error instead of the {what}", Trick.ARRAY, ""),
        ("wrong", f"200 video/mp4, but the bytes are no {what}", Trick.WRONG, ""),
        ("blank", "200 video/mp4 of no bytes", Trick.BLANK, ""),
        ("cut", "ends after VALUE bytes (0: half), short of Content-Length", Trick.CUT, "0"),
        ("reset-late", "the connection is reset after VALUE bytes (0: half)", Trick.BROKEN, "0"),
        ("stall", "stops after VALUE bytes (0: half) and keeps the connection", Trick.STALL, "0"),
        ("hold", f"stops in the middle; the rest {_HOLD.removeprefix('the answer ')}", Trick.HOLD_BODY, ""),
        ("slow", "the first byte is VALUE seconds late", Trick.SLOW, "10"),
        ("drip", "goes on at VALUE bytes a second", Trick.DRIP, "100000"),
        ("chunked", "whole, but chunked and without Content-Length", Trick.CHUNKED, ""),
        ("close", "whole, without any length: the end of the connection is the end", Trick.CLOSE, ""),
        ("endless", "chunked, and never ends", Trick.ENDLESS, ""),
    )
    for name, does, act, value in rows:
        takes: Takes = "number" if value else ""
        yield Row(name=f"{stage}-{name}", stage=stage, does=does, act=act, takes=takes, value=value)
    does = "302 to a signed path that wants no key; VALUE: its origin, such as http://localhost:PORT"
    yield Row(name=f"{stage}-redirect", stage=stage, does=does, act=Trick.REDIRECT, takes="word", times=None)


def _list() -> Iterator[Row]:
    yield from _errors(Stage.LIST)
    yield from _answers(Stage.LIST)
    yield Row(name="list-404", stage=Stage.LIST, does="404: no such path", act=Error(kind="no_path"))


_FATES = (
    ("fail-moderation", "moderation refuses the result, as the dialect says it", ""),
    ("fail-error", "failed with an error object", ""),
    ("fail-string", "failed with the error as a string", ""),
    ("fail-null", "failed without any error", ""),
    ("fail-http", "failed, and polls answer HTTP VALUE with the whole job", "500"),
    ("completed-error", "completed, but with an error and no file", ""),
    ("expired", "status `expired`", ""),
    ("cancelled", "status `cancelled`", ""),
    ("stuck", "in progress at VALUE % for ever", "99"),
)

_TRAITS = (
    ("render", "takes VALUE seconds to make", "5"),
    ("bytes", "content of VALUE bytes (not below the encoder's own)", "1000000"),
    ("expires", "content is gone VALUE seconds after completion", "3600"),
    ("synonyms", "other status words: pending, processing, succeeded, error", ""),
    ("millis", "times in milliseconds", ""),
    ("no-progress", "no `progress` field", ""),
    ("no-expiry", "no `expires_at` field", ""),
    ("no-source", "no `remixed_from_video_id` field", ""),
    ("cloud", "the file lies in a cloud store, and `/content` answers 400 with its link (sglang)", ""),
    ("list-lag", "shown in the list only VALUE seconds after it was made", "30"),
    ("list-hide", "never shown in the list; as a fault of the server the list is always empty", ""),
    ("list-pages", "the list's pages have at most VALUE videos", "2"),
)


def _lasting(stage: Stage, rows: Sequence[tuple[str, str, str]]) -> Iterator[Row]:
    for name, does, value in rows:
        yield Row(name=name, stage=stage, does=does, takes="number" if value else "", value=value, times=None)


def _table() -> Iterator[Row]:
    yield from _submit()
    yield from _poll()
    yield from _content(Stage.CONTENT)
    yield from _content(Stage.VARIANT)
    yield from _list()
    yield from _errors(Stage.DELETE)
    yield from _lasting(Stage.FATE, _FATES)
    yield from _lasting(Stage.TRAIT, _TRAITS)


TABLE: Mapping[str, Row] = {row.name: row for row in _table()}
