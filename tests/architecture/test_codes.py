"""The codes that clients are told stand in two lists, each with what it means; no other code is ever answered."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from werkzeug.exceptions import default_exceptions

from gateway.api import code_tables, errors, patient
from gateway.api.openapi import OPERATIONS
from gateway.jobs.codes import CODES, FailureCode
from gateway.jobs.refusal_codes import REFUSALS, RefusalCode
from gateway.pictures.reader import refused

ROOT = Path(__file__).parents[2] / "gateway"
STATUS_OF = {kind.__name__: shape.status for kind, shape in errors.TABLE.items()} | {refused.__name__: 400}


def modules() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of ours that may tell a client a code; the demo's simulator speaks for somebody else."""
    for path in ROOT.rglob("*.py"):
        if "demo" not in path.relative_to(ROOT).parts:
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def raised() -> set[tuple[str, int]]:
    """Every refusal's code that stands in the source, with the status that its exception is answered with."""
    found = set()
    for _, tree in modules():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            kind = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if kind not in STATUS_OF:
                continue
            codes = [
                key.value.value for key in call.keywords if key.arg == "code" and isinstance(key.value, ast.Constant)
            ]
            found |= {(code, STATUS_OF[kind]) for code in codes}
    return found


def test_the_type_that_every_code_is_checked_against_is_the_list() -> None:
    assert set(get_args(RefusalCode)) == set(REFUSALS)
    assert set(get_args(FailureCode)) == set(CODES)


def test_every_refusal_comes_with_a_status_that_is_listed() -> None:
    found = raised()
    assert len(found) > 25
    assert {(code, status) for code, status in found if status not in REFUSALS[code].statuses} == set()
    for operation in OPERATIONS:
        assert {status for status, code in operation.errors.items() if status not in REFUSALS[code].statuses} == set()


def test_no_code_is_listed_that_is_told_nowhere() -> None:
    lists = {ROOT / "jobs" / "refusal_codes.py", ROOT / "jobs" / "codes.py"}
    said = {
        node.value
        for path, tree in modules()
        if path not in lists
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
    }
    assert (REFUSALS.keys() | CODES.keys()) - said == set()


@pytest.mark.parametrize("status", sorted(status for status in default_exceptions if status >= 400))
def test_whatever_the_framework_refuses_has_a_code_of_the_list(status: int) -> None:
    code = errors.code_of(status)
    assert code in REFUSALS
    assert (code == "internal_error") == (status >= 500)


def test_what_is_refused_before_it_is_read_comes_with_a_status_that_is_listed() -> None:
    statuses = {status for _, status in patient.STATUS}
    assert statuses - {500} == set(REFUSALS["malformed_request"].statuses)


def test_the_lists_are_in_the_order_in_which_they_are_looked_up() -> None:
    statuses = [advice.statuses[0] for advice in REFUSALS.values()]
    assert statuses == sorted(statuses)
    assert code_tables.refusals().count("\n") == len(REFUSALS) + 2
