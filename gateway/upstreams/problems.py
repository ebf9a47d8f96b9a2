"""Errors as upstreams spell them: read out of every shape met in the field, and given one of our own codes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.jobs.codes import FailureCode
from gateway.upstreams.scalars import decode, text

MODERATION_CODES = frozenset(
    {
        "moderation_blocked",
        "content_policy_violation",
        "content_policy",
        "content_filter",
        "content_filtered",
        "sentinel_block",
        "input_moderation",
        "output_moderation",
        "sensitive_content",
        "data_inspection_failed",
        "inputtextsensitivecontentdetected",
        "outputvideosensitivecontentdetected",
    }
)
QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "insufficient_user_quota",
        "credit_balance_exhausted",
        "insufficient_balance",
        "insufficient_credits",
        "billing_hard_limit_reached",
        "pre_consume_token_quota_failed",
        "quota_not_enough",
    }
)
RATE_CODES = frozenset({"rate_limit_exceeded", "slow_down", "too_many_requests", "rate_limit_error"})
OVERLOAD_CODES = frozenset({"server_is_overloaded", "slow_down", "overloaded_error", "overloaded"})
MODEL_CODES = frozenset({"model_not_found", "model_not_supported", "unsupported_model", "deploymentnotfound"})
LOST_CODES = frozenset({"task_not_exist", "task_not_found", "video_not_found", "job_not_found"})

_MODERATION = re.compile(
    r"moderation|content[ _]policy|content[ _]?filter|safety (?:system|polic|filter)|guardrail"
    r"|sensitive (?:content|word)|violat\w+ (?:\w+ ){0,4}(?:polic|guideline|terms)|polic\w+ violation|违规|敏感|审核",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"quota\b.{0,200}?\bnot enough|(?:insufficient|not enough|exhausted|no remaining|out of)[ _]"
    r"(?:\w+ ){0,2}(?:quota|balance|credit|fund)|exceeded your current quota|(?:balance|credits?) (?:is |are )?"
    r"(?:too low|insufficient|exhausted|not enough)|余额不足|额度不足|欠费",
    re.IGNORECASE,
)
_OVERLOAD = re.compile(
    r"overloaded|at capacity|no healthy upstream|no available (?:channel|server|worker|(?:model )?provider)"
    r"|too many requests|负载已饱和|无可用渠道",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model mismatch|(?:invalid|unknown|no such|unsupported) model|model\b[^.]{0,120}"
    r"(?:not found|does not exist|not exist|not supported|is not available)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"input_reference|reference (?:image|picture)|inpaint image", re.IGNORECASE)
_BLANK = re.compile(
    r"could not parse the body|(?:missing|required)\b[^.]{0,60}\bprompt\b|\bprompt\b[^.]{0,60}\b(?:missing|required)"
    r"|field required",
    re.IGNORECASE,
)
_NOT_READY = re.compile(r"not (?:yet )?(?:ready|completed?|finished|available yet)|in[- _]?progress", re.IGNORECASE)

_NOTHING = frozenset({"", "0", "200", "null", "none", "nil", "ok", "success", "succeeded"})
_BESIDE_ERROR = ("fail_reason", "failure_reason", "failureReason", "error_message", "error_msg", "detail", "errors")
_DEPTH = 8
_MESSAGE_MAX = 4000
"""Characters of a message that are kept and searched: echoes of a long prompt would only slow the patterns down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """An upstream's error in its own words, not yet cleaned. Everything may be empty but one of code and message."""

    code: str = ""
    message: str = ""
    type: str = ""
    param: str = ""

    @property
    def codes(self) -> frozenset[str]:
        """What may name the error, in lower case: LiteLLM and new-api put the telling word into `type`."""
        return frozenset({self.code.lower().replace("-", "_"), self.type.lower().replace("-", "_")})

    @property
    def is_moderation(self) -> bool:
        """Whether the upstream clearly says that its moderation refused."""
        return bool(self.codes & MODERATION_CODES or _MODERATION.search(self._told))

    @property
    def is_quota(self) -> bool:
        """Whether the balance is empty, and not merely the rate too high."""
        if self.codes & QUOTA_CODES:
            return True
        return not self.codes & RATE_CODES and bool(_QUOTA.search(self._told))

    @property
    def is_overload(self) -> bool:
        """Whether the upstream says that it took nothing because it is full."""
        return bool(self.codes & OVERLOAD_CODES or _OVERLOAD.search(self._told))

    @property
    def is_model(self) -> bool:
        """Whether the upstream does not know the model."""
        return bool(self.codes & MODEL_CODES or _MODEL.search(self.message))

    @property
    def is_reference(self) -> bool:
        """Whether the reference picture is what it complains of."""
        return self.param.startswith("input_reference") or bool(_REFERENCE.search(self.message))

    @property
    def is_blank(self) -> bool:
        """Whether it says that the request came without a body, or without a prompt."""
        return bool(_BLANK.search(self.message))

    @property
    def is_not_ready(self) -> bool:
        """Whether it only says that the video is not finished yet."""
        return bool(_NOT_READY.search(self.message))

    @property
    def _told(self) -> str:
        return f"{self.code} {self.type} {self.message}"


