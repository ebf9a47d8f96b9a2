"""Saving a finished video: resumed where it was cut, proven by length and hash, and named only when it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gateway.client.gateway import Gateway, Unreachable, Video
from gateway.outbound.session import AnswerLost, NotSent

_BLOCK = 1 << 20
_TRIES = 6
"""In a row that brought no byte."""


class Damaged(Exception):
    """What came is not what the gateway stored."""


def save(gateway: Gateway, video: Video, target: Path, *, show: Callable[[int], None]) -> None:
    """Download a completed video to `target`, by way of `target.part`. `show` is told the bytes so far.

    Raises Refused, Unreachable, Damaged, and OSError where the file cannot be written.
    """
    part = target.with_name(target.name + ".part")
    wanted = video.get("content") or {}
    tries = 0
    with part.open("wb") as file:
        while not _whole(file.tell(), wanted):
            before = file.tell()
            try:
                _fetch(gateway, str(video["id"]), file, show)
                if not wanted:
                    break
            except (NotSent, AnswerLost) as error:
                tries = 0 if file.tell() > before else tries + 1
                if tries == _TRIES:
                    raise Unreachable(f"the download broke off {tries} times ({error.reason})") from error
                gateway.sleep(min(5.0, 0.5 * 2**tries))
    _prove(part, wanted)
    part.replace(target)


def _whole(size: int, wanted: Video) -> bool:
    length = wanted.get("bytes")
    if length is not None and size > length:
        raise Damaged(f"the download has {size} bytes instead of {length}")
    return length is not None and size == length


def _fetch(gateway: Gateway, video_id: str, file: BinaryIO, show: Callable[[int], None]) -> None:
    with gateway.content(video_id, start=file.tell()) as stream:
        if file.tell() and stream.status != 206:
            # A server that knows no ranges begins anew.
            file.seek(0)
            file.truncate()
        buffer = memoryview(bytearray(_BLOCK))
        while count := stream.readinto(buffer):
            file.write(buffer[:count])
            show(file.tell())


def _prove(part: Path, wanted: Video) -> None:
    expected = wanted.get("sha256")
    if expected is None:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        part.unlink()
        raise Damaged("the download's SHA-256 is not that of the stored video")
