"""The tolerant reader: what an upstream's JSON says of a job, in whichever known spelling. Never raises."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from gateway.upstreams import scalars
from gateway.upstreams.problems import Problem, beside_error, embedded, job_error

State = Literal["queued", "in_progress", "completed", "failed"]

_WORDS: Mapping[State, str] = {
    "queued": (
        "queued pending submitted created initializing initialized preparing not_start notstarted not_started starting "
        "in_queue throttled unknown accepted waiting"
    ),
    "in_progress": "in_progress inprogress processing running generating rendering",
    "completed": "completed complete success succeeded successful finished done",
    "failed": "failed failure fail error errored cancelled canceled expired deleted rejected",
}
STATES: Mapping[str, State] = {word: state for state, words in _WORDS.items() for word in words.split()}
"""Every status word met in the field, normalised, and its meaning; most are from new-api's sora adaptor."""

_UNFINISHED: frozenset[State | None] = frozenset({"queued", "in_progress"})
_VAGUE = frozenset({"error", "errored", "fail", "rejected"})
_ID_MAX = 1024
_URL_MAX = 8192
_URLS_MAX = 6
_STATUS_FIELDS = ("status", "task_status", "state")
_ID_FIELDS = ("id", "task_id", "video_id", "generation_id")
_JOB_FIELDS = (
    *_ID_FIELDS,
    "object",
    "model",
    "created_at",
    "progress",
    "video",
    "task_result",
    "polling_url",
    "url",
    "video_url",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One job as an answer shows it. `state` is None where the status word is not known."""

    id: str | None
    word: str
    """The status word, normalised: lower case, `_` for spaces and hyphens."""
    state: State | None
    problem: Problem | None = None
    blocked: bool = False
    """The upstream says by flag alone that moderation withheld the result."""
    progress: int | None = None
    created_at: float | None = None
    expires_at: float | None = None
    prompt: str | None = None
    model: str | None = None
    size: str | None = None
    seconds: int | None = None
    remixed_from: str | None = None
    urls: Sequence[str] = field(default=(), repr=False)
    cost: float | None = None
    """What the upstream says that it took for the job, in its own currency."""


def normal(word: str) -> str:
    """Return a status word as the tables spell it."""
    return word.strip().lower().replace("-", "_").replace(" ", "_")


def find_id(answer: object) -> str | None:
    """Return the job's id out of the answer to a submit, or None where it names none.

    `request_id` comes last and never out of an error: most use it for the request, xAI alone for the job.
    """
    if not isinstance(answer, Mapping):
        return None
    inner = answer.get("data")
    data = inner if isinstance(inner, Mapping) else {}
    candidates = (
        [answer.get("id"), answer.get("task_id"), answer.get("video_id"), data.get("id"), data.get("task_id")]
        + [data.get("video_id")]
        + ([] if answer.get("error") else [answer.get("request_id"), data.get("request_id")])
    )
    return next((found for candidate in candidates if (found := _usable_id(candidate))), None)


def read_job(
    answer: object, words: Mapping[str, State] | None = None, *, unread: Collection[str] = ()
) -> Snapshot | None:
    """Return the job that an answer shows, or None where it shows none.

    `words` are a dialect's own status words; in the fields of `unread` no content is looked for. A word that
    ends a job counts only beside something that marks a job, as many wrap any answer in `{"status": "success"}` or
    `{"status": "error"}`.
    """
    job = _job_in(answer)
    if job is None:
        return None
    word = normal(_status(job))
    state = (words or {}).get(word, STATES.get(word))
    if state not in _UNFINISHED and not any(job.get(name) for name in _JOB_FIELDS):
        return None
    problem = job_error(job)
    if problem is None and state == "failed":
        problem = beside_error(job)
    # What is not finished has no content yet, and nearly every answer to a poll is of that kind.
    urls = () if state in _UNFINISHED else tuple(content_urls(_without(job, unread)))
    return Snapshot(
        id=find_id(job),
        word=word,
        state=state,
        problem=problem,
        blocked=_withheld(job) and not urls,
        progress=scalars.percent(job.get("progress")),
        created_at=scalars.instant(job.get("created_at")),
        expires_at=scalars.instant(job.get("expires_at")),
        prompt=_shown(job.get("prompt")),
        model=_shown(job.get("model")),
        size=_shown(job.get("size")),
        seconds=scalars.whole(job.get("seconds", job.get("duration"))),
        remixed_from=_shown(job.get("remixed_from_video_id")),
        urls=urls,
        cost=scalars.number(_get(job.get("usage"), "cost")),
    )


def failed_job(answer: object, words: Mapping[str, State] | None = None) -> Snapshot | None:
    """Return the failed job in an error answer: its body (vLLM-Omni) or embedded in its message (LiteLLM).

    An error of any API may have an `id` and `"status": "error"`, so such words count only in what calls itself a video.
    """
    for candidate in _with_embedded(answer):
        found = read_job(candidate, words)
        if found is not None and found.state == "failed" and _named(candidate):
            return found
    return None


def content_urls(job: Mapping[str, object]) -> list[str]:
    """Return where the finished content may lie, best first: every field that any known upstream puts it in."""
    holders = [holder for holder in (job, job.get("data")) if isinstance(holder, Mapping)]
    return list(dict.fromkeys(url for holder in holders for url in _urls_of(holder)))[:_URLS_MAX]


def _without(job: Mapping[str, object], names: Collection[str]) -> Mapping[str, object]:
    return {name: value for name, value in job.items() if name not in names}


def _urls_of(holder: Mapping[str, object]) -> Iterator[str]:
    task_result = holder.get("task_result")
    videos = task_result.get("videos") if isinstance(task_result, Mapping) else None
    spots = (
        holder.get("url"),
        holder.get("video_url"),
        _first(holder.get("urls")),
        _first(holder.get("unsigned_urls")),
        _get(holder.get("metadata"), "url"),
        _get(holder.get("video"), "url"),
        _get(holder.get("content"), "video_url"),
        _get(_first(videos), "url"),
        _first(holder.get("output")),
        _get(holder.get("output"), "url"),
        _get(holder.get("output"), "video_url"),
        _get(_first(holder.get("data")), "url"),
    )
    yield from (spot for spot in spots if isinstance(spot, str) and _is_url(spot))


def _is_url(value: str) -> bool:
    if len(value) > _URL_MAX or not value.isprintable() or " " in value or not value.isascii():
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _job_in(answer: object) -> Mapping[str, object] | None:
    """Return the mapping with the status: the inner one first, since wrappers have status words of their own."""
    if not isinstance(answer, Mapping):
        return None
    inner = answer.get("data")
    for holder in (inner, answer):
        if isinstance(holder, Mapping) and _status(holder):
            return holder
    return None


def _status(job: Mapping[str, object]) -> str:
    # Problem documents (RFC 9457) have a number there: no status word.
    found = (job.get(name) for name in _STATUS_FIELDS)
    return next((word for word in found if isinstance(word, str) and word.strip()), "")


def _named(answer: object) -> bool:
    job = _job_in(answer)
    if job is None:
        return False
    return bool(job.get("object")) or (normal(_status(job)) not in _VAGUE and any(job.get(name) for name in _ID_FIELDS))


def _with_embedded(answer: object) -> Iterator[object]:
    """Yield the answer, then what is embedded in its error's message, as deep as two LiteLLMs behind each other."""
    for _ in range(4):
        yield answer
        if not isinstance(answer, Mapping):
            return
        error = answer.get("error")
        message = error.get("message") if isinstance(error, Mapping) else error
        answer = embedded(message) if isinstance(message, str) else None


def _withheld(job: Mapping[str, object]) -> bool:
    return job.get("respect_moderation") is False or _get(job.get("video"), "respect_moderation") is False


def _usable_id(value: object) -> str:
    found = scalars.text(value)
    if not found.strip("."):  # would be a step up in the path
        return ""
    return found if found.isprintable() and "\ufffd" not in found and len(found) <= _ID_MAX else ""


def _shown(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _first(value: object) -> object | None:
    return value[0] if isinstance(value, list) and value else None


def _get(value: object, name: str) -> object | None:
    return value.get(name) if isinstance(value, Mapping) else None
