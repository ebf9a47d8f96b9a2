"""What the steps write into a job's history about an upstream's answer."""

from __future__ import annotations

from gateway.upstreams.port import Answer


def told(answer: Answer, **facts: object) -> dict[str, object]:
    """Return the detail of a history row: the facts, and the answer that only an admin is shown."""
    shown = {"status": answer.status, "body": answer.body, "elapsed_ms": round(answer.elapsed_s * 1000)}
    return {**facts, "answer": shown}
