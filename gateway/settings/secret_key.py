"""The master secret that webhook secrets are derived from: given, or made once beside a SQLite database."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from gateway.settings.fields import Settings
from gateway.settings.sources import SettingsError
from gateway.settings.values import Secret

_LEAST = 32


def master_key(settings: Settings, cwd: Path) -> Secret:
    """Return GATEWAY_SECRET_KEY, or on SQLite the content of `<database file>.secret`, made here if there is none.

    Safe between processes that start at once: all of them return the same key. Raises SettingsError where the file
    can be neither read nor made.
    """
    if settings.secret_key is not None:
        return settings.secret_key
    path = key_file(settings, cwd)
    try:
        if not path.exists():
            _make(path)
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SettingsError([f"GATEWAY_SECRET_KEY: not set, and {path} cannot be used: {reason}"]) from error
    if len(text) < _LEAST:
        raise SettingsError([f"GATEWAY_SECRET_KEY: not set, and {path} holds no key; restore it from a backup"])
    return Secret(text)


def key_file(settings: Settings, cwd: Path) -> Path:
    """Where the made key lies. To be kept with the database: without it every client's webhook secret changes."""
    database = settings.sqlite_file(cwd)
    return database.with_name(database.name + ".secret")


def _make(path: Path) -> None:
    """Write the whole key under another name, then link it: `link` fails where another process was faster."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        draft.unlink()
