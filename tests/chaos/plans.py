"""What each video of a chaos run meets upstream, drawn by weight from the simulator's table, and how it may end."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LOST_ANSWERS = (
    "submit-500", "submit-500-after", "submit-502", "submit-502-after", "submit-504", "submit-504-after",
    "submit-html", "submit-html-after", "submit-reset", "submit-reset-after", "submit-cut", "submit-broken",
    "submit-blank", "submit-array", "submit-no-id", "submit-408", "submit-503-plain", "submit-slow=7",
)  # fmt: skip
"""Made and not made: after each of them only the upstream's list knows."""

_TURNED_AWAY = ("submit-429=1", "submit-429-bare", "submit-503=1", "submit-409", "submit-425", "submit-slow-down")
_ODD_ANSWERS = ("submit-id-as=data.task_id", "submit-slow=1")

_REFUSED = {
    "submit-400": "invalid_request",
    "submit-422": "invalid_request",
    "submit-moderation": "content_policy_violation",
}

_POLLS = (
    "poll-408", "poll-409", "poll-425", "poll-500", "poll-429=1", "poll-503=1", "poll-429-bare", "poll-502",
    "poll-503-plain", "poll-504", "poll-html", "poll-reset", "poll-cut", "poll-broken", "poll-blank", "poll-array",
    "poll-slow=1", "poll-404", "poll-404*2", "poll-status=thinking", "poll-500*3",
)  # fmt: skip

_CONTENTS = (
    "content-408", "content-429=1", "content-500", "content-502", "content-503=1", "content-504", "content-html",
    "content-reset", "content-400", "content-404", "content-json", "content-wrong", "content-blank", "content-cut",
    "content-cut=2000", "content-reset-late", "content-slow=1", "content-drip=60000", "content-chunked",
    "content-close", "content-redirect",
)  # fmt: skip

_FATES = {
    "fail-moderation": "content_policy_violation",
    "fail-error": "upstream_error",
    "fail-string": "upstream_error",
    "fail-null": "upstream_error",
    "completed-error": "content_policy_violation",
    "expired": "upstream_expired",
    "cancelled": "upstream_cancelled",
    "poll-404*all": "upstream_job_lost",
}

_LISTED_ALL_THE_SAME = frozenset({"poll-404*all"})
"""Nothing of these shows where a page of the list serves as the poll."""

_TRAITS = ("synonyms", "millis", "no-progress", "no-expiry", "list-lag=0.5")

_LONG_ONLY_KEYS = ("submit-401", "submit-quota", "poll-401", "content-401")
_LONG_ONLY_FATES = {"stuck": "upstream_timeout", "content-404*all": "content_expired"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The fault words of one prompt, and how its video may end; being cancelled aside."""

    words: Sequence[str] = ()
    may_complete: bool = True
    may_fail_as: Sequence[str] = ()

    def prompt(self, name: str) -> str:
        return " ".join([name, *(f"sim:{word}" for word in self.words)])


def draw(chance: random.Random, *, long: bool) -> Plan:
    """Return the plan of one video: half of them meet nothing, some meet several things."""
    words = [f"render={chance.uniform(0.1, 1.2):.2f}"]
    if chance.random() < 0.45:
        return Plan(words=words)
    ends: Mapping[str, str] = _FATES | (_LONG_ONLY_FATES if long else {})
    # First in the prompt, so that no other fault of its stage lets the video through.
    fate = _pick(chance, ((0.08, tuple(ends)),))
    words += fate
    submit = _pick(chance, ((0.22, LOST_ANSWERS), (0.03, _TURNED_AWAY), (0.06, _ODD_ANSWERS), (0.05, tuple(_REFUSED))))
    words += submit
    words += _pick(chance, ((0.3, _POLLS),))
    words += _pick(chance, ((0.3, _CONTENTS),))
    words += _pick(chance, ((0.15, _TRAITS),))
    words += _pick(chance, ((0.05, ("bytes=400000", "bytes=3000000")),))
    if long:
        words += _pick(chance, ((0.004, _LONG_ONLY_KEYS),))
    # A refusal can be lost on its way, too; it strikes once, so the submit that follows is accepted.
    codes = [_REFUSED[word] for word in submit if word in _REFUSED] + [ends[word] for word in fate]
    return Plan(words=words, may_complete=_LISTED_ALL_THE_SAME.issuperset(fate), may_fail_as=codes)


def _pick(chance: random.Random, offers: Sequence[tuple[float, Sequence[str]]]) -> list[str]:
    """Return one word of the first offer that chance takes; of several, each has the share that it names."""
    roll = chance.random()
    for share, words in offers:
        if roll < share:
            return [chance.choice(words)]
        roll -= share
    return []
