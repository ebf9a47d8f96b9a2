"""The port to an upstream: what the worker asks of it, and the outcomes it gets. All outcomes are values.

An adapter classifies whatever the remote said or did not say; the worker only obeys. No method raises for anything
that the remote or the network does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.jobs.codes import FailureCode


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One API key of an upstream. `name` is its position or environment name and may be logged; `secret` never."""

    name: str
    secret: str = field(repr=False)
    fingerprint: str = ""
    """First 16 hex digits of the key's SHA-256, to notice that it was replaced."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """A reference picture, whole in memory (at most 10 MB)."""

    data: bytes = field(repr=False)
    content_type: str
    """`image/png`, `image/jpeg` or `image/webp`."""
    dimensions: str = ""
    """Width and height, spelt as a video's size; empty where they are not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoRequest:
    """What to submit. `model` is the upstream's own name."""

    model: str
    prompt: str
    size: str
    seconds: int
    image: Image | None = None
    extra: Mapping[str, object] = field(default_factory=dict)
    remix_of: str | None = None
    """The upstream's id of the finished video that this one is a remix of. Only where `facts.can_remix`."""


class Answer:
    """What an upstream answered, fit for the job's history: `body` capped at 4 kB, URLs without query and userinfo.

    The body may be given as a function, which is called when the body is asked for: most polls bring nothing new, and
    cleaning what nobody reads would be most of their cost.
    """

    __slots__ = ("_body", "elapsed_s", "status")

    def __init__(self, *, status: int | None, body: str | Callable[[], str] = "", elapsed_s: float = 0.0) -> None:
        self.status = status
        """The HTTP status, or None where there was no answer."""
        self.elapsed_s = elapsed_s
        self._body = body

    @property
    def body(self) -> str:
        """The answer's own words."""
        if not isinstance(self._body, str):
            self._body = self._body()
        return self._body

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and self._shown() == other._shown()

    def __hash__(self) -> int:
        return hash(self._shown())

    def __repr__(self) -> str:
        return "Answer(status={!r}, body={!r}, elapsed_s={!r})".format(*self._shown())

    def _shown(self) -> tuple[int | None, str, float]:
        return self.status, self.body, self.elapsed_s


# -- the outcomes of a submit ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """The upstream took the job; `upstream_job_id` is the id of this answer and is never replaced."""

    upstream_job_id: str
    answer: Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """The upstream will never make it: the job fails with `code` and the cleaned message."""

    code: FailureCode
    message: str
    answer: Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class NotAccepted:
    """Surely not accepted: submit again later. `reason` is a short word for logs and events."""

    reason: str
    answer: Answer
    retry_after_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyRefused:
    """The key is refused (`auth`) or its balance is empty (`quota`): pause the key, fail no job."""

    reason: Literal["auth", "quota"]
    message: str
    answer: Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Unknown:
    """The answer was lost or makes no sense: the upstream may have accepted. Never submit again blindly."""

    reason: str
    answer: Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class NotSent:
    """`before_send` said no: not a byte left."""


SubmitOutcome = Accepted | Refused | NotAccepted | KeyRefused | Unknown | NotSent

# -- the outcomes of a poll --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """A valid answer: still queued or in progress. `progress` is 0 to 100, or None where the upstream does not say."""

    progress: int | None
    answer: Answer
    started: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A valid answer: the content can be fetched."""

    answer: Answer
    expires_at: float | None = None
    """Unix seconds by the upstream's clock, from its own words."""
    content_urls: Sequence[str] = ()
    """Where else the content may lie, best first. Secrets: never shown, logged or put in an event."""
    cost: float | None = None
    """What the upstream took for it, in its own currency, where it says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A valid answer: the job failed upstream."""

    code: FailureCode
    message: str
    answer: Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """404: not visible yet, or lost. Final only when repeated."""

    answer: Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class NoAnswer:
    """A hiccup: time-out, 408, 409, 425, 429, 5xx, HTML, broken JSON, an unknown word. Says nothing about the job."""

    reason: str
    answer: Answer
    retry_after_s: float | None = None


PollOutcome = Unfinished | Finished | Failed | Missing | KeyRefused | NoAnswer

