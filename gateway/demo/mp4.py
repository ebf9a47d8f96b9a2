"""Real H.264 films in MP4 for the demo: encoded by PyAV from a picture that the camera moves over."""

from __future__ import annotations

import importlib
import io
import math
import tempfile
import uuid
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFilter, ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWNER = uuid.UUID("6f1b7b0e-3c0a-5d53-9a4e-2f7f6b1d8c11")
"""The type of the box that carries a video's id; any fixed UUID does."""
_ZOOM = 1.18
_LONG = 1 << 32


class EncoderMissing(RuntimeError):
    """PyAV is not installed. The message says how to get it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What a film is; `duration` in seconds."""

    width: int
    height: int
    duration: float
    codec: str
    frames: int


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        msg = "the simulated upstream encodes real films with PyAV: pip install 'sora-gateway[demo]'"
        raise EncoderMissing(msg) from error


def require() -> None:
    """Raise EncoderMissing where films cannot be encoded."""
    _av()


def encode(picture: bytes | None, *, width: int, height: int, seconds: int, fps: int = 12) -> bytes:
    """Return a playable MP4 (H.264, yuv420p, index first), the same bytes for the same arguments.

    `picture` is any picture that Pillow reads; without one a coloured scene is made.
    """
    av = _av()
    scene = _scene(picture, width, height)
    with tempfile.TemporaryDirectory() as folder:
        # The muxer moves the index to the front in a second pass, for which it opens the file again by its name.
        path = Path(folder, "film.mp4")
        with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
            # One thread: with several, the bytes could depend on the machine.
            options = {"preset": "ultrafast", "crf": "28", "threads": "1"}
            stream = container.add_stream("libx264", rate=fps, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.time_base = Fraction(1, fps)
            for number, still in enumerate(_stills(scene, width, height, count=seconds * fps)):
                frame = av.VideoFrame.from_image(still).reformat(format="yuv420p")
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()


def probe(path: Path | str) -> Probe:
    """Decode the whole file. Raises an error of PyAV's where it is no film."""
    with _av().open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        return Probe(
            width=stream.width,
            height=stream.height,
            duration=float(stream.duration * stream.time_base),
            codec=stream.codec_context.name,
            frames=frames,
        )


def name_box(text: str) -> bytes:
    """Return a box that players skip and that makes a film unlike any other: append it to the file."""
    payload = _OWNER.bytes + text.encode()
    return (len(payload) + 8).to_bytes(4, "big") + b"uuid" + payload


def padding_head(length: int) -> bytes:
    """Return the head of a `free` box of `length` bytes in all, at least 8 (16 from 4 GiB on)."""
    if length < _LONG:
        return length.to_bytes(4, "big") + b"free"
    return (1).to_bytes(4, "big") + b"free" + length.to_bytes(8, "big")


def still(picture: bytes | None, *, width: int, height: int) -> Image.Image:
    """Return the first frame, for thumbnails."""
    return next(_stills(_scene(picture, width, height), width, height, count=2))


def _scene(picture: bytes | None, width: int, height: int) -> Image.Image:
    """Return the picture cropped to the frame's shape, and larger than it, so that the camera has where to go."""
    size = (round(width * _ZOOM), round(height * _ZOOM))
    if picture is None:
        return _dusk(size)
    with Image.open(io.BytesIO(picture)) as image:
        return ImageOps.fit(ImageOps.exif_transpose(image).convert("RGB"), size, Image.Resampling.LANCZOS)


def _dusk(size: tuple[int, int]) -> Image.Image:
    """Return a sky at dusk over three ridges."""
    width, height = size
    sky = ImageOps.colorize(Image.linear_gradient("L").resize(size), "#262c5c", "#fabc78", mid="#b4627a")
    draw = ImageDraw.Draw(sky)
    for number, colour in enumerate(("#7a4a70", "#54385f", "#30243e")):
        level = 0.62 + 0.11 * number
        crest = [
            (
                x,
                height
                * (level + 0.045 * math.sin(x / width * (5 + 2 * number) + 2 * number) + 0.012 * math.sin(x / 37)),
            )
            for x in range(0, width + 8, 8)
        ]
        draw.polygon([(0, height), *crest, (width, height)], fill=colour)
    return sky.filter(ImageFilter.GaussianBlur(0.8))


def _stills(scene: Image.Image, width: int, height: int, *, count: int) -> Iterator[Image.Image]:
    """Yield the frames: a slow move to the right and in."""
    for number in range(count):
        at = number / max(1, count - 1)
        at = at * at * (3 - 2 * at)
        zoom = 1 - (1 - 1 / _ZOOM) * (0.35 + 0.65 * at)
        wide, high = scene.width * zoom, scene.height * zoom
        left, top = (scene.width - wide) * (0.15 + 0.7 * at), (scene.height - high) * (0.7 + 0.15 * at)
        yield scene.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + wide, top + high))
