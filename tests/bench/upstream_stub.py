"""A stub upstream: takes every submit, and says of every video that it is in progress, or done with `finish`.

Run as a child with the answer's delay in seconds. `time.monotonic` is one clock for all processes of a machine.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import Any

from tests.bench.children import obey
from tests.bench.wire import Answer, Request, answer, listen

FILM_BYTES = 300_000
FILM = b"\x00\x00\x00\x18ftypisom" + bytes(range(256)) * (FILM_BYTES // 256)


class Upstream:
    """What was asked, and when what was told."""

    def __init__(self, *, after_s: float) -> None:
        self.after_s = after_s
        self.finish = False
        self.made = 0
        self.polls: Counter[str] = Counter()
        self.finished_at: dict[str, float] = {}

    def answer(self, request: Request) -> Answer:
        if request.method == "POST":
            self.made += 1
            return self._video(f"made_{self.made}", "queued")
        video, _, tail = request.path.removeprefix("/v1/videos/").partition("/")
        if tail == "content":
            return answer(200, FILM, type_="video/mp4")
        if tail.startswith("content?variant="):
            return answer(404)
        self.polls[video] += 1
        if not self.finish:
            return self._video(video, "in_progress")
        self.finished_at.setdefault(video, time.monotonic())
        return self._video(video, "completed")

    def _video(self, video: str, status: str) -> Answer:
        shown = {
            "id": video, "object": "video", "model": "sora-2", "status": status, "progress": 0, "size": "720x1280",
            "seconds": "4", "created_at": 1_796_000_000, "completed_at": None, "expires_at": None, "error": None,
        }  # fmt: skip
        return answer(200, json.dumps(shown).encode(), after_s=self.after_s)

    def command(self, command: dict[str, Any]) -> dict[str, Any]:
        """Return the counts so far; `reset` begins them anew, `finish` and `after_s` set what is answered."""
        if command.get("reset"):
            self.polls.clear()
        self.finish = command.get("finish", self.finish)
        self.after_s = command.get("after_s", self.after_s)
        polls = self.polls.copy()
        told = {"polls": polls.total(), "videos": len(polls), "at": time.monotonic(), "made": self.made}
        return told | ({"finished_at": self.finished_at} if command.get("finished") else {})


if __name__ == "__main__":
    upstream = Upstream(after_s=float(sys.argv[1]))
    obey(upstream.command, port=listen(upstream.answer))
