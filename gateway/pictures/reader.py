"""Reading pictures: what is not really a PNG, JPEG or WebP of a sane size is refused before it costs anything."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Mapping

from PIL import Image, UnidentifiedImageError

from gateway.jobs.errors import InvalidField, Unavailable
from gateway.jobs.intake import ReferenceImage
from gateway.jobs.refusal_codes import RefusalCode
from gateway.pictures.redrawing import redrawn, turn_of
from gateway.pictures.stripping import stripped

LARGEST_BYTES = 10 * 1024 * 1024
MOST_PIXELS = 50_000_000
LONGEST_SIDE = 16_384
TYPES: Mapping[str, str] = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
ALLOWED = "Allowed: PNG, JPEG or WebP, at most 10 MB and 50 megapixels."

_TURN_S = 10.0
"""The longest wait for a free decoder."""


def refused(why: str, *, code: RefusalCode = "invalid_image") -> InvalidField:
    """Return the refusal of a picture, which always says what is allowed."""
    return InvalidField("input_reference", f"{why} {ALLOWED}", code=code)


def too_large() -> InvalidField:
    """Return the refusal of a file that is too large."""
    return refused("The picture is too large.", code="image_too_large")


class ImageReader:
    """Decodes pictures, a bounded number at once: a decoded picture takes many times the bytes it came as."""

    def __init__(self, *, at_once: int) -> None:
        self._slots = threading.BoundedSemaphore(at_once)

    def read(self, data: bytes) -> ReferenceImage:
        """Return the picture upright and without metadata, after decoding all of it.

        The bytes stay as they came where there is nothing to change in them. Raises InvalidField, or Unavailable where
        too many wait.
        """
        if len(data) > LARGEST_BYTES:
            raise too_large()
        if not self._slots.acquire(timeout=_TURN_S):
            raise Unavailable("Too many pictures are being checked right now.", code="unavailable")
        try:
            return _decoded(data)
        finally:
            self._slots.release()


def _decoded(data: bytes) -> ReferenceImage:
    try:
        _check_size(*_webp_canvas(data))
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as picture:
            _check_size(*picture.size)
            # The header may promise anything: only decoding to the last row shows that the picture is whole.
            picture.load()
            return _cleaned(picture, data)
    except InvalidField:
        raise
    except UnidentifiedImageError as error:
        raise refused("The file is not a picture of an allowed kind.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise refused("The picture has too many pixels.", code="image_too_large") from error
    except Exception as error:
        # Decoders raise anything at all on bytes that somebody made up.
        raise refused("The picture is broken or cut off.") from error


def _cleaned(picture: Image.Image, data: bytes) -> ReferenceImage:
    """Return what goes upstream. An upstream that heeds no EXIF would lay the picture on its side."""
    # MPO is what cameras make of a JPEG that carries a second picture; the first one counts.
    kind = "JPEG" if picture.format == "MPO" else picture.format or ""
    usual = turn_of(picture) is None and picture.mode != "CMYK"
    clean, size = stripped(data, kind) if usual else None, picture.size
    if clean is None:
        drawn = redrawn(picture, kind, data, largest=LARGEST_BYTES)
        if drawn is None:
            raise refused("Upright and without metadata, the picture takes more than 10 MB.", code="image_too_large")
        clean, kind, size = drawn.data, drawn.kind, drawn.size
    sent = hashlib.sha256(data).hexdigest()
    return ReferenceImage(data=clean, content_type=TYPES[kind], width=size[0], height=size[1], sent_sha256=sent)


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS or max(width, height) > LONGEST_SIDE:
        raise refused(f"The picture has {width}x{height} pixels, which is too many.", code="image_too_large")


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Return the size that a WebP's header promises, or 0x0 for anything else.

    Pillow learns a WebP's size only from a decoder that has already been given memory for the whole canvas. The layout
    is that of https://developers.google.com/speed/webp/docs/riff_container and RFC 6386.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return 0, 0
    chunk = data[12:16]
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
