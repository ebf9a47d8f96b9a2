"""Settings: three sources, one clear line for every mistake, and no secret in anything that is shown."""

from __future__ import annotations

import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import (
    Address,
    NamedSecret,
    Secret,
    Settings,
    SettingsError,
    describe,
    is_loopback,
    key_file,
    master_key,
    settings_table,
    specs,
)

WHSEC = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
MASTER = "m" * 40


def problems(cwd: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ, cwd)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return caught.value.problems


def test_settings_are_the_defaults_when_nothing_is_set(tmp_path: Path) -> None:
    assert Settings.from_env({"PATH": "/bin"}, tmp_path) == Settings()


def test_the_default_in_the_table_is_the_one_that_holds() -> None:
    literal = [spec for spec in specs() if getattr(Settings(), spec.attribute) not in ("", (), None)]
    assert len(literal) > 25
    for spec in literal:
        assert spec.parse(spec.default.partition(" (")[0]) == getattr(Settings(), spec.attribute), spec.name


def test_environment_wins_over_dotenv_and_dotenv_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATEWAY_CONFIG=gateway.toml\nGATEWAY_WORKERS=4\nGATEWAY_THREADS=4\nOTHER=1\n")
    (tmp_path / "gateway.toml").write_text(
        "workers = 3\nthreads = 3\npoll_interval_s = 2.5\nupstream_strict = false\nwebhook_schedule_s = [1, 2]\n"
    )
    settings = Settings.from_env({"GATEWAY_WORKERS": "5"}, tmp_path)
    assert (settings.workers, settings.threads, settings.poll_interval_s) == (5, 4, 2.5)
    assert settings.upstream_strict is False
    assert settings.webhook_schedule_s == (1.0, 2.0)


def test_an_empty_text_counts_as_not_set(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATEWAY_S3_BUCKET=films\n")
    assert Settings.from_env({"GATEWAY_S3_BUCKET": "", "GATEWAY_THREADS": " "}, tmp_path).s3_bucket == "films"


def test_lists_become_named_values(tmp_path: Path) -> None:
    environ = {
        "GATEWAY_API_KEYS": "alice:ka, bob:kb,alice:kc",
        "GATEWAY_UPSTREAM_KEY": "sk-1,sk-2",
        "GATEWAY_UPSTREAM_MODELS": "sora-2=Wan/T2V, other",
        "GATEWAY_WEBHOOK_SECRET": WHSEC,
        "GATEWAY_WEBHOOK_ALLOW_HOSTS": "10.0.0.0/8,::1,[::1]:80,Hooks.internal:8443,box",
    }
    settings = Settings.from_env(environ, tmp_path)
    assert settings.api_keys[2] == NamedSecret("alice", Secret("kc"))
    assert settings.upstream_keys == (NamedSecret("1", Secret("sk-1")), NamedSecret("2", Secret("sk-2")))
    assert settings.upstream_models == (("sora-2", "Wan/T2V"), ("other", "other"))
    assert settings.webhook_secrets == (Secret(WHSEC),)
    assert settings.webhook_allow_hosts == ("10.0.0.0/8", "::1", "[::1]:80", "hooks.internal:8443", "box")


@pytest.mark.parametrize(
    ("raw", "address", "loopback"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080), True),
        ("[::1]:0", Address("::1", 0), True),
        ("localhost:80", Address("localhost", 80), True),
        ("0.0.0.0:8080", Address("0.0.0.0", 8080), False),
        ("[::]:8080", Address("::", 8080), False),
        ("gw.example:8080", Address("gw.example", 8080), False),
    ],
)
def test_bind_is_read_and_told_apart(raw: str, address: Address, loopback: bool, tmp_path: Path) -> None:
    bind = Settings.from_env({"GATEWAY_BIND": raw}, tmp_path).bind
    assert (bind, str(bind), is_loopback(bind)) == (address, raw, loopback)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("GATEWAY_BIND", "8080"),
        ("GATEWAY_BIND", "[::g]:80"),
        ("GATEWAY_BIND", "::1:80"),
        ("GATEWAY_BIND", "host:70000"),
        ("GATEWAY_WORKERS", "0"),
        ("GATEWAY_WORKERS", "two"),
        ("GATEWAY_URL_TTL_S", "604801"),
        ("GATEWAY_POLL_INTERVAL_S", "nan"),
        ("GATEWAY_POLL_INTERVAL_S", "0"),
        ("GATEWAY_MAX_WAIT_S", "inf"),
        ("GATEWAY_WEBHOOK_SCHEDULE_S", "5,x"),
        ("GATEWAY_WEBHOOK_SCHEDULE_S", ","),
        ("GATEWAY_UPSTREAM_STRICT", "maybe"),
        ("GATEWAY_CONTENT", "proxy"),
        ("GATEWAY_UPSTREAM_URL", "api.example/v1"),
        ("GATEWAY_UPSTREAM_URL", "https://api.example:x/v1"),
        ("GATEWAY_UPSTREAM_URL", "https://[api/v1"),
        ("GATEWAY_UPSTREAM_URL", "https://api.example/v1?key=1"),
        ("GATEWAY_PUBLIC_URL", "ftp://gw.example"),
        ("GATEWAY_UPSTREAM_MODELS", "a=b,a=c"),
        ("GATEWAY_UPSTREAM_MODELS", "=b"),
        ("GATEWAY_UPSTREAM_DIALECT", "Open AI"),
        ("GATEWAY_WEBHOOK_ALLOW_HOSTS", "10.0.0.0/33"),
        ("GATEWAY_WEBHOOK_ALLOW_HOSTS", "https://hooks.internal"),
        ("GATEWAY_DATABASE_URL", "sqlite://"),
        ("GATEWAY_DATABASE_URL", "sqlite:///:memory:"),
        ("GATEWAY_DATABASE_URL", "mysql://db/gw"),
        ("GATEWAY_WEBHOOK_SECRET", "whsec_c2hvcnQ="),
        ("GATEWAY_WEBHOOK_SECRET", f"{WHSEC},plain"),
        ("GATEWAY_API_KEYS", "alice"),
        ("GATEWAY_API_KEYS", "alice:k,bob:k"),
        ("GATEWAY_UPSTREAM_KEY", "k,k"),
        ("GATEWAY_SECRET_KEY", "short"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_setting(name: str, raw: str, tmp_path: Path) -> None:
    (line,) = problems(tmp_path, **{name: raw})
    assert line.startswith(f"{name}: must ")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, GATEWAY_WORKER="1", GATEWAY_THREADS="x", GATEWAY_LOG_LEVEL="loud")
    assert len(found) == 3
    assert "GATEWAY_WORKER: no such setting; did you mean GATEWAY_WORKERS?" in found


