"""What any answer of an upstream tells, whatever was asked: a refused key, a hiccup, how long to wait."""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime

from gateway.outbound.retry_after import retry_after_s
from gateway.outbound.session import Reply
from gateway.upstreams.cleaning import Cleaner
from gateway.upstreams.port import Answer, KeyRefused, NoAnswer
from gateway.upstreams.problems import QUOTA_CODES, Problem, find_problem
from gateway.upstreams.scalars import decode

RETRY_AFTER_MAX_S = 3600.0
"""What an upstream may ask us to wait at most; a typo in its header must not park a queue for a week."""


def answer_of(reply: Reply, clean: Cleaner) -> Answer:
    """Return what the job's history keeps of an answer."""
    return Answer(status=reply.status, body=lambda: clean.body(reply.body), elapsed_s=reply.elapsed_s)


def refused_key(reply: Reply, *, clean: Cleaner) -> KeyRefused | None:
    """Return that the key is refused or out of balance, or None where the answer says neither."""
    problem = problem_of(reply)
    quota = is_quota(reply.status, problem)
    if not quota and reply.status not in {401, 403}:
        return None
    return KeyRefused(
        reason="quota" if quota else "auth",
        message=message_of(problem, reply.status, clean),
        answer=answer_of(reply, clean),
    )


def no_answer(reply: Reply, *, clean: Cleaner) -> NoAnswer:
    """Return the hiccup that an unusable answer is."""
    reason = "redirect" if 300 <= reply.status < 400 else f"HTTP {reply.status}"
    return NoAnswer(reason=reason, answer=answer_of(reply, clean), retry_after_s=retry_after(reply))


def is_hiccup(reply: Reply) -> bool:
    """Whether an answer says nothing but that there is trouble: a redirect, a wait, an error of the server's own."""
    return reply.status >= 500 or 300 <= reply.status < 400 or reply.status in {408, 425, 429}


def retry_after(reply: Reply) -> float | None:
    """Return how many seconds the upstream asks to wait, capped, or None where it does not say.

    A date is read against the answer's own `Date`, so no clock of ours is in it.
    """
    return retry_after_s(reply.headers, now=_answered_at(reply), most_s=RETRY_AFTER_MAX_S)


def is_quota(status: int, problem: Problem) -> bool:
    """Words alone count only under the statuses that are used for it; under 400 a prompt may be quoted."""
    if status == 402:
        return True
    return 400 <= status < 500 and bool(problem.codes & QUOTA_CODES or (status in {403, 429} and problem.is_quota))


def is_html(reply: Reply) -> bool:
    """Whether a web server or proxy answered with a page of its own."""
    start = reply.body[:200].lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html")) or "html" in reply.headers.get("content-type", "").lower()


def problem_of(reply: Reply) -> Problem:
    """Return the error of an answer; one without a readable error has a nameless one."""
    found = find_problem(decode(reply.body)) if not reply.truncated else None
    return found or Problem()


def message_of(problem: Problem, status: int | None, clean: Cleaner) -> str:
    """Return the cleaned words of an error, or what can be said without any."""
    return clean.message(problem.message) or f"The upstream answered HTTP {status}."


def _answered_at(reply: Reply) -> float:
    try:
        return parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.inf
