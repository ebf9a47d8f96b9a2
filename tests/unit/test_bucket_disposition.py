"""Content-Disposition: a header that no file name can break."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bucket.disposition import inline


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("film.mp4", 'inline; filename="film.mp4"'),
        ("a film.mp4", 'inline; filename="a film.mp4"'),
        ("Tür.mp4", "inline; filename=\"T_r.mp4\"; filename*=UTF-8''T%C3%BCr.mp4"),
        ("../../etc/passwd", 'inline; filename="_.._etc_passwd"'),
        ('x"; evil="y\r\n.mp4', 'inline; filename="x_; evil=_y__.mp4"'),
        ("", 'inline; filename="video"'),
        ("...", 'inline; filename="video"'),
    ],
)
def test_a_name_becomes_a_header(filename: str, header: str) -> None:
    assert inline(filename) == header


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_gives_one_short_ascii_line_with_one_pair_of_quotes(filename: str) -> None:
    header = inline(filename)
    found = re.fullmatch(r"inline; filename=\"[ -!#-\[\]-~]+\"(; filename\*=UTF-8''([!-&(-~]+))?", header)
    assert found is not None
    assert len(header) < 2500
    if found.group(2):
        assert unquote(found.group(2)) in "".join("_" if c in '/\\"%' or not c.isprintable() else c for c in filename)
