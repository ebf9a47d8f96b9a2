"""What differs from run to run, made the same: ids, times, links, hosts, lengths and hashes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

_ID = re.compile(r"\b(video|evt|del|we)_([0-9a-f]{12,})")
_HEX = "019ab2d54a7c6f3e8d91b04c7a5e2f6081d3"
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

_FIELDS: Mapping[str, object] = {
    "bytes": 4194304,
    "completed_at": 1796000123,
    "created_at": 1796000000,
    "disabled_at": 1796000200,
    "estimated_completion_at": 1796000120,
    "finished_at": 1796000124.09,
    "latency_ms": 90,
    "next_attempt_at": 1796000200,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "signing_secret": _SECRET,
    "signing_secret_hint": f"whsec_…{_SECRET[-4:]}",
    "since": 1796000000,
    "started_at": 1796000124.0,
    "updated_at": 1796000000,
    "url_expires_at": 1796086523,
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    "webhook-timestamp": "1796000124",
    "worker_heartbeat_age_s": 1.2,
}
"""By the name of the field, where it is not null."""


def evened(value: object, *, hosts: Mapping[str, str]) -> Any:
    """Return an answer as every run gives it. `hosts`: what stands for the beginning of a URL, by that beginning."""
    return _Evening(hosts).of(value)


class _Evening:
    """One answer: equal ids in it stay equal, different ones different."""

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self._hosts = hosts
        self._ids: dict[str, str] = {}
        self._events = itertools.count()

    def of(self, value: object, name: str = "") -> object:
        if name == "at":
            return 1796000000.25 + 30.75 * next(self._events)
        if value is not None and name in _FIELDS:
            return _FIELDS[name]
        if isinstance(value, dict):
            return {key: self.of(member, key) for key, member in value.items()}
        if isinstance(value, list):
            return [self.of(member) for member in value]
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        for begin, shown in self._hosts.items():
            text = text.replace(begin, shown)
        text = re.sub(r"^(https://bucket\.example\.com/)[^?]*\?.*$", r"\1video.mp4?X-Amz-Signature=…", text)
        return _ID.sub(self._id, text)

    def _id(self, found: re.Match[str]) -> str:
        kind, digits = found.groups()
        alike = sum(known.startswith(f"{kind}_") for known in self._ids)
        shown = f"{kind}_{_HEX[: len(digits) - 1]}{(alike + 3) % 10}"
        return self._ids.setdefault(found[0], shown)