def refusal_code(problem: Problem) -> FailureCode:
    """Return our code for a submit that was refused for good."""
    if problem.is_moderation:
        return "content_policy_violation"
    if problem.is_model:
        return "model_not_found"
    return "invalid_reference" if problem.is_reference else "invalid_request"


def failure_code(problem: Problem | None, word: str) -> FailureCode:
    """Return our code for a job that failed upstream, where `word` is its normalised status."""
    if problem is not None and problem.is_moderation:
        return "content_policy_violation"
    if word == "expired" or (problem is not None and "expired" in problem.codes):
        return "upstream_expired"
    if word in {"cancelled", "canceled", "deleted"}:
        return "upstream_cancelled"
    if problem is not None and problem.codes & {"400", "422", "invalid_request", "invalid_request_error"}:
        return refusal_code(problem)
    return "upstream_error"


def find_problem(answer: object) -> Problem | None:
    """Return the error that a decoded answer tells of, or None where it tells of none."""
    return _of(answer, _DEPTH)


def job_error(job: Mapping[str, object]) -> Problem | None:
    """Return what stands in a job's own `error`, or None. Never looks beside it: see `beside_error`."""
    return _of_error(job.get("error"), _DEPTH)


def beside_error(job: Mapping[str, object]) -> Problem | None:
    """Return why a failed job failed where its `error` is empty.

    Only to be asked of failed jobs: new-api's `fail_reason` held the finished video's URL in some versions.
    """
    for name in _BESIDE_ERROR:
        found = _of_error(job.get(name), _DEPTH)
        if found is not None:
            return found
    message = text(job.get("message"))
    return _problem(message) if message.lower() not in _NOTHING else None


def embedded(message: str) -> object | None:
    """Return the first JSON object inside a text, as LiteLLM puts the answer it got into its own error's message."""
    start = message.find("{")
    for _ in range(8):
        if start < 0:
            return None
        try:
            return json.JSONDecoder().raw_decode(message, start)[0]  # type: ignore[no-any-return]
        except (ValueError, RecursionError):
            start = message.find("{", start + 1)
    return None


def _of(answer: object, depth: int) -> Problem | None:
    if isinstance(answer, str):
        return _of_text(answer, depth)
    if not isinstance(answer, Mapping) or depth <= 0:
        return None
    found = _of_error(answer.get("error"), depth - 1)
    if found is not None:
        return found
    # new-api answers {"code", "message", "data"} and FastAPI {"detail"}, without a wrapper.
    bare = _of_mapping(answer, depth - 1) if "message" in answer and "error" not in answer else None
    return bare or beside_error(answer)


def _of_error(error: object, depth: int) -> Problem | None:
    if depth <= 0:
        return None
    if isinstance(error, Mapping):
        return _of_mapping(error, depth)
    if isinstance(error, list):
        return next((found for item in error[:20] if (found := _of_error(item, depth - 1))), None)
    return _of_text(text(error), depth)


def _of_mapping(error: Mapping[str, object], depth: int) -> Problem | None:
    message = text(error.get("message")) or text(error.get("msg")) or text(error.get("detail"))
    inner = _inside(message, depth)
    if inner is not None:
        return inner
    nested = _of_error(error.get("error"), depth - 1)
    if nested is not None and not message:
        return nested
    code = text(error.get("code"))
    if code.lower() in _NOTHING:
        code = ""
    kind = text(error.get("type"))
    # A Go server marshals "no error" as a whole object of empty values.
    if not code and not kind and message.lower() in _NOTHING:
        return None
    return _problem(message, code=code or "upstream_error", kind=kind, param=text(error.get("param")))


def _of_text(said: str, depth: int) -> Problem | None:
    if said.lower() in _NOTHING:
        return None
    return _inside(said, depth) or _problem(said)


def _problem(message: str, *, code: str = "upstream_error", kind: str = "", param: str = "") -> Problem:
    return Problem(code=code[:200], message=message[:_MESSAGE_MAX], type=kind[:200], param=param[:200])


def _inside(message: str, depth: int) -> Problem | None:
    """Return the error of the answer that a text carries in itself."""
    if "{" not in message or depth <= 0:
        return None
    inner = decode(message) or embedded(message)
    return _of(inner, depth - 1) if isinstance(inner, Mapping) else None
