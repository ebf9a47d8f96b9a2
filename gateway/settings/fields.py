"""Every setting: its name, default, meaning and parser, once, as the fields of one frozen dataclass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from gateway.settings import values
from gateway.settings.sources import PREFIX, Gathered, SettingsError, gather
from gateway.settings.upstreams import ONLY, ModelSettings, UpstreamSettings, read_tables
from gateway.settings.values import Address, NamedSecret, Secret

DAY = 86400
YEAR = 366 * DAY


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """What is known of one setting beside its value."""

    name: str
    """As in the environment, with the prefix."""
    attribute: str
    default: str
    """As a reader of the documentation sees it."""
    meaning: str
    parse: Callable[[str], object]
    secret: bool
    """Never shown, and readable from the file that `…_FILE` names."""


def _setting(
    parse: Callable[[str], object], default: object, shown: str, meaning: str, *, name: str = "", secret: bool = False
) -> Any:
    about = {"parse": parse, "default": shown, "meaning": meaning, "name": name, "secret": secret}
    return field(default=default, repr=not secret, metadata=about)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of one installation. Names that end in `_s` are seconds; secrets show only on `reveal()`."""

    bind: Address = _setting(
        values.address,
        Address("127.0.0.1", 8080),
        "127.0.0.1:8080",
        "address of the API; port 0 lets the system choose",
    )
    workers: int = _setting(values.whole(1, 64), 2, "2", "gunicorn processes")
    threads: int = _setting(values.whole(1, 256), 8, "8", "threads of each gunicorn process")
    database_url: str = _setting(
        values.database_url,
        "sqlite:///gateway.db",
        "sqlite:///gateway.db",
        "SQLAlchemy URL; `postgresql+psycopg://…` for more than one machine",
        secret=True,
    )
    config: str = _setting(values.text, "", "none", "path of a TOML file with settings")
    public_url: str = _setting(
        values.http_url, "", "the bind", "how clients reach the gateway; used for `Location` and `urls` behind TLS"
    )
    secret_key: Secret | None = _setting(
        values.secret(32),
        None,
        "made on first start and kept beside the database on SQLite, else required",
        "master from which each client's and each endpoint's webhook secret is derived, so none is stored",
        secret=True,
    )
    max_body_bytes: int = _setting(values.whole(1024, 2**31), 16777216, "16777216", "larger is 413")
    sqlite_synchronous: Literal["full", "normal"] = _setting(
        values.choice("full", "normal"),
        "full",
        "full",
        "`normal` is faster and may lose the last moments at a power cut, never at a crash of the program",
    )
    api_keys: tuple[NamedSecret, ...] = _setting(
        values.client_keys,
        (),
        "none",
        "`name:key,name:key`, beside those made by `gateway keys`. With no key at all the API answers only on loopback "
        "binds",
        secret=True,
    )
    upstream_url: str = _setting(
        values.http_url, "", "none", "base URL, with its `/v1` where it has one; `/videos` is appended"
    )
    upstream_keys: tuple[NamedSecret, ...] = _setting(
        values.numbered_secrets,
        (),
        "none",
        "several keys may be given, comma-separated: a pool",
        name="GATEWAY_UPSTREAM_KEY",
        secret=True,
    )
    upstream_dialect: str = _setting(values.word, "openai", "openai", "how the upstream spells the protocol")
    upstream_models: tuple[tuple[str, str], ...] = _setting(
        values.model_names,
        (),
        "the dialect's own",
        "`client-name=upstream-name,…`; a bare name means both",
    )
    upstream_strict: bool = _setting(
        values.boolean,
        True,
        "true",
        "`false` passes sizes and seconds that the dialect does not list through to the upstream",
    )
    submit_timeout_s: float = _setting(
        values.seconds(1, 3600),
        120.0,
        "120",
        "total, from connecting to the last byte of the answer; a real deadline, not one per read",
    )
    reconcile_after_s: float = _setting(
        values.seconds(0, DAY),
        60.0,
        "60",
        "how long after a lost answer the upstream's list is believed to be complete",
    )
    queue_timeout_s: float = _setting(values.seconds(1, YEAR), 86400.0, "86400", "longest stay in the queue")
    content_wait_s: float = _setting(
        values.seconds(1, YEAR),
        3600.0,
        "3600",
        "how long a finished video's content is tried for where the upstream names no expiry",
    )
    upstream_max_concurrent: int = _setting(
        values.whole(1, 100_000), 5, "5", "videos in progress upstream at once, per key"
    )
    upstream_requests_per_minute: int = _setting(
        values.whole(0, 10_000_000),
        0,
        "0 (no limit)",
        "all calls to that upstream, per key, over all workers together",
    )
    poll_interval_s: float = _setting(
        values.seconds(0.05, DAY), 30.0, "30", "each video is asked about this often, by its own clock"
    )
    poll_timeout_s: float = _setting(values.seconds(0.05, 3600), 15.0, "15", "total, for one answer")
    max_wait_s: float = _setting(
        values.seconds(1, YEAR),
        600.0,
        "600",
        "from the upstream's acceptance to `failed` with code `upstream_timeout`. It falls on an answer received after "
        "it that says unfinished; while the upstream gives no valid answer, up to three times as long. It never stops "
        "a transfer",
    )
    resubmit_unknown: bool = _setting(
        values.boolean,
        False,
        "false",
        "when the answer to a submit was lost and it cannot be proven whether the upstream made the video: `false` "
        "fails it with code `submission_unknown` (never pay twice), `true` submits again",
    )
    s3_bucket: str = _setting(
        values.text, "", "none", "the bucket; credentials and region come from the standard AWS chain"
    )
    s3_endpoint_url: str = _setting(values.http_url, "", "none", "the store, where it is not AWS")
    s3_prefix: str = _setting(values.object_prefix, "", "none", "what every object key starts with")
    s3_public_endpoint_url: str = _setting(
        values.http_url,
        "",
        "the endpoint",
        "the host that presigned links carry, where clients reach the store by another name",
    )
    url_ttl_s: int = _setting(values.whole(1, 7 * DAY), 86400, "86400", "life of a presigned link, at most 7 days")
    webhook_secrets: tuple[Secret, ...] = _setting(
        values.webhook_secrets,
        (),
        "none",
        "`whsec_…` for the clients named in `GATEWAY_API_KEYS`; several, comma-separated, sign together while one is "
        "being rotated. A client made by `gateway keys` has its own",
        name="GATEWAY_WEBHOOK_SECRET",
        secret=True,
    )
    content: Literal["redirect", "stream"] = _setting(
        values.choice("redirect", "stream"),
        "redirect",
        "redirect",
        "`/content` answers 302, or with `stream` passes the bytes through, for clients that follow no redirect "
        "(bounded; 503 beyond)",
    )
    s3_addressing: Literal["auto", "path", "virtual"] = _setting(
        values.choice("auto", "path", "virtual"), "auto", "auto", "`path` or `virtual`"
    )
    webhook_allow_hosts: tuple[str, ...] = _setting(
        values.allowed_hosts, (), "none", "hosts, CIDRs or `host:port` that may be private"
    )
    webhook_timeout_s: float = _setting(values.seconds(0.05, 600), 15.0, "15", "whole attempt, connection and answer")
    webhook_schedule_s: tuple[float, ...] = _setting(
        values.delays,
        (5.0, 30.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0),
        "5,30,300,1800,7200,18000,36000,50400,72000,86400",
        "delays between attempts, jittered; then the delivery is `exhausted` and can be replayed",
    )
    client_max_unfinished: int = _setting(
        values.whole(1, 100_000_000),
        1000,
        "1000",
        "unfinished videos of one client; more is 429 `queue_full` with `Retry-After`",
    )
    client_requests_per_minute: int = _setting(
        values.whole(0, 10_000_000), 0, "0 (no limit)", "per client, over every process"
    )
    retention_s: float = _setting(
        values.seconds(0, 100 * YEAR),
        0.0,
        "0 (keep)",
        "age at which a finished video's objects and prompt are removed",
    )
    log_format: Literal["console", "json", ""] = _setting(
        values.choice("console", "json"), "", "console on a terminal, else json", "how log lines look"
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        values.choice("debug", "info", "warning", "error"), "info", "info", "the least important line that is logged"
    )

    listed_upstreams: tuple[UpstreamSettings, ...] = ()
    """Those of `[[upstreams]]` in the TOML file; not a setting of its own."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str], cwd: Path) -> Settings:
        """Read `environ`, `cwd/.env` and the TOML file; raise SettingsError with a line for each thing wrong."""
        known = specs()
        secrets = {spec.name for spec in known if spec.secret}
        found = gather(environ, cwd, names={spec.name for spec in known}, secrets=secrets)
        problems = found.problems
        parsed: dict[str, Any] = {}
        for spec in known:
            if spec.name in found.texts:
                try:
                    parsed[spec.attribute] = spec.parse(found.texts[spec.name])
                except ValueError as error:
                    problems.append(_complaint(spec, found.texts[spec.name], error))
        settings = cls(**parsed)
        if found.upstreams is not None:
            settings = settings._with_upstreams(found)
        if not problems and not settings.on_sqlite and settings.secret_key is None:
            problems.append("GATEWAY_SECRET_KEY: must be set where the database is not SQLite")
        if problems:
            raise SettingsError(problems)
        return settings

    def _with_upstreams(self, found: Gathered) -> Settings:
        alone = ("GATEWAY_UPSTREAM_URL", "GATEWAY_UPSTREAM_KEY", "GATEWAY_UPSTREAM_MODELS")
        found.problems += [
            f"{name}: must not be set together with [[upstreams]] of GATEWAY_CONFIG"
            for name in alone
            if name in found.texts
        ]
        usual = self._described_by_environment()
        listed = read_tables(found.upstreams, secret_of=found.named, usual=usual, problems=found.problems)
        return replace(self, listed_upstreams=listed)

    @property
    def upstreams(self) -> tuple[UpstreamSettings, ...]:
        """Every configured upstream, in the order in which they are tried; the environment's has no URL if unset."""
        return self.listed_upstreams or (self._described_by_environment(),)

    def _described_by_environment(self) -> UpstreamSettings:
        return UpstreamSettings(
            name=ONLY,
            url=self.upstream_url,
            dialect=self.upstream_dialect,
            keys=self.upstream_keys,
            max_concurrent=self.upstream_max_concurrent,
            requests_per_minute=self.upstream_requests_per_minute,
            strict=self.upstream_strict,
            models=tuple(
                ModelSettings(client_name=client, upstream_name=upstream) for client, upstream in self.upstream_models
            ),
        )

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is a file on this machine."""
        return self.database_url.startswith("sqlite:")

    def sqlite_file(self, cwd: Path) -> Path:
        """The database's file; a relative one lies under `cwd`. Only where `on_sqlite`."""
        return cwd / self.database_url.removeprefix("sqlite:///").partition("?")[0]

    @property
    def base_url(self) -> str:
        """How clients reach the gateway, without a slash at the end."""
        if self.public_url:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.bind.host, self.bind.host)  # noqa: S104 - replaced here
        return f"http://{Address(host, self.bind.port)}"

    def require(self, *names: str) -> None:
        """Raise SettingsError unless every setting of these names (`GATEWAY_…`) is set."""
        missing = [spec.name for spec in specs() if spec.name in names and not self._is_set(spec)]
        if missing:
            raise SettingsError(f"{name}: must be set" for name in missing)

    def _is_set(self, spec: Spec) -> bool:
        if spec.name == "GATEWAY_UPSTREAM_URL":
            return all(upstream.url for upstream in self.upstreams)
        return bool(getattr(self, spec.attribute))


def specs() -> tuple[Spec, ...]:
    """All settings, in the order of the documentation."""
    return tuple(
        Spec(
            name=each.metadata["name"] or PREFIX + each.name.upper(),
            attribute=each.name,
            default=each.metadata["default"],
            meaning=each.metadata["meaning"],
            parse=each.metadata["parse"],
            secret=each.metadata["secret"],
        )
        for each in fields(Settings)
        if "meaning" in each.metadata
    )


def _complaint(spec: Spec, raw: str, error: ValueError) -> str:
    if spec.secret or "@" in raw:  # a user and password may hide in a URL
        return f"{spec.name}: {error}"
    shown = raw if len(raw) <= 60 else raw[:57] + "…"
    return f"{spec.name}: {error}, not {shown!r}"
