"""A stub upstream: takes every submit, and says of every video that it is in progress, or done with `finish`.

It lists what it was told to list. Run as a child with the answer's delay in seconds. `time.monotonic` is one clock for
all processes of a machine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

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
        self.polls: dict[str, list[float]] = {}
        """When each video was asked about, by the wall clock."""
        self.pages = 0
        self._entries: Sequence[bytes] = ()
        self._places: dict[str, int] = {}
        self.finished_at: dict[str, float] = {}

    def answer(self, request: Request) -> Answer:
        if request.method == "POST":
            self.made += 1
            return self._video(f"made_{self.made}", "queued")
        if request.path.startswith("/v1/videos?"):
            return self._page(parse_qs(request.path.partition("?")[2]))
        video, _, tail = request.path.removeprefix("/v1/videos/").partition("/")
        if tail == "content":
            return answer(200, FILM, type_="video/mp4")
        if tail.startswith("content?variant="):
            return answer(404)
        self.polls.setdefault(video, []).append(time.time())
        if not self.finish:
            return self._video(video, "in_progress")
        self.finished_at.setdefault(video, time.monotonic())
        return self._video(video, "completed")

    def _video(self, video: str, status: str) -> Answer:
        return answer(200, _shown(video, status), after_s=self.after_s)

    def _page(self, query: dict[str, list[str]]) -> Answer:
        self.pages += 1
        start = 0
        if "after" in query:
            start = self._places.get(query["after"][0], len(self._entries)) + 1
        end = start + int(query["limit"][0])
        more = b"true" if end < len(self._entries) else b"false"
        body = b'{"object":"list","data":[%s],"has_more":%s}' % (b",".join(self._entries[start:end]), more)
        return answer(200, body, after_s=self.after_s)

    def _list(self, videos: Sequence[str]) -> None:
        """From now on these are the videos in progress, newest first."""
        self._entries = [_shown(video, "in_progress") for video in videos]
        self._places = {video: place for place, video in enumerate(videos)}

    def command(self, command: dict[str, Any]) -> dict[str, Any]:
        """Return the counts so far; `reset` begins them anew, `finish`, `listed` and `after_s` set what is answered."""
        if command.get("reset"):
            self.polls, self.pages = {}, 0
        if "listed" in command:
            self._list(command["listed"])
        self.finish = command.get("finish", self.finish)
        self.after_s = command.get("after_s", self.after_s)
        polls = self.polls.copy()
        told = {"polls": sum(map(len, polls.values())), "videos": len(polls), "pages": self.pages}
        told |= {"at": time.monotonic(), "made": self.made}
        told |= {"asked_at": polls} if command.get("asked") else {}
        return told | ({"finished_at": self.finished_at} if command.get("finished") else {})


def _shown(video: str, status: str) -> bytes:
    shown = {
        "id": video, "object": "video", "model": "sora-2", "status": status, "progress": 0, "size": "720x1280",
        "seconds": "4", "created_at": 1_796_000_000, "completed_at": None, "expires_at": None, "error": None,
        "prompt": "A calico cat plays the piano on a stage, warm light", "remixed_from_video_id": None,
    }  # fmt: skip
    return json.dumps(shown).encode()


if __name__ == "__main__":
    upstream = Upstream(after_s=float(sys.argv[1]))
    obey(upstream.command, port=listen(upstream.answer))
