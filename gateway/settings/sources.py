"""Where settings come from: the environment, over a `.env`, over the TOML file that GATEWAY_CONFIG names."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv import dotenv_values

PREFIX = "GATEWAY_"
CONFIG = "GATEWAY_CONFIG"

# Kubernetes sets these in every pod of a namespace that has a service called "gateway".
_KUBERNETES = ("GATEWAY_PORT_", "GATEWAY_SERVICE_")


class SettingsError(Exception):
    """The settings cannot be used. `problems` holds one line each, which names the setting and never shows a secret."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(slots=True)
class Gathered:
    """The text of every setting that is set, by its name, and one line for everything that was wrong on the way."""

    texts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    upstreams: object = None
    """`[[upstreams]]` of the TOML file as it stands there, where it has any."""
    named: Callable[[str], str] = field(default=lambda _: "")
    """Returns what the environment or the `.env` has under any name, or `…_FILE`; an empty text for nothing."""


def gather(environ: Mapping[str, str], cwd: Path, *, names: Collection[str], secrets: Collection[str]) -> Gathered:
    """Read all three sources. An empty text counts as not set, since that is how Compose passes what nobody set."""
    found = Gathered()
    dotenv = _read_dotenv(cwd / ".env", found)
    reader = _Reader(found, names=names, secrets=secrets, cwd=cwd)
    outer = reader.read(dotenv) | reader.read(environ)
    found.named = lambda name: _named(name, {**dotenv, **environ}, cwd)
    inner: dict[str, str] = {}
    if CONFIG in outer:
        inner = _read_toml(cwd / outer[CONFIG], reader, found)
    found.texts = inner | outer
    return found


@dataclass(frozen=True, slots=True)
class _Reader:
    """Takes what is ours from one source, follows `…_FILE`, and notes what nobody knows."""

    found: Gathered
    names: Collection[str]
    secrets: Collection[str]
    cwd: Path

    def read(self, source: Mapping[str, str]) -> dict[str, str]:
        ours = {name: text for name, text in source.items() if _is_ours(name) and text.strip()}
        texts = {name: text for name, text in ours.items() if name in self.names}
        for name in ours.keys() - texts.keys():
            target = name.removesuffix("_FILE")
            if target == name or target not in self.secrets:
                self.found.problems.append(self._unknown(name))
            elif target in texts:
                self.found.problems.append(f"{name}: must not be set together with {target}")
            elif (text := self._content(name, ours[name])) is not None:
                texts[target] = text
        return texts

    def _content(self, name: str, path: str) -> str | None:
        try:
            return (self.cwd / path.strip()).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            self.found.problems.append(f"{name}: cannot be read: {reason}")
            return None

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.names, n=1, cutoff=0.8)
        return f"{name}: no such setting" + (f"; did you mean {near[0]}?" if near else "")


def _named(name: str, environ: Mapping[str, str], cwd: Path) -> str:
    if environ.get(name, "").strip() or not environ.get(f"{name}_FILE", "").strip():
        return environ.get(name, "").strip()
    try:
        return (cwd / environ[f"{name}_FILE"].strip()).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX) and name != "GATEWAY_PORT" and not name.startswith(_KUBERNETES)


def _read_dotenv(path: Path, found: Gathered) -> dict[str, str]:
    try:
        return {name: value or "" for name, value in dotenv_values(path, interpolate=False).items()}
    except (OSError, UnicodeDecodeError) as error:
        found.problems.append(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}")
        return {}


def _read_toml(path: Path, reader: _Reader, found: Gathered) -> dict[str, str]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        found.problems.append(f"{CONFIG}: cannot be read: {getattr(error, 'strerror', None) or error}")
        return {}
    texts: dict[str, str] = {}
    for key, value in document.items():
        name = PREFIX + key.upper()
        if key == "upstreams":
            found.upstreams = value
        elif name in reader.secrets and name != "GATEWAY_DATABASE_URL":
            found.problems.append(f"{CONFIG}: {key} is a secret and does not belong in the file; name {key}_file there")
        elif isinstance(value, dict) or name == CONFIG or key != key.lower():
            found.problems.append(f"{CONFIG}: {key} is no setting")
        else:
            texts[name] = _as_text(value)
    return reader.read(texts)


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(_as_text(item) for item in value)
    return str(value)