def test_names_that_kubernetes_injects_are_left_alone(tmp_path: Path) -> None:
    environ = {
        "GATEWAY_PORT": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP": "tcp://10.0.0.1:80",
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
    }
    assert Settings.from_env(environ, tmp_path) == Settings()


def test_a_secret_comes_from_a_file_when_the_name_ends_in_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-from-file\n")
    settings = Settings.from_env({"GATEWAY_UPSTREAM_KEY_FILE": "key"}, tmp_path)
    assert settings.upstream_keys == (NamedSecret("1", Secret("sk-from-file")),)


def test_a_file_in_the_environment_wins_over_a_text_in_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATEWAY_UPSTREAM_KEY=sk-dotenv\n")
    (tmp_path / "key").write_text("sk-from-file\n")
    settings = Settings.from_env({"GATEWAY_UPSTREAM_KEY_FILE": "key"}, tmp_path)
    assert settings.upstream_keys[0].secret.reveal() == "sk-from-file"


def test_a_file_is_refused_when_it_is_missing_or_doubled_or_for_no_secret(tmp_path: Path) -> None:
    assert problems(tmp_path, GATEWAY_UPSTREAM_KEY_FILE="absent") == (
        "GATEWAY_UPSTREAM_KEY_FILE: cannot be read: No such file or directory",
    )
    assert problems(tmp_path, GATEWAY_UPSTREAM_KEY_FILE="f", GATEWAY_UPSTREAM_KEY="k") == (
        "GATEWAY_UPSTREAM_KEY_FILE: must not be set together with GATEWAY_UPSTREAM_KEY",
    )
    assert problems(tmp_path, GATEWAY_BIND_FILE="f")[0].startswith("GATEWAY_BIND_FILE: no such setting")


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("workers = ", "GATEWAY_CONFIG: cannot be read"),
        ("wrokers = 2", "GATEWAY_WROKERS: no such setting; did you mean GATEWAY_WORKERS?"),
        ("upstream_key = 'sk-1'", "GATEWAY_CONFIG: upstream_key is a secret"),
        ("[server]\nbind = 1", "GATEWAY_CONFIG: server is no setting"),
        ("Workers = 2", "GATEWAY_CONFIG: Workers is no setting"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(toml: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(toml)
    (found,) = problems(tmp_path, GATEWAY_CONFIG="gateway.toml")
    assert found.startswith(line)


def test_a_missing_config_file_is_one_line(tmp_path: Path) -> None:
    assert problems(tmp_path, GATEWAY_CONFIG="no.toml") == (
        "GATEWAY_CONFIG: cannot be read: No such file or directory",
    )


def test_postgresql_demands_a_secret_key(tmp_path: Path) -> None:
    url = "postgresql+psycopg://gw:hunter2@db/gw"
    (line,) = problems(tmp_path, GATEWAY_DATABASE_URL=url)
    assert line.startswith("GATEWAY_SECRET_KEY: must be set")
    settings = Settings.from_env({"GATEWAY_DATABASE_URL": url, "GATEWAY_SECRET_KEY": MASTER}, tmp_path)
    assert not settings.on_sqlite
    assert master_key(settings, tmp_path).reveal() == MASTER


def test_require_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(s3_bucket="films").require("GATEWAY_UPSTREAM_URL", "GATEWAY_S3_BUCKET", "GATEWAY_UPSTREAM_KEY")
    assert caught.value.problems == ("GATEWAY_UPSTREAM_URL: must be set", "GATEWAY_UPSTREAM_KEY: must be set")


def test_no_secret_shows_in_repr_description_or_error(tmp_path: Path) -> None:
    environ = {
        "GATEWAY_DATABASE_URL": "postgresql+psycopg://gw:hunter2@db/gw?password=hunter2",
        "GATEWAY_SECRET_KEY": MASTER,
        "GATEWAY_API_KEYS": "alice:hunter2",
        "GATEWAY_UPSTREAM_KEY": "sk-hunter2",
        "GATEWAY_WEBHOOK_SECRET": WHSEC,
    }
    settings = Settings.from_env(environ, tmp_path)
    shown = repr(settings) + str(settings) + str(describe(settings)) + f"{settings.api_keys} {settings.secret_key}"
    broken = problems(tmp_path, GATEWAY_PUBLIC_URL="http://u:hunter2@h/?x=1", GATEWAY_API_KEYS="hunter2") + problems(
        tmp_path, GATEWAY_SECRET_KEY="hunter2", GATEWAY_WEBHOOK_SECRET="hunter2", GATEWAY_DATABASE_URL="x://hunter2"
    )
    for secret in ("hunter2", MASTER, WHSEC):
        assert secret not in shown
        assert secret not in "".join(broken)


def test_description_shows_every_setting_and_what_is_set(tmp_path: Path) -> None:
    shown = dict(
        describe(Settings.from_env({"GATEWAY_UPSTREAM_KEY": "a,b", "GATEWAY_UPSTREAM_MODELS": "m=n"}, tmp_path))
    )
    assert set(shown) == {spec.name for spec in specs()}
    assert shown["GATEWAY_UPSTREAM_KEY"] == "2 set"
    assert shown["GATEWAY_UPSTREAM_MODELS"] == "m=n"
    assert shown["GATEWAY_WEBHOOK_SCHEDULE_S"].startswith("5,30,300,")


def test_table_has_one_row_for_every_setting() -> None:
    rows = settings_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [spec.name for spec in specs()]
    assert all(row.count(" | ") == 2 for row in rows)


def test_base_url_is_the_bind_unless_a_public_one_is_set() -> None:
    assert Settings(bind=Address("0.0.0.0", 80)).base_url == "http://127.0.0.1:80"
    assert Settings(bind=Address("::1", 80)).base_url == "http://[::1]:80"
    assert Settings(public_url="https://gw.example").base_url == "https://gw.example"


def test_secret_key_is_made_once_with_mode_0600_when_on_sqlite(tmp_path: Path) -> None:
    settings = Settings(database_url="sqlite:///gw.db?timeout=5")
    first = master_key(settings, tmp_path)
    path = key_file(settings, tmp_path)
    assert path == tmp_path / "gw.db.secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(first.reveal()) >= 32
    assert master_key(settings, tmp_path) == first
    assert list(tmp_path.iterdir()) == [path]


def test_secret_key_is_the_same_for_processes_that_start_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gateway.settings import Settings, master_key; sys.stdin.read(1);"
        "print(master_key(Settings(), Path(sys.argv[1])).reveal())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in started:  # all wait for their byte, imports done
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    assert len({process.communicate()[0] for process in started}) == 1


def test_secret_key_is_refused_in_one_line_when_its_file_is_damaged(tmp_path: Path) -> None:
    settings = Settings(database_url="sqlite:///gw.db")
    key_file(settings, tmp_path).write_text("cut\n")
    with pytest.raises(SettingsError, match=r"^GATEWAY_SECRET_KEY: not set, and .*gw\.db\.secret holds no key"):
        master_key(settings, tmp_path)
    with pytest.raises(SettingsError, match="cannot be used: No such file or directory"):
        master_key(settings, tmp_path / "absent")
