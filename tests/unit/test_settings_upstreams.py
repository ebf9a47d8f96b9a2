"""Upstreams in the TOML file: read whole, with one line for every mistake, and never a secret in the file."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from gateway.settings import ModelSettings, NamedSecret, Secret, Settings, SettingsError, UpstreamSettings, describe
from gateway.wiring.installation import Installation

TWO = """
upstream_max_concurrent = 7

[[upstreams]]
name = "wan"
url = "http://wan.internal:8091/v1/"
dialect = "vllm-omni"
keys = ["env:WAN_KEY", "env:WAN_OTHER"]
max_concurrent = 2
requests_per_minute = 10
strict = false
auth = "raw"
body = "json"
image_must_match_size = true
variants = false
available_until = 2028-01-01
[upstreams.models."sora-2"]
name = "Wan-AI/Wan2.2-T2V-A14B-Diffusers"
sizes = ["1280x720", "720x1280"]
seconds = [4, 8]
available_until = 2027-06-30

[[upstreams]]
name = "plain"
url = "https://api.example.com/v1"
"""


def read(cwd: Path, toml: str, **environ: str) -> Settings:
    (cwd / "gateway.toml").write_text(toml)
    return Settings.from_env({"GATEWAY_CONFIG": "gateway.toml", **environ}, cwd)


def problems(cwd: Path, toml: str, **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(cwd, toml, **environ)
    return caught.value.problems


def test_several_upstreams_are_read_in_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WAN_OTHER=k-other\n")
    settings = read(tmp_path, TWO, WAN_KEY="k-wan")
    assert settings.upstreams == (
        UpstreamSettings(
            name="wan",
            url="http://wan.internal:8091/v1",
            dialect="vllm-omni",
            keys=(NamedSecret("WAN_KEY", Secret("k-wan")), NamedSecret("WAN_OTHER", Secret("k-other"))),
            max_concurrent=2,
            requests_per_minute=10,
            strict=False,
            auth="raw",
            body="json",
            image_must_match_size=True,
            variants=False,
            available_until=dt.date(2028, 1, 1),
            models=(
                ModelSettings(
                    client_name="sora-2",
                    upstream_name="Wan-AI/Wan2.2-T2V-A14B-Diffusers",
                    sizes=("1280x720", "720x1280"),
                    seconds=(4, 8),
                    available_until=dt.date(2027, 6, 30),
                ),
            ),
        ),
        UpstreamSettings(
            name="plain", url="https://api.example.com/v1", dialect="openai", keys=(), max_concurrent=7,
            requests_per_minute=0, strict=True,
        ),
    )  # fmt: skip
    assert not [line for line in map(str, describe(settings)) if "k-wan" in line or "k-other" in line]


def test_what_they_offer_is_in_the_catalogue_until_the_end_of_the_last_day(tmp_path: Path) -> None:
    catalogue = Installation(read(tmp_path, TWO, WAN_KEY="a", WAN_OTHER="b"), tmp_path).catalogue
    first, second = catalogue.models["sora-2"]
    assert (first.upstream, second.upstream) == ("wan", "plain")
    assert (first.sizes, first.seconds) == (("1280x720", "720x1280"), (4, 8))
    assert (first.image_must_match_size, second.image_must_match_size) == (True, False)
    assert first.available_until == dt.datetime(2027, 7, 1, tzinfo=dt.UTC).timestamp()
    assert second.sizes == ("720x1280", "1280x720")
    assert catalogue.models["sora-2-pro"][0].available_until is None


def test_a_key_may_come_from_the_file_that_its_name_with_file_names(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("k-1\n")
    toml = '[[upstreams]]\nname = "a"\nurl = "http://a"\nkeys = ["env:A_KEY"]'
    assert read(tmp_path, toml, A_KEY_FILE="secret").upstreams[0].keys == (NamedSecret("A_KEY", Secret("k-1")),)


def test_without_such_a_table_the_environment_describes_the_one_upstream(tmp_path: Path) -> None:
    environ = {"GATEWAY_UPSTREAM_URL": "http://up/v1", "GATEWAY_UPSTREAM_KEY": "a,b"}
    (only,) = Settings.from_env({**environ, "GATEWAY_UPSTREAM_MODELS": "sora-2=wan"}, tmp_path).upstreams
    assert (only.name, only.url, [key.name for key in only.keys]) == ("default", "http://up/v1", ["1", "2"])
    assert only.models == (ModelSettings(client_name="sora-2", upstream_name="wan"),)


PLAIN = '[[upstreams]]\nname = "a"\nurl = "http://a"\n'


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("upstreams = 3", "GATEWAY_CONFIG: upstreams: must be [[upstreams]] tables"),
        ('[[upstreams]]\nname = "a"', "GATEWAY_CONFIG: upstreams.a.url: Missing data for required field."),
        ('[[upstreams]]\nurl = "http://a"', "GATEWAY_CONFIG: upstreams.1.name: Missing data for required field."),
        ('[[upstreams]]\nname = "a,b"\nurl = "http://a"', "GATEWAY_CONFIG: upstreams.a,b.name: must be a plain name"),
        (PLAIN + PLAIN, "GATEWAY_CONFIG: upstreams.a: the name is given twice"),
        (PLAIN + "max = 3", "GATEWAY_CONFIG: upstreams.a.max: Unknown field."),
        (PLAIN + 'max_concurrent = "many"', "GATEWAY_CONFIG: upstreams.a.max_concurrent: Not a valid integer."),
        (PLAIN + 'image_must_match_size = "yes"', "GATEWAY_CONFIG: upstreams.a.image_must_match_size: Not a valid boo"),
        (PLAIN + 'url = "ftp://a"', "GATEWAY_CONFIG: cannot be read"),
        ('[[upstreams]]\nname = "a"\nurl = "ftp://a"', "GATEWAY_CONFIG: upstreams.a.url: must be an http:// or https"),
        (PLAIN + 'keys = ["sk-1234"]', "GATEWAY_CONFIG: upstreams.a.keys.0: must be env:NAME, never the key itself"),
        (PLAIN + 'keys = ["env:GONE"]', "GATEWAY_CONFIG: upstreams.a.keys: GONE is not set in the environment"),
        (PLAIN + 'keys = ["env:ONE", "env:TWO"]', "GATEWAY_CONFIG: upstreams.a.keys: TWO holds the same key"),
        (PLAIN + '[upstreams.models.m]\nsizes = ["big"]', "GATEWAY_CONFIG: upstreams.a.models.m.sizes.0: must be W"),
        (PLAIN + "[upstreams.models.m]\nseconds = []", "GATEWAY_CONFIG: upstreams.a.models.m.seconds: Shorter than"),
        (PLAIN + "[upstreams.models.m]\ncolour = 1", "GATEWAY_CONFIG: upstreams.a.models.m.colour: Unknown field."),
        (PLAIN + '[upstreams.models.m]\navailable_until = "soon"', "GATEWAY_CONFIG: upstreams.a.models.m.available_un"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_place(toml: str, line: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, toml, ONE="k-same", TWO="k-same")
    assert found.startswith(line)
    assert "k-same" not in found


def test_the_environment_must_not_describe_another_one_beside_the_table(tmp_path: Path) -> None:
    found = problems(tmp_path, PLAIN, GATEWAY_UPSTREAM_URL="http://b", GATEWAY_UPSTREAM_KEY="k")
    assert found == (
        "GATEWAY_UPSTREAM_URL: must not be set together with [[upstreams]] of GATEWAY_CONFIG",
        "GATEWAY_UPSTREAM_KEY: must not be set together with [[upstreams]] of GATEWAY_CONFIG",
    )


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ('dialect = "klingon"', "GATEWAY_CONFIG: upstreams.a.dialect: unknown dialect 'klingon'"),
        ('auth = "magic"', "GATEWAY_CONFIG: upstreams.a.auth: unknown auth 'magic'"),
        ('body = "xml"', "GATEWAY_CONFIG: upstreams.a.body: unknown body 'xml'"),
    ],
)
def test_a_dialect_or_option_that_there_is_not_is_named_with_its_place(option: str, line: str, tmp_path: Path) -> None:
    installation = Installation(read(tmp_path, PLAIN + option), tmp_path)
    with pytest.raises(SettingsError) as refused:
        _ = installation.upstreams
    assert refused.value.problems[0].startswith(line)


def test_a_dialect_that_lists_no_models_needs_them_named(tmp_path: Path) -> None:
    installation = Installation(read(tmp_path, PLAIN + 'dialect = "vllm-omni"'), tmp_path)
    with pytest.raises(SettingsError, match=r"GATEWAY_CONFIG: upstreams\.a\.models: the dialect vllm-omni lists no"):
        _ = installation.catalogue
