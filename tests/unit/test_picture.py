"""The demo's picture is a real one, and always the same."""

from __future__ import annotations

import io

from PIL import Image

from gateway.demo.picture import photograph


def test_the_photograph_is_a_png_of_the_size_asked_for_and_always_the_same() -> None:
    data = photograph(640, 360)
    assert data == photograph(640, 360)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert (image.format, image.size, image.mode) == ("PNG", (640, 360), "RGB")
        assert len(image.getcolors(maxcolors=1 << 24) or []) > 50_000


def test_the_photograph_fits_an_upload() -> None:
    assert 300_000 < len(photograph()) < 1_500_000
