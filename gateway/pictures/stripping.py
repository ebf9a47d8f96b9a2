"""Dropping what is in a picture's file beside the picture, without touching one of its pixels.

What is kept is listed, not what is dropped: a position, a name, a comment, a thumbnail of what was cropped away, a
second picture or a film behind the end can hide in any part that a decoder does not need. Colour profiles stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

PNG_COLOUR = frozenset({b"cHRM", b"cICP", b"cLLI", b"gAMA", b"iCCP", b"mDCV", b"sRGB"})
"""Chunks of a PNG that say what its colours mean; https://www.w3.org/TR/png-3/#11Chunks."""

_PNG_KEPT = PNG_COLOUR | {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sBIT", b"bKGD", b"pHYs"}
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"

_WEBP_KEPT = frozenset({b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L"})
_WEBP_GONE = 0x0E
"""The bits of a WebP's head that announce EXIF, XMP and an animation."""

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_AFTER_SCAN = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")
"""The marker behind a scan: in a scan 0xFF is followed by 0 or by a restart marker."""
_APP_KEPT: Mapping[int, tuple[bytes, int | None]] = {
    # The start of an application segment that is kept, and how much of it: a JFIF head may carry a thumbnail behind it.
    0xE0: (b"JFIF\0", 12),
    0xE2: (b"ICC_PROFILE\0", None),
    0xEE: (b"Adobe", 12),
}


class _Unread(Exception):
    """The file is laid out in a way that decoders forgive and this reader does not."""


def stripped(data: bytes, kind: str) -> bytes | None:
    """Return a whole picture's file with nothing but the picture in it: the same bytes where there was nothing else.

    `kind` is `PNG`, `JPEG` or `WEBP`. Of an animated PNG the still picture is left. None: the file has to be drawn
    anew, since it is an animated WebP or its layout is not the usual one.
    """
    try:
        return _STRIPPERS[kind](data)
    except _Unread:
        return None


def with_png_colour(data: bytes, source: bytes) -> bytes:
    """Return a PNG with the colour chunks of another one in place of its own."""
    try:
        colour = [source[start:end] for name, start, end in _png_chunks(source) if name in PNG_COLOUR]
    except _Unread:
        return data
    parts = [data[start:end] for name, start, end in _png_chunks(data) if name not in PNG_COLOUR]
    return b"".join([_PNG_HEAD, parts[0], *colour, *parts[1:]])


# -- PNG ---------------------------------------------------------------------------------------------------------------


def _png(data: bytes) -> bytes:
    return _PNG_HEAD + b"".join(data[start:end] for name, start, end in _png_chunks(data) if name in _PNG_KEPT)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of every chunk, to the last one."""
    at, name = len(_PNG_HEAD), b""
    while name != b"IEND":
        name, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise _Unread
        yield name, at, end
        at = end


# -- JPEG --------------------------------------------------------------------------------------------------------------


def _jpeg(data: bytes) -> bytes:
    return data[:2] + b"".join(_kept_segment(data, *segment) for segment in _jpeg_segments(data))


def _kept_segment(data: bytes, marker: int, start: int, end: int) -> bytes:
    if marker == _COM:
        return b""
    if not 0xE0 <= marker <= 0xEF:
        return data[start:end]
    begins, most = _APP_KEPT.get(marker, (b"", 0))
    body = data[start + 4 : end]
    if most == 0 or not body.startswith(begins):
        return b""
    body = body if most is None else body[:most] + (b"\0\0" if marker == 0xE0 else b"")
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of every segment after the first marker; a scan's data belongs to its segment."""
    at, marker = 2, _SOI
    while marker != _EOI:
        found = _MARKER.match(data, at)
        if found is None:
            raise _Unread
        marker, start = data[found.end() - 1], found.end() - 2
        at = found.end() if marker == _EOI else _segment_end(data, marker, found.end())
        yield marker, start, at


def _segment_end(data: bytes, marker: int, at: int) -> int:
    length = int.from_bytes(data[at : at + 2], "big")
    end = at + length
    if length < 2 or end > len(data) or marker in {0x01, *range(0xD0, 0xD9)}:
        raise _Unread
    if marker != _SOS:
        return end
    following = _AFTER_SCAN.search(data, end)
    if following is None:
        raise _Unread
    return following.start()


# -- WebP --------------------------------------------------------------------------------------------------------------


def _webp(data: bytes) -> bytes:
    chunks = list(_webp_chunks(data))
    if any(name in {b"ANIM", b"ANMF"} for name, _ in chunks):
        raise _Unread
    body = b"WEBP" + b"".join(_webp_chunk(name, content) for name, content in chunks if name in _WEBP_KEPT)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _webp_chunk(name: bytes, content: bytes) -> bytes:
    if name == b"VP8X":
        content = bytes([content[0] & ~_WEBP_GONE]) + content[1:]
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of every chunk; https://developers.google.com/speed/webp/docs/riff_container."""
    at, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at < end:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        name, content = data[at : at + 4], data[at + 8 : at + 8 + length]
        if len(content) < length or (name == b"VP8X" and length < 10):
            raise _Unread
        yield name, content
        at += 8 + length + length % 2


_STRIPPERS: Mapping[str, Callable[[bytes], bytes]] = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp}
