"""The three commands: make a video, come back to one, fetch one. Each returns the exit status."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from gateway.client.gateway import Gateway, Refused, Unreachable, Video
from gateway.client.progress import shown_progress
from gateway.client.saving import Damaged, save

DONE = 0
VIDEO_FAILED = 1
"""The video failed, was cancelled, or is not finished where it has to be."""
WRONG_REQUEST = 2
"""The gateway refused the request, or the command line is wrong."""
GATEWAY_AWAY = 3
"""The gateway or its bucket could not be reached, or what came was damaged."""
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True, slots=True)
class Commands:
    """What runs against one gateway. People read `console`, and `errors` where the exit status is not 0.

    With `as_json` one document goes to stdout, whatever becomes of it.
    """

    gateway: Gateway
    console: Console
    errors: Console
    as_json: bool

    def generate(self, fields: Mapping[str, str], image: Path | None, output: Path | None) -> int:
        """Post a video, wait for it and save it."""
        video: Video = {}
        try:
            video = self.gateway.create(fields, image)
            self._say(f"Video {video['id']}: {video['model']}, {video['size']}, {video['seconds']} s")
            return self._followed(str(video["id"]), output, saved=True)
        except KeyboardInterrupt:
            if video:
                return self._interrupted(str(video["id"]))
            self._complain("Interrupted before the gateway answered; it may have accepted the video.")
            self._print(_problem("interrupted", "interrupted"))
            return INTERRUPTED
        except (Refused, Unreachable) as error:
            return self._refused(error)

    def watch(self, video_id: str) -> int:
        """Wait until a video is final."""
        return self._followed(video_id, None, saved=False)

    def download(self, video_id: str, output: Path | None) -> int:
        """Save a finished video."""
        try:
            video = self.gateway.video(video_id)
            if video["status"] != "completed":
                return self._unfinished(video)
            return self._saved(video, output)
        except KeyboardInterrupt:
            return self._interrupted(video_id)
        except (Refused, Unreachable, Damaged, OSError) as error:
            return self._refused(error)

    def _followed(self, video_id: str, output: Path | None, *, saved: bool) -> int:
        try:
            video = self._waited(video_id)
            if video["status"] != "completed":
                return self._unfinished(video)
            if saved:
                return self._saved(video, output)
        except KeyboardInterrupt:
            return self._interrupted(video_id)
        except (Refused, Unreachable, Damaged, OSError) as error:
            return self._refused(error, video_id)
        self._say(f"Completed. gateway download {video_id} saves it.")
        self._print(video)
        return DONE

    def _waited(self, video_id: str) -> Video:
        with shown_progress(self.console, "rendering", total=100) as show:
            for video in self.gateway.changes(video_id):
                show(int(video["progress"]), str(video["status"]))
        return video

    def _saved(self, video: Video, output: Path | None) -> int:
        target = output or Path(f"{video['id']}.mp4")
        with shown_progress(self.console, "downloading", total=int(video["content"]["bytes"]), in_bytes=True) as show:
            save(self.gateway, video, target, show=lambda done: show(done, ""))
        self._say(f"Saved {target} ({video['content']['bytes']:,} bytes, {video['seconds']} s, {video['size']}).")
        self._print({**video, "file": str(target)})
        return DONE

    def _unfinished(self, video: Video) -> int:
        error = video.get("error") or {}
        if video["status"] == "failed":
            self._complain(f"The video failed: {error.get('message')} ({error.get('code')})")
        elif video["status"] == "cancelled":
            self._complain("The video was cancelled.")
        else:
            self._complain(f"The video is {video['status']}. gateway watch {video['id']} waits for it.")
        self._print(video)
        return VIDEO_FAILED

    def _refused(self, error: Exception, video_id: str = "") -> int:
        wrong = isinstance(error, Refused) and error.status < 500 and error.status != 429
        code = f" ({error.code})" if isinstance(error, Refused) and error.code else ""
        self._complain(f"gateway: {error}{code}")
        if video_id and not wrong:
            self._come_back(video_id)
        self._print(_problem(str(error), getattr(error, "code", ""), video_id))
        return WRONG_REQUEST if wrong or isinstance(error, OSError) else GATEWAY_AWAY

    def _interrupted(self, video_id: str) -> int:
        self._complain("\nInterrupted; the video goes on.")
        self._come_back(video_id)
        self._print(_problem("interrupted", "interrupted", video_id))
        return INTERRUPTED

    def _come_back(self, video_id: str) -> None:
        self._complain(f"Come back to it with\n  gateway watch {video_id}\n  gateway download {video_id}")

    def _complain(self, line: str) -> None:
        self.errors.print(escape(line))

    def _say(self, line: str) -> None:
        self.console.print(escape(line))

    def _print(self, document: Mapping[str, object]) -> None:
        if self.as_json:
            readable = (sys.stdout.encoding or "").lower().startswith("utf")
            sys.stdout.write(json.dumps(document, ensure_ascii=not readable, indent=2) + "\n")


def _problem(message: str, code: str, video_id: str = "") -> Mapping[str, object]:
    """Return what stands on stdout instead of a video."""
    return {**({"id": video_id} if video_id else {}), "error": {"message": message, "code": code or None}}
