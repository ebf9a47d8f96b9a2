"""Two animals made of furry ellipsoids: the dog and the cat of the demo's picture."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

SUPERSAMPLE = 2
"""Animals are drawn this much larger and shrunk, since ImageDraw's lines have hard edges."""
_LIGHT = (-0.48, -0.62, 0.62)

_GOLD: Colour = (206, 148, 78)
_CREAM: Colour = (238, 206, 156)
_BROWN: Colour = (166, 108, 52)
_GREY: Colour = (134, 128, 124)
_WHITE: Colour = (240, 236, 230)
_DARK: Colour = (34, 26, 24)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """An ellipsoid of fur: centre and radii in pixels from the middle of the animal's feet, y downwards."""

    x: float
    y: float
    rx: float
    ry: float
    colour: Colour
    turn: float = 0.0
    """Degrees, clockwise."""
    fur: float = 13.0
    stripes: float = 0.0


def _pair(part: Part) -> Iterator[Part]:
    """Yield the part and its mirror image."""
    yield part
    yield replace(part, x=-part.x, turn=-part.turn)


def _tail(points: Sequence[Point], radius: float, colour: Colour, *, stripes: float = 0.0) -> Iterator[Part]:
    for x, y in points:
        yield Part(x=x, y=y, rx=radius, ry=radius, colour=colour, stripes=stripes)


DOG: Sequence[Part] = (
    *_tail([(100 + 5 * n, -40 - 9 * n + n * n * 0.3) for n in range(16)], 17, _CREAM),
    Part(x=0, y=-128, rx=102, ry=122, colour=_GOLD),
    *_pair(Part(x=-74, y=-62, rx=56, ry=64, colour=_GOLD)),
    *_pair(Part(x=-92, y=-13, rx=42, ry=17, colour=_CREAM, fur=8)),
    Part(x=0, y=-178, rx=80, ry=98, colour=_CREAM, fur=20),
    *_pair(Part(x=-36, y=-82, rx=27, ry=82, colour=_GOLD)),
    *_pair(Part(x=-38, y=-11, rx=33, ry=17, colour=_CREAM, fur=8)),
    Part(x=0, y=-250, rx=80, ry=60, colour=_CREAM, fur=22),
    Part(x=0, y=-338, rx=82, ry=76, colour=_GOLD, fur=10),
    *_pair(Part(x=-36, y=-300, rx=34, ry=32, colour=_CREAM, fur=9)),
    Part(x=0, y=-318, rx=36, ry=46, colour=_CREAM, fur=8),
    *_pair(Part(x=-84, y=-322, rx=28, ry=62, colour=_BROWN, turn=14)),
)
CAT: Sequence[Part] = (
    *_tail([(64 + 46 * math.sin(n / 7), -16 - 6 * n) for n in range(24)], 12, _GREY, stripes=0.34),
    Part(x=0, y=-90, rx=76, ry=90, colour=_GREY, stripes=0.3),
    *_pair(Part(x=-50, y=-44, rx=42, ry=46, colour=_GREY, stripes=0.3)),
    *_pair(Part(x=-58, y=-9, rx=26, ry=12, colour=_WHITE, fur=6)),
    Part(x=0, y=-124, rx=46, ry=66, colour=_WHITE, fur=15),
    *_pair(Part(x=-21, y=-54, rx=17, ry=54, colour=_GREY, fur=9, stripes=0.26)),
    *_pair(Part(x=-22, y=-8, rx=21, ry=12, colour=_WHITE, fur=6)),
    Part(x=0, y=-214, rx=66, ry=54, colour=_GREY, fur=9, stripes=0.22),
    *_pair(Part(x=-20, y=-192, rx=22, ry=18, colour=_WHITE, fur=6)),
)


