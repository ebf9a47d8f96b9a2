"""The decision tables: from one HTTP answer to the outcome of a submit, a poll, a page of the list. Pure.

What is not said to be refused may have been accepted, and what is not said to have failed may still be rendering:
every row that is not certain ends in `Unknown` or `NoAnswer`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from gateway.outbound.session import Reply
from gateway.upstreams import reading
from gateway.upstreams.cleaning import Cleaner
from gateway.upstreams.dialect import Dialect
from gateway.upstreams.port import (
    Accepted,
    Answer,
    ContentMissing,
    ContentNotReady,
    Failed,
    Finished,
    KeyRefused,
    Listed,
    ListOutcome,
    Missing,
    NoAnswer,
    NotAccepted,
    Page,
    PollOutcome,
    Refused,
    SubmitOutcome,
    Unfinished,
    Unknown,
)
from gateway.upstreams.problems import (
    LOST_CODES,
    MODEL_CODES,
    MODERATION_CODES,
    Problem,
    failure_code,
    refusal_code,
)
from gateway.upstreams.replies import (
    answer_of,
    is_html,
    is_quota,
    message_of,
    no_answer,
    problem_of,
    refused_key,
    retry_after,
)
from gateway.upstreams.scalars import decode

_BUSY = frozenset({409, 421, 423, 425})
PAGE = 100
"""Entries asked for in one page of the list: the most that OpenAI's allows."""


def submit(reply: Reply, *, clean: Cleaner, repeats_blank: bool = False, is_remix: bool = False) -> SubmitOutcome:
    """Return what the answer to a submit means.

    An error that names its cause by code is believed whatever its status; else the status decides. `repeats_blank` as
    in `Dialect`: that a body is missing, of which ours never is, then answers the repeat, and the first was lost. With
    `is_remix` a 404 means that the upstream no longer has the video to start from.
    """
    answer = answer_of(reply, clean)
    status = reply.status
    if status < 400:
        return _submitted(reply, answer)
    problem = problem_of(reply)
    if problem.codes & MODERATION_CODES:
        return _refused(problem, answer, clean)
    if repeats_blank and status in {400, 415, 422} and problem.is_blank:
        return Unknown(reason="repeated without its body", answer=answer)
    if is_remix and status in {404, 410} and not problem.is_model and not is_html(reply):
        return Refused(code="upstream_job_lost", message=message_of(problem, status, clean), answer=answer)
    if status < 500:
        return _submit_refused(reply, problem, answer, clean)
    if status in {503, 529} and (retry_after(reply) is not None or problem.is_overload):
        return NotAccepted(reason="overloaded", answer=answer, retry_after_s=retry_after(reply))
    # A bare 503 included: a proxy says it of a connection that broke after the request was through, too.
    return Unknown(reason=f"HTTP {status}", answer=answer)


def poll(reply: Reply, *, dialect: Dialect, clean: Cleaner) -> PollOutcome:
    """Return what the answer to a poll means. Only a readable job with a final status word ends a job."""
    answer = answer_of(reply, clean)
    if reply.truncated:
        return NoAnswer(reason="oversized", answer=answer)
    decoded = decode(reply.body)
    if reply.status < 400:
        return _polled(reply, decoded, dialect, answer, clean)
    job = reading.failed_job(decoded, dialect.statuses) if dialect.failed_on_poll_http_body else None
    if job is not None:
        return _outcome_of(job, answer, clean)
    return refused_key(reply, clean=clean) or _missing(reply, answer) or no_answer(reply, clean=clean)


def page(reply: Reply, *, dialect: Dialect, after: str | None, clean: Cleaner) -> ListOutcome:
    """Return a page of the list. One entry that cannot be read spoils it: it might be the one that is looked for."""
    if not 200 <= reply.status < 300:
        return refused_key(reply, clean=clean) or no_answer(reply, clean=clean)
    decoded = decode(reply.body)
    entries = decoded.get("data") if isinstance(decoded, Mapping) else None
    if reply.truncated or not isinstance(decoded, Mapping) or not isinstance(entries, list):
        return NoAnswer(reason="oversized" if reply.truncated else "no list", answer=answer_of(reply, clean))
    videos = [_listed(entry, reply, dialect, clean) for entry in entries]
    known = [video for video in videos if video is not None]
    if len(known) < len(videos):
        return NoAnswer(reason="unreadable entry", answer=answer_of(reply, clean))
    more = decoded.get("has_more", len(known) >= PAGE)
    last = reading.find_id({"id": decoded.get("last_id")}) or (known[-1].upstream_job_id if known else None)
    if more and (not known or last is None or last == after):
        return NoAnswer(reason="endless list", answer=answer_of(reply, clean))
    return Page(videos=known, next=last if more else None)