# -- the outcomes of a fetch of content --------------------------------------------------------------------------------


class ContentBroken(Exception):
    """Raised by `Content.blocks` when the stream dies, stalls or ends early. The message is fit for the history."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """An open download, whose first bytes were found to be those of a video container."""

    length: int | None
    """Content-Length, or None where the upstream does not say."""
    content_type: str
    """`video/mp4` or `video/webm`, from the container's magic and not from the header; of a variant, a picture's."""
    readinto: Callable[[memoryview], int]
    """Fill the buffer as far as one read gives; 0 at the end. Raises ContentBroken."""
    answer: Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentMissing:
    """404 or 410: final only when repeated (four times over at least 30 s: `content_expired`)."""

    answer: Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentNotReady:
    """400, 408, 409, 425, 429, 5xx, no answer, or bytes that are no video: try again later."""

    reason: str
    answer: Answer
    retry_after_s: float | None = None
    invalid: bool = False
    """The answer was 200, but not a video."""


ContentOutcome = Content | ContentMissing | ContentNotReady | KeyRefused

# -- the list ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One video of the upstream's list. Fields it does not show are None; `created_at` is in Unix seconds.

    `remixed_from`: the upstream's id of the video that it is a remix of, or None also where it is none.
    """

    upstream_job_id: str
    created_at: float | None
    prompt: str | None
    model: str | None
    size: str | None
    seconds: int | None
    poll: PollOutcome
    remixed_from: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of the list, newest first. `next` is the cursor of the following page, or None after the last."""

    videos: Sequence[Listed]
    next: str | None


ListOutcome = Page | NoAnswer | KeyRefused


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What an upstream serves under one model name; empty means that the dialect does not list it."""

    sizes: Sequence[str]
    seconds: Sequence[int]
    any_seconds_from: int | None = None
    """With `any_seconds_to`: every whole number in between is served, and `seconds` is empty."""
    any_seconds_to: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DialectFacts:
    """What is known of a dialect without asking: the source of each is `facts.md` of the design notes, section 4."""

    name: str
    models: Mapping[str, ModelFacts]
    """The dialect's own models, first the default."""
    prompt_max: int
    can_list: bool
    can_cancel: bool
    extra: Sequence[str] = ()
    """Names of the `extra` fields it takes."""
    image_must_match_size: bool = False
    can_remix: bool = False
    variants: Sequence[str] = ()
    """What it makes beside a video: `thumbnail`, `spritesheet`."""


class Upstream(Protocol):
    """One configured upstream. Every call has a total deadline and a bounded body, and is safe from many threads."""

    facts: DialectFacts

    def submit(self, request: VideoRequest, key: Key, *, before_send: Callable[[], bool]) -> SubmitOutcome:
        """POST the request once. `before_send` is asked right before the first byte; False sends nothing."""

    def poll(self, upstream_job_id: str, key: Key) -> PollOutcome:
        """Ask about one job."""

    def content(self, upstream_job_id: str, key: Key, *, urls: Sequence[str]) -> AbstractContextManager[ContentOutcome]:
        """Open the content: `/content` or what else the dialect prefers, then `urls`."""

    def variant(
        self, upstream_job_id: str, key: Key, name: str, *, within_s: float
    ) -> AbstractContextManager[ContentOutcome]:
        """Open a picture beside the video, to be read in so many seconds. Only what `facts.variants` names."""

    def page(self, key: Key, *, after: str | None) -> ListOutcome:
        """Return one page of what this key accepted. Only where `facts.can_list`."""

    def cancel(self, upstream_job_id: str, key: Key) -> bool:
        """Tell the upstream to stop; whether it said that it did. Only where `facts.can_cancel`."""

    def ping(self, key: Key) -> NoAnswer | KeyRefused | None:
        """Ask for something harmless, for `gateway check`: None when the upstream answers and takes the key."""


def all_videos(upstream: Upstream, key: Key) -> Iterator[Page | NoAnswer | KeyRefused]:
    """Walk the whole list page by page; the last item tells whether it was complete."""
    after: str | None = None
    while True:
        page = upstream.page(key, after=after)
        yield page
        if not isinstance(page, Page) or page.next is None:
            return
        after = page.next
