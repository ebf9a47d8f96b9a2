"""Drawing a picture anew, where dropping parts of its file will not do: turned upright, or in colours that all read.

As JPEG, at a quality that loses next to nothing, or as PNG, which is exact. A WebP becomes one of the two: of 50
megapixels its own encoder takes minutes and a gigabyte of memory, at the post of a client that waits.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageCms, JpegImagePlugin

from gateway.pictures.stripping import with_png_colour

_TURNS: Mapping[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What sets a picture upright, by the EXIF orientation (CIPA DC-008, 4.6.5)."""

_ORIENTATION = 0x0112
_QUALITIES: Sequence[int] = (95, 90, 80)
"""Tried in turn until the file is small enough."""
_PNG_EFFORT = 4
"""Some seconds for the largest picture, and files hardly larger than with more."""


def turn_of(picture: Image.Image) -> Image.Transpose | None:
    """Return how a decoded picture is to be turned; None where it stands upright or its metadata make no sense."""
    try:
        return _TURNS.get(picture.getexif().get(_ORIENTATION))
    except Exception:  # noqa: BLE001 - readers of metadata raise anything at all, and without any the picture is upright
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """A picture in a new file."""

    data: bytes
    kind: Literal["JPEG", "PNG"]
    size: tuple[int, int]


def redrawn(picture: Image.Image, kind: str, source: bytes, *, largest: int) -> Drawn | None:
    """Return a picture that was decoded from `source`, upright in a new file; None where it exceeds `largest`."""
    turn, icc, sampling = turn_of(picture), picture.info.get("icc_profile"), _sampling(picture)
    drawn = picture if turn is None else picture.transpose(turn)
    if drawn.mode == "CMYK":
        drawn, icc = _in_rgb(drawn, icc), None
    # The encoders write comments and XMP of their own accord where they stand here.
    drawn.info = {name: value for name, value in drawn.info.items() if name == "transparency"}
    exact = kind == "PNG" or (kind == "WEBP" and (b"VP8L" in source or drawn.mode != "RGB"))
    if exact:
        data = _saved(drawn, "PNG", compress_level=_PNG_EFFORT, icc_profile=icc)
        data = with_png_colour(data, source) if kind == "PNG" else data
        return Drawn(data=data, kind="PNG", size=drawn.size) if len(data) <= largest else None
    for quality in _QUALITIES:
        data = _saved(drawn, "JPEG", quality=quality, subsampling=sampling, optimize=True, icc_profile=icc)
        if len(data) <= largest:
            return Drawn(data=data, kind="JPEG", size=drawn.size)
    return None


def _sampling(picture: Image.Image) -> int:
    """Return Pillow's number for 4:2:0 where the picture has it, else for 4:4:4: turned, the others have no name."""
    return 2 if isinstance(picture, JpegImagePlugin.JpegImageFile) and JpegImagePlugin.get_sampling(picture) == 2 else 0


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _in_rgb(picture: Image.Image, icc: bytes | None) -> Image.Image:
    """Return a picture made for print in the colours of screens: by its own profile, where it has one that works."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            screen = ImageCms.createProfile("sRGB")
            shown = ImageCms.profileToProfile(picture, profile, screen, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            shown = None
        if shown is not None:
            return shown
    return picture.convert("RGB")