class Brush:
    """Draws one animal on a transparent sheet."""

    def __init__(self, *, sheet: Image.Image, feet: Point, scale: float, rng: random.Random) -> None:
        self._draw = ImageDraw.Draw(sheet)
        self._feet = feet
        self._scale = scale * SUPERSAMPLE
        self._rng = rng

    def parts(self, parts: Sequence[Part]) -> None:
        """Draw furry parts, back to front."""
        for part in parts:
            self._fill(part)
            for _ in range(int(part.rx * part.ry * 0.62)):
                self._hair(part)

    def spot(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Draw a smooth ellipse."""
        (left, top), (right, bottom) = self._at(x - rx, y - ry), self._at(x + rx, y + ry)
        self._draw.ellipse((left, top, right, bottom), fill=colour)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        """Draw a filled polygon."""
        self._draw.polygon([self._at(x, y) for x, y in points], fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """Draw a line."""
        self._draw.line(
            [self._at(x, y) for x, y in points], fill=colour, width=max(1, round(width * self._scale)), joint="curve"
        )

    def _at(self, x: float, y: float) -> Point:
        return self._feet[0] * SUPERSAMPLE + x * self._scale, self._feet[1] * SUPERSAMPLE + y * self._scale

    def _fill(self, part: Part) -> None:
        """Draw a stack of shrinking outlines, shaded like a ball, under the hair."""
        for step in range(24, 0, -1):
            size = step / 24
            light = 1.0 - 0.55 * size * size
            shift = (1 - size) * 0.35
            outline = [
                _turned(part, size * math.cos(angle) + _LIGHT[0] * shift, size * math.sin(angle) + _LIGHT[1] * shift)
                for angle in (n * math.tau / 40 for n in range(40))
            ]
            self.shape(outline, _shade(part.colour, light))

    def _hair(self, part: Part) -> None:
        angle, reach = self._rng.uniform(0, math.tau), math.sqrt(self._rng.random())
        u, v = reach * math.cos(angle), reach * math.sin(angle)
        x, y = _turned(part, u, v)
        height = math.sqrt(max(0.0, 1 - u * u - v * v))
        light = 0.62 + 0.5 * max(0.0, -(u * -_LIGHT[0] + v * -_LIGHT[1]) + height * _LIGHT[2])
        light *= self._rng.uniform(0.86, 1.12)
        if part.stripes and math.sin(y * part.stripes + 0.9 * math.sin(x * 0.09)) > 0.35:
            light *= 0.62
        # Hair lies outwards and, by its weight, down.
        across, down = u * 0.8 + self._rng.gauss(0, 0.25), v * 0.5 + 0.75
        length = part.fur * self._rng.uniform(0.5, 1.0) / math.hypot(across, down)
        self.line([(x, y), (x + across * length, y + down * length)], _shade(part.colour, light), 0.8)


def _turned(part: Part, u: float, v: float) -> Point:
    angle = math.radians(part.turn)
    x, y = u * part.rx, v * part.ry
    return part.x + x * math.cos(angle) - y * math.sin(angle), part.y + x * math.sin(angle) + y * math.cos(angle)


def _shade(colour: Colour, light: float) -> Colour:
    red, green, blue = (max(0, min(255, round(channel * light))) for channel in colour)
    return red, green, blue


def draw_dog(brush: Brush) -> None:
    """Draw the dog: golden, sitting, pleased."""
    brush.parts(DOG)
    collar = [(x, -262 + 26 * math.cos(x / 46)) for x in range(-66, 67, 6)]
    brush.line(collar, (150, 30, 34), 12)
    brush.line([(x, y - 3) for x, y in collar], (206, 60, 56), 4)
    brush.spot(0, -228, 10, 10, (222, 184, 84))
    brush.spot(2, -274, 17, 24, (196, 84, 92))
    brush.spot(3, -272, 12, 20, (226, 122, 126))
    brush.line([(-34, -300), (-20, -286), (0, -296), (20, -286), (34, -300)], _DARK, 4)
    brush.line([(0, -296), (0, -318)], _DARK, 4)
    brush.spot(0, -330, 20, 14, _DARK)
    brush.spot(-6, -335, 6, 3, (120, 110, 108))
    for side in (-1, 1):
        brush.spot(34 * side, -358, 14, 13, (92, 58, 28))
        _eye(brush, 34 * side, -357, 11, (64, 38, 18), slit=False)
        brush.line([(20 * side, -380), (34 * side, -386), (48 * side, -378)], (232, 190, 126), 5)


def draw_cat(brush: Brush) -> None:
    """Draw the cat: grey, striped, watching."""
    for side in (-1, 1):
        brush.shape([(20 * side, -250), (62 * side, -222), (60 * side, -292)], (104, 98, 96))
        brush.shape([(30 * side, -250), (56 * side, -232), (56 * side, -278)], (214, 160, 154))
    brush.parts(CAT)
    for side in (-1, 1):
        _eye(brush, 28 * side, -222, 13, (150, 178, 72), slit=True)
        for number in range(4):
            rise = 5 * number - 9
            brush.line([(16 * side, -192 + rise / 3), (88 * side, -198 + 2 * rise)], (250, 248, 244), 1)
        brush.line([(0, -190), (7 * side, -181), (16 * side, -182)], _DARK, 2)
    brush.shape([(-8, -204), (8, -204), (0, -194)], (206, 124, 124))
    for x in (-14, 0, 14):
        brush.line([(x, -262), (x * 0.8, -240)], (74, 68, 66), 5)


def _eye(brush: Brush, x: float, y: float, radius: float, iris: Colour, *, slit: bool) -> None:
    brush.spot(x, y, radius, radius * 0.95, _DARK)
    brush.spot(x, y, radius * 0.84, radius * 0.8, iris)
    brush.spot(x, y, radius * (0.26 if slit else 0.5), radius * (0.7 if slit else 0.5), (10, 8, 8))
    brush.spot(x - radius * 0.3, y - radius * 0.34, radius * 0.24, radius * 0.22, (255, 255, 255))


def painted(
    draw: Callable[[Brush], None], *, size: tuple[int, int], feet: Point, scale: float, rng: random.Random
) -> Image.Image:
    """Return a sheet of that size with the animal on it, transparent elsewhere."""
    # Half-transparent edges take on what lies under them when the sheet is shrunk: fur rather than black.
    sheet = Image.new("RGBA", (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE), (150, 120, 90, 0))
    draw(Brush(sheet=sheet, feet=feet, scale=scale, rng=rng))
    return sheet.resize(size, Image.Resampling.LANCZOS)
