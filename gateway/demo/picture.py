"""A photograph-like picture for the demo, painted by rule: a dog and a cat in a meadow before hills."""

from __future__ import annotations

import io
import math
import random

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from gateway.demo.animals import draw_cat, draw_dog, painted

_SIZE = (1280, 720)
_HORIZON = 410


def photograph(width: int = 1280, height: int = 720) -> bytes:
    """Return a PNG of that size, always the same for one version of Pillow. Takes about two seconds."""
    rng = random.Random(11)  # noqa: S311 - paint, not a secret
    picture = _sky(rng)
    _hills(picture, rng)
    _meadow(picture, rng)
    for draw, feet, scale in ((draw_dog, (500, 642), 0.98), (draw_cat, (812, 660), 0.98)):
        _shadow(picture, feet, scale)
        animal = painted(draw, size=_SIZE, feet=feet, scale=scale, rng=rng)
        picture.paste(animal, mask=animal)
        _grass(picture, rng, rows=(feet[1] + 4, feet[1] + 14), columns=(feet[0] - 150, feet[0] + 160))
    picture = _finish(picture, rng)
    data = io.BytesIO()
    ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS).save(data, "PNG")
    return data.getvalue()


def _noise(rng: random.Random, size: tuple[int, int], cells: int, *, octaves: int = 4) -> Image.Image:
    """Return clouds of grey: random grids, each finer and fainter than the one before, laid over each other."""
    sum_of = Image.new("L", size, 128)
    for octave in range(octaves):
        wide = cells * 2**octave
        high = max(2, wide * size[1] // size[0])
        grid = Image.frombytes("L", (wide, high), rng.randbytes(wide * high)).resize(size, Image.Resampling.BICUBIC)
        sum_of = Image.blend(sum_of, grid, 0.6 / (1 + 0.7 * octave))
    return ImageOps.autocontrast(sum_of, cutoff=1)


def _sky(rng: random.Random) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((_SIZE[0], _HORIZON + 60)).crop((0, 0, *_SIZE))
    sky = ImageOps.colorize(ramp, "#3f7fc4", "#f7e3c0", mid="#a3c9e4", midpoint=150)
    # Clouds are wider than high, the more so the nearer they are to the horizon: made flat, then stretched.
    clouds = _noise(rng, (_SIZE[0], _SIZE[1] * 2), 4, octaves=5).resize(_SIZE, Image.Resampling.LANCZOS)
    clouds = clouds.point(lambda grey: max(0, min(255, int((grey - 132) * 2.9))))
    fade = ImageOps.invert(Image.linear_gradient("L").resize((_SIZE[0], _HORIZON))).crop((0, 0, *_SIZE))
    mask = ImageChops.multiply(clouds, fade.point(lambda grey: min(255, grey + 40)))
    sky.paste((255, 252, 246), mask=mask.filter(ImageFilter.GaussianBlur(4)))
    glow = Image.radial_gradient("L").resize((1100, 1100))
    sky.paste((255, 238, 200), (-420, -330), ImageOps.invert(glow).point(lambda grey: int(max(0, grey - 70) * 0.9)))
    return sky


def _hills(picture: Image.Image, rng: random.Random) -> None:
    """Paint four ridges: the farther, the bluer and the smoother."""
    for number, (colour, level, rise) in enumerate(
        (("#9db9cf", 0.80, 0.17), ("#86a5a4", 0.87, 0.12), ("#6b8f6c", 0.94, 0.10), ("#55803f", 0.99, 0.05))
    ):
        crest = [
            (
                x,
                _HORIZON
                * (
                    level
                    - rise
                    * (
                        0.5
                        + 0.3 * math.sin(x / (260 - 40 * number) + 2.2 * number)
                        + 0.2 * math.sin(x / 97 + number)
                        + 0.03 * rng.random() * number
                    )
                ),
            )
            for x in range(0, _SIZE[0] + 4, 4)
        ]
        mask = Image.new("L", _SIZE)
        ImageDraw.Draw(mask).polygon([(0, _HORIZON + 40), *crest, (_SIZE[0], _HORIZON + 40)], fill=255)
        texture = _noise(rng, _SIZE, 24 + 40 * number, octaves=4)
        contrast = 10 + 18 * number
        tone = texture.point(lambda grey, contrast=contrast: 128 + (grey - 128) * contrast // 128)
        hill = ImageChops.overlay(Image.new("RGB", _SIZE, colour), tone.convert("RGB"))
        picture.paste(hill, mask=mask.filter(ImageFilter.GaussianBlur(1.6 - 0.3 * number)))


def _meadow(picture: Image.Image, rng: random.Random) -> None:
    ground = (_SIZE[0], _SIZE[1] - _HORIZON)
    ramp = Image.linear_gradient("L").resize(ground)
    meadow = ImageOps.colorize(ramp, "#8fae55", "#2f5a22", mid="#5d8a35")
    patches = _noise(rng, ground, 7, octaves=5).point(lambda grey: 128 + (grey - 128) // 3)
    meadow = ImageChops.overlay(meadow, patches.convert("RGB"))
    edge = Image.new("L", ground, 255)
    edge.paste(Image.linear_gradient("L").resize((ground[0], 24)))
    picture.paste(meadow, (0, _HORIZON), edge)
    _grass(picture, rng, rows=(_HORIZON + 6, _SIZE[1] + 30), columns=(0, _SIZE[0]))


def _grass(picture: Image.Image, rng: random.Random, *, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Draw blades and a few flowers, far ones first, longer towards the viewer."""
    draw = ImageDraw.Draw(picture)
    for y in range(*rows):
        near = (y - _HORIZON) / (_SIZE[1] - _HORIZON)
        for _ in range(int((columns[1] - columns[0]) * (0.05 + 0.05 * near))):
            x, height = rng.uniform(*columns), (3 + 22 * near) * rng.uniform(0.5, 1.2)
            light = rng.uniform(0.75, 1.25) * (1.05 - 0.25 * near)
            colour = (int(96 * light + 20 * rng.random()), int(142 * light), int(52 * light))
            tip = (x + rng.gauss(0, 0.3) * height, y - height)
            draw.line([(x, y), tip], fill=colour, width=1 + (near > 0.6) * (rng.random() > 0.4))
            if rng.random() < 0.004:
                size = 1 + 3.5 * near
                petal = rng.choice(((252, 250, 244), (250, 218, 84), (226, 132, 160)))
                draw.ellipse((tip[0] - size, tip[1] - size * 0.8, tip[0] + size, tip[1] + size * 0.8), fill=petal)


def _shadow(picture: Image.Image, feet: tuple[int, int], scale: float) -> None:
    """Darken the ground behind and to the right, away from the sun."""
    mask = Image.new("L", _SIZE)
    x, y = feet
    ImageDraw.Draw(mask).ellipse((x - 120 * scale, y - 34, x + 235 * scale, y + 20), fill=150)
    picture.paste((22, 40, 16), mask=mask.filter(ImageFilter.GaussianBlur(14)))


def _finish(picture: Image.Image, rng: random.Random) -> Image.Image:
    """Return the picture as a lens and a sensor would have it: soft corners, a little grain, a little warmth."""
    vignette = ImageOps.invert(Image.radial_gradient("L").resize(_SIZE)).point(lambda grey: min(255, 178 + grey))
    picture = ImageChops.multiply(picture, vignette.convert("RGB"))
    grain = Image.frombytes("L", (640, 360), rng.randbytes(640 * 360)).resize(_SIZE, Image.Resampling.BILINEAR)
    picture = ImageChops.overlay(picture, grain.point(lambda grey: 128 + (grey - 128) // 40).convert("RGB"))
    return ImageEnhance.Color(picture).enhance(1.08)
