"""The parts of the README that are printed by the code; run as a program it writes them anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.api import code_tables
from gateway.jobs.lifecycle import diagram
from gateway.settings import settings_table
from tests.e2e.examples.languages import EVERYWHERE, EXAMPLES, LANGUAGES


def _examples() -> str:
    rows = [
        f"| {one.title} | {' | '.join(_example(name, uses) for name, uses in one.files.items())} | "
        f"{'`make test`, ' if language in EVERYWHERE else ''}`make test-examples` |"
        for language, one in LANGUAGES.items()
    ]
    head = "| | submits, waits, saves | receives callbacks | is run by |"
    return "\n".join([head, "| --- | --- | --- | --- |", *rows, ""])


def _example(name: str, uses: str) -> str:
    lines = len((EXAMPLES / name).read_text(encoding="utf-8").splitlines())
    return f"[{name.rpartition('/')[2]}](examples/{name}): {lines} lines, {uses or 'no library'}"


SECTIONS: Mapping[str, Callable[[], str]] = {
    "lifecycle": lambda: f"```mermaid\n{diagram()}```\n",
    "settings": settings_table,
    "codes": code_tables.failures,
    "refusals": code_tables.refusals,
    "examples": _examples,
}


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name}: [^\n]*-->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)


def section_of(readme: str, name: str) -> str:
    """Return what stands between a section's marks."""
    found = _pattern(name).search(readme)
    assert found is not None, f"the README has no section {name}"
    return found[2]


def _with(readme: str, name: str, text: str) -> str:
    return _pattern(name).sub(lambda found: f"{found[1]}{text}{found[3]}", readme)


def written(readme: str) -> str:
    """Return the README with every section as the code prints it."""
    for name, shown in SECTIONS.items():
        readme = _with(readme, name, shown())
    return readme


if __name__ == "__main__":
    path = Path(__file__).parents[2] / "README.md"
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