def content(reply: Reply, *, own: bool, clean: Cleaner) -> ContentMissing | ContentNotReady | KeyRefused:
    """Return what an answer to a download means that is not 200. Only the upstream's own origin can refuse the key."""
    answer = answer_of(reply, clean)
    refused = refused_key(reply, clean=clean) if own else None
    if refused is not None:
        return refused
    # Several say 404 of a video that is not finished.
    if reply.status in {404, 410} and not problem_of(reply).is_not_ready:
        return ContentMissing(answer=answer)
    hiccup = no_answer(reply, clean=clean)
    return ContentNotReady(reason=hiccup.reason, answer=answer, retry_after_s=hiccup.retry_after_s)


def _submitted(reply: Reply, answer: Answer) -> SubmitOutcome:
    if not 200 <= reply.status < 300:
        return Unknown(reason="redirect" if reply.status >= 300 else f"HTTP {reply.status}", answer=answer)
    if reply.truncated:
        return Unknown(reason="oversized", answer=answer)
    decoded = decode(reply.body)
    if decoded is None:
        return Unknown(reason="not JSON", answer=answer)
    found = reading.find_id(decoded)
    if found is None:
        return Unknown(reason="no id", answer=answer)
    return Accepted(upstream_job_id=found, answer=answer)


def _submit_refused(reply: Reply, problem: Problem, answer: Answer, clean: Cleaner) -> SubmitOutcome:
    status = reply.status
    if is_quota(status, problem):
        return KeyRefused(reason="quota", message=message_of(problem, status, clean), answer=answer)
    if status == 403 and (problem.is_moderation or problem.codes & MODEL_CODES):
        return _refused(problem, answer, clean)
    if status in {401, 403}:
        return KeyRefused(reason="auth", message=message_of(problem, status, clean), answer=answer)
    if status == 429:
        return NotAccepted(reason="rate limit", answer=answer, retry_after_s=retry_after(reply))
    if status in _BUSY:
        # Conflict, misdirected, locked, too early: each says that nothing was done, and none that it never will be.
        return NotAccepted(reason=f"HTTP {status}", answer=answer, retry_after_s=retry_after(reply))
    if status in {408, 499}:
        return Unknown(reason=f"HTTP {status}", answer=answer)
    return _refused(problem, answer, clean)


def _refused(problem: Problem, answer: Answer, clean: Cleaner) -> Refused:
    return Refused(code=refusal_code(problem), message=message_of(problem, answer.status, clean), answer=answer)


def _polled(reply: Reply, decoded: object, dialect: Dialect, answer: Answer, clean: Cleaner) -> PollOutcome:
    if not 200 <= reply.status < 300:
        return no_answer(reply, clean=clean)
    if decoded is None:
        return NoAnswer(reason="not JSON", answer=answer)
    job = reading.read_job(decoded, dialect.statuses, unread=dialect.secret_fields)
    if job is None:
        return NoAnswer(reason="no job", answer=answer)
    return _outcome_of(job, answer, clean)


def _outcome_of(job: reading.Snapshot, answer: Answer, clean: Cleaner) -> PollOutcome:
    if job.state is None:
        return NoAnswer(reason="unknown status", answer=answer)
    if job.state in {"queued", "in_progress"}:
        return Unfinished(progress=job.progress, answer=answer, started=job.state == "in_progress")
    if job.state == "failed" or job.problem is not None:
        code = failure_code(job.problem, job.word)
        return Failed(code=code, message=_failure_message(job, code, clean), answer=answer)
    if job.blocked:
        return Failed(code="content_policy_violation", message="The result was withheld by moderation.", answer=answer)
    return Finished(answer=answer, expires_at=job.expires_at, content_urls=job.urls, cost=job.cost)


def _failure_message(job: reading.Snapshot, code: str, clean: Cleaner) -> str:
    said = clean.message(job.problem.message) if job.problem is not None else ""
    if said:
        return said
    if code == "content_policy_violation":
        return "The upstream's moderation refused it."
    return f"The upstream ended the video as {job.word} and gave no reason."


def _missing(reply: Reply, answer: Answer) -> Missing | None:
    """Return that the job is not there. A page of HTML is a proxy's 404 and says nothing about the job."""
    by_status = reply.status in {404, 410} and not is_html(reply)
    by_code = 400 <= reply.status < 500 and bool(problem_of(reply).codes & LOST_CODES)
    return Missing(answer=answer) if by_status or by_code else None


def _listed(entry: object, reply: Reply, dialect: Dialect, clean: Cleaner) -> Listed | None:
    found = reading.find_id(entry)
    if found is None or not isinstance(entry, Mapping):
        return None
    answer = Answer(status=reply.status, body=lambda: clean.body(json.dumps(entry).encode()), elapsed_s=reply.elapsed_s)
    job = reading.read_job(entry, dialect.statuses)
    facts = job or reading.Snapshot(id=found, word="", state=None)
    return Listed(
        upstream_job_id=found,
        created_at=facts.created_at,
        prompt=facts.prompt,
        model=facts.model,
        size=facts.size,
        seconds=facts.seconds,
        poll=_outcome_of(facts, answer, clean),
        remixed_from=facts.remixed_from,
    )
