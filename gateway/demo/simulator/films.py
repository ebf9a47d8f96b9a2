"""The contents that the simulator serves: one encoded film per look, made unlike any other for each video."""

from __future__ import annotations

import hashlib
import io
import random
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from PIL import Image

from gateway.demo import mp4

BLOCK = 1 << 18
_KEPT = 24
_PICTURES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Film:
    """One content: the same bytes whenever it is asked for, made while it is read. `head` is all but the padding."""

    head: bytes = field(repr=False)
    padding: int
    seed: str
    content_type: str = "video/mp4"

    @property
    def length(self) -> int:
        """Size in bytes."""
        return len(self.head) + self.padding

    @property
    def etag(self) -> str:
        """A name for these bytes."""
        return hashlib.sha256(self.seed.encode() + self.length.to_bytes(8, "big")).hexdigest()[:32]

    def sha256(self) -> str:
        """Return the hash of all bytes, in hex; takes about a second for a gigabyte."""
        digest = hashlib.sha256()
        for block in self.blocks(0, self.length):
            digest.update(block)
        return digest.hexdigest()

    def blocks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` to before `stop`."""
        if start < len(self.head):
            yield self.head[start:stop]
        noise = self._noise() if stop > len(self.head) else b""
        at = max(start, len(self.head))
        while at < stop:
            number, skip = divmod(at - len(self.head), BLOCK)
            # Each block carries its number, so that parts put together in a wrong order show in the hash.
            block = (number.to_bytes(8, "big") + noise)[skip : skip + stop - at]
            yield block
            at += len(block)

    def _noise(self) -> bytes:
        return random.Random(self.seed).randbytes(BLOCK - 8)  # noqa: S311 - padding, not a secret


class Films:
    """Encodes films and keeps the latest few. Safe from many threads: one look is encoded once."""

    def __init__(self, *, fps: int) -> None:
        self._fps = fps
        self._encoded: OrderedDict[tuple[str, int, str], bytes] = OrderedDict()
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._encoding = threading.Lock()

    def keep_picture(self, picture: bytes, size: str) -> tuple[str, bytes]:
        """Keep a picture, shrunk to what a film of that size needs; return its name and what was kept."""
        with Image.open(io.BytesIO(picture)) as image:
            shrunk = image.convert("RGB")
        wide, high = _sides(size)
        shrunk.thumbnail((wide * 2, high * 2))
        kept = io.BytesIO()
        shrunk.save(kept, "JPEG", quality=90)
        name = hashlib.sha256(picture).hexdigest()
        self.restore_picture(name, kept.getvalue())
        return name, kept.getvalue()

    def restore_picture(self, name: str, kept: bytes) -> None:
        """Take back what `keep_picture` returned."""
        with self._lock:
            self._pictures[name] = kept
            if len(self._pictures) > _PICTURES:
                self._pictures.popitem(last=False)

    def film(self, *, video_id: str, size: str, seconds: int, picture: str, length: int | None) -> Film:
        """Return the content of a video, of `length` bytes where that is enough for it."""
        head = self._look(size, seconds, picture) + mp4.name_box(video_id)
        padding = 0 if length is None else length - len(head)
        if padding < 16:
            return Film(head=head, padding=0, seed=video_id)
        box = mp4.padding_head(padding)
        return Film(head=head + box, padding=padding - len(box), seed=video_id)

    def still(self, *, size: str, picture: str, columns: int) -> Film:
        """Return a thumbnail in WebP, or with more than one column a sheet of stills in JPEG."""
        wide, high = _sides(size)
        first = mp4.still(self._pictures.get(picture), width=wide // 2, height=high // 2)
        sheet = Image.new("RGB", (first.width * columns, first.height * columns))
        for number in range(columns * columns):
            sheet.paste(first, (number % columns * first.width, number // columns * first.height))
        image = io.BytesIO()
        kind = "WEBP" if columns == 1 else "JPEG"
        sheet.save(image, kind)
        return Film(head=image.getvalue(), padding=0, seed=picture, content_type=f"image/{kind.lower()}")

    def _look(self, size: str, seconds: int, picture: str) -> bytes:
        look = (size, seconds, picture)
        with self._encoding:
            if look not in self._encoded:
                wide, high = _sides(size)
                film = mp4.encode(self._pictures.get(picture), width=wide, height=high, seconds=seconds, fps=self._fps)
                self._encoded[look] = film
                if len(self._encoded) > _KEPT:
                    self._encoded.popitem(last=False)
            self._encoded.move_to_end(look)
            return self._encoded[look]


def _sides(size: str) -> tuple[int, int]:
    wide, high = size.split("x")
    return int(wide), int(high)
