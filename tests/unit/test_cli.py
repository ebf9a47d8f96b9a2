"""The operator's commands on a SQLite file that nothing has opened before."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.administration import checks
from gateway.cli import main
from gateway.settings import Settings
from gateway.wiring import Installation


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words, env={"GATEWAY_SECRET_KEY": "k" * 40}, catch_exceptions=False)


def test_keys_are_made_listed_and_revoked_before_the_first_start() -> None:
    made = dict(re.findall(r"^([a-z ]+): +(\S+)$", run("keys", "create", "shop").stdout, re.MULTILINE))
    assert made["key"].startswith("sgw_")
    assert run("keys", "list").stdout.split() == [made["id"], "shop", "…" + made["key"][-4:], "active"]
    assert run("keys", "secret", "shop").stdout.strip() == made["webhook secret"]
    assert run("keys", "revoke", made["id"]).stdout == f"{made['id']} is revoked.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("keys", "list"), ""),
        (("keys", "revoke", "key_1"), "gateway: there is no key 'key_1' that is not revoked already\n"),
        (("keys", "secret", "shop"), "gateway: there is no client 'shop' made by `gateway keys create`\n"),
        (("upstreams",), "default  key none  0/5 slots  open\n"),
    ],
)
def test_a_command_finds_nothing_in_a_database_that_is_new(words: tuple[str, ...], said: str) -> None:
    assert run(*words).output == said


def test_the_check_of_keys_holds_where_the_database_is_new(tmp_path: Path) -> None:
    installation = Installation(Settings.from_env({}, tmp_path), tmp_path)
    try:
        told = {name: prove() for name, prove in checks(installation) if name in {"database", "API keys"}}
    finally:
        installation.database.close()
    assert told == {
        "database": "reachable; the start migrates it",
        "API keys": "none, so everybody on this machine is the client `default`",
    }
