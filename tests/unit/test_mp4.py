"""Films are real: encoded, decoded again, and each video's its own."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from gateway.demo import mp4
from gateway.demo.simulator.films import BLOCK, Film, Films


def picture(colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 36), colour).save(data, "PNG")
    return data.getvalue()


def boxes(film: bytes) -> list[tuple[str, int]]:
    """The boxes of the file at its top level: kind and length."""
    found, at = [], 0
    while at < len(film):
        length = int.from_bytes(film[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(film[at + 8 : at + 16], "big")
        found.append((film[at + 4 : at + 8].decode(), length))
        at += length
    assert at == len(film)
    return found


@pytest.mark.parametrize(("width", "height", "seconds"), [(128, 72, 4), (72, 128, 3)])
def test_a_film_has_the_size_and_length_asked_for_and_its_index_first(
    tmp_path: Path, width: int, height: int, seconds: int
) -> None:
    film = mp4.encode(None, width=width, height=height, seconds=seconds, fps=4)
    path = tmp_path / "film.mp4"
    path.write_bytes(film)
    wanted = mp4.Probe(width=width, height=height, duration=float(seconds), codec="h264", frames=seconds * 4)
    assert mp4.probe(path) == wanted
    kinds = [kind for kind, _ in boxes(film)]
    assert kinds.index("moov") < kinds.index("mdat")


def test_a_film_shows_the_picture_and_moves() -> None:
    half = Image.new("RGB", (160, 90), "red")
    half.paste("blue", (100, 0, 160, 90))
    data = io.BytesIO()
    half.save(data, "PNG")
    first = mp4.still(data.getvalue(), width=160, height=90)
    assert first.getpixel((5, 45)) == (255, 0, 0)
    assert first.getpixel((155, 45)) == (0, 0, 255)
    assert mp4.encode(data.getvalue(), width=160, height=90, seconds=1) != mp4.encode(
        None, width=160, height=90, seconds=1
    )


def test_the_same_film_is_the_same_bytes() -> None:
    films = {mp4.encode(picture("red"), width=64, height=36, seconds=1) for _ in range(3)}
    assert len(films) == 1


def test_two_videos_of_one_look_differ_and_both_play(tmp_path: Path) -> None:
    films = Films(fps=2)
    name, _ = films.keep_picture(picture("red"), "64x36")
    made = [
        films.film(video_id=video_id, size="64x36", seconds=2, picture=name, length=length)
        for video_id, length in (("video_1", None), ("video_2", None), ("video_3", 700_001))
    ]
    contents = [b"".join(film.blocks(0, film.length)) for film in made]
    assert len(set(contents)) == 3
    assert len(contents[2]) == 700_001
    assert [kind for kind, _ in boxes(contents[2])][-2:] == ["uuid", "free"]
    for content in contents:
        path = tmp_path / "film.mp4"
        path.write_bytes(content)
        assert mp4.probe(path).duration == 2.0


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 5), (3, 40), (10, 11), (9, 10 + BLOCK), (10 + BLOCK - 1, 10 + BLOCK + 1), (77, 3 * BLOCK)]
)
def test_any_range_of_a_film_is_the_same_part_of_the_whole(start: int, stop: int) -> None:
    film = Film(head=b"0123456789", padding=3 * BLOCK, seed="video_1")
    whole = b"".join(film.blocks(0, film.length))
    assert len(whole) == film.length
    assert b"".join(film.blocks(start, stop)) == whole[start:stop]


def test_blocks_of_a_film_all_differ_so_that_a_swap_shows() -> None:
    film = Film(head=b"", padding=4 * BLOCK, seed="video_1")
    assert len(set(film.blocks(0, film.length))) == 4


def test_a_film_above_four_gibibytes_has_a_long_box() -> None:
    head = mp4.padding_head(5 << 30)
    assert (head[:8], int.from_bytes(head[8:], "big")) == (b"\0\0\0\1free", 5 << 30)


def test_a_missing_encoder_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(mp4.EncoderMissing, match=r"sora-gateway\[demo\]"):
        mp4.require()
