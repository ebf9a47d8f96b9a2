"""The operator's commands on a SQLite file that nothing has opened before."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.administration import checks
from gateway.cli import main
from gateway.db.lanes import SqlLanes
from gateway.settings import Settings
from gateway.wiring.installation import Installation


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
        (("upstreams",), "default  key none  0/5 slots  open  no answer yet\n"),
    ],
)
def test_a_command_finds_nothing_in_a_database_that_is_new(words: tuple[str, ...], said: str) -> None:
    assert run(*words).output == said


def test_callbacks_of_a_client_of_the_settings_that_gets_a_key_too_are_signed_with_both_secrets(tmp_path: Path) -> None:
    run("keys", "create", "shop")
    run("keys", "create", "bakery")
    own, foreign = run("keys", "secret", "shop").stdout.strip(), run("keys", "secret", "bakery").stdout.strip()
    common = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    environ = {
        "GATEWAY_SECRET_KEY": "k" * 40,
        "GATEWAY_API_KEYS": "shop:sk-1,old:sk-2",
        "GATEWAY_WEBHOOK_SECRET": common,
    }
    installation = Installation(Settings.from_env(environ, tmp_path), tmp_path)
    try:
        signing = {client: list(installation.secrets_of(client)) for client in ("shop", "old", "bakery")}
    finally:
        installation.database.close()
    assert signing == {"shop": [own, common], "old": [common], "bakery": [foreign]}


def test_upstreams_tells_of_each_key_why_it_is_paused_and_what_was_answered_last() -> None:
    run("upstreams", "pause", "default")
    assert re.fullmatch(
        r"default  key none  0/5 slots  paused since \S+: operator  no answer yet\n", run("upstreams").output
    )
    database = Installation(Settings.from_env({}, Path.cwd()), Path.cwd()).database
    SqlLanes(database).resume("default", "none", now=1.0)
    SqlLanes(database).pause("default", "none", reason="auth", answer="Incorrect API key provided.", now=1796000000.0)
    database.close()
    since = "2026-11-30T00:53:20+00:00"
    told = f"paused since {since}: auth (Incorrect API key provided.)  last answer {since}: the key was refused"
    assert run("upstreams").output == f"default  key none  0/5 slots  {told}\n"


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
