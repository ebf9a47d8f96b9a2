"""The stable codes as tables in Markdown, for the document and for the README."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.jobs.codes import CODES
from gateway.jobs.refusal_codes import REFUSALS


def refusals() -> str:
    """Return the table of the codes of requests that are refused."""
    rows = (
        f"| {', '.join(map(str, advice.statuses))} | `{code}` | {advice.text} |" for code, advice in REFUSALS.items()
    )
    return _table("| status | code | what it means, and what to do |", "| --- | --- | --- |", rows)


def failures() -> str:
    """Return the table of the codes of videos that failed."""
    rows = (f"| `{code}` | {meaning} |" for code, meaning in CODES.items())
    return _table("| code | what it means, and what to do |", "| --- | --- |", rows)


def _table(head: str, line: str, rows: Iterable[str]) -> str:
    return "\n".join([head, line, *rows, ""])
