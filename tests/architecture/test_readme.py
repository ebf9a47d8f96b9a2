"""What the README prints from the code is what the code prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.readme import SECTIONS, section_of

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("name", SECTIONS)
def test_the_readme_shows_what_the_code_says(name: str) -> None:
    assert section_of(README.read_text(encoding="utf-8"), name) == SECTIONS[name](), "run `make docs`"
