"""Settings as people see them: the lines of the start-up log and the table of the documentation."""

from __future__ import annotations

import re

from gateway.settings.fields import Settings, Spec, specs

_PASSWORD = re.compile(r"(?<=://)[^/]*@|(?<=[?&])[^=&]*=[^&]*")


def describe(settings: Settings) -> list[tuple[str, str]]:
    """Name and value of every setting, fit for a log: secrets are counted, a database's user and query are left out."""
    shown = [(spec.name, _shown(spec, getattr(settings, spec.attribute))) for spec in specs()]
    return [*shown, *((f"upstream {upstream.name}", upstream.url) for upstream in settings.listed_upstreams)]


def _shown(spec: Spec, value: object) -> str:
    if spec.name == "GATEWAY_DATABASE_URL":
        return _PASSWORD.sub(lambda found: "***@" if found[0].endswith("@") else "***", str(value))
    if spec.secret and value:
        return f"{len(value)} set" if isinstance(value, tuple) else "set"
    if value is None or value in ("", ()):
        return f"({spec.default})"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return ",".join(_item(each) for each in value)
    return str(value)


def _item(value: object) -> str:
    if isinstance(value, tuple):
        return "=".join(map(str, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def settings_table() -> str:
    """All settings as a Markdown table, in the order of `Settings`, with a line break at the end."""
    rows = [f"| `{spec.name}` | {_default(spec)} | {spec.meaning} |" for spec in specs()]
    return "\n".join(["| name | default | meaning |", "| --- | --- | --- |", *rows, ""])


def _default(spec: Spec) -> str:
    literal = re.fullmatch(r"[a-z0-9.:/,]+", spec.default) and spec.default != "none"
    return f"`{spec.default}`" if literal else spec.default
