"""The shape of the code: small files and functions, names that say something, imports one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE_LINES = 400
FUNCTION_LINES = 60
EMPTY_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    # A migration is written once and never grows: splitting it would only hide what it does.
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in sources("gateway", "tests")
        if path.parent.name != "versions"
    }
    assert len(lengths) > 100
    assert {name: length for name, length in lengths.items() if length > FILE_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in sources("gateway")
        if path.parent.name != "versions"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES
    }
    assert long == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    paths = [path.relative_to(ROOT) for path in sources("gateway", "tests")]
    assert [path for path in paths if EMPTY_NAMES & {path.stem, *path.parent.parts}] == []


def test_every_module_says_what_lives_there() -> None:
    silent = [str(path) for path in sources("gateway") if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_imports_go_one_way() -> None:
    # In a process of its own: it configures logging anew, which silences every logger that other tests listen to.
    program = (
        "import sys; from importlinter.cli import lint_imports\n"
        "sys.exit(lint_imports(config_filename='pyproject.toml', no_cache=True))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
