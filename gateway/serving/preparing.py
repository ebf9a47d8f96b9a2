"""What every role proves and brings up to date before it serves."""

from __future__ import annotations

import logging
from pathlib import Path

from gateway import __version__, clock
from gateway.bucket.port import BucketError
from gateway.db.migrate import migrate
from gateway.db.queries import SqlQueries
from gateway.observability.logs import configure_logs
from gateway.settings import Settings, SettingsError, describe, is_loopback, master_key
from gateway.wiring.installation import Installation

log = logging.getLogger(__name__)


def prepare(settings: Settings, cwd: Path) -> None:
    """Prove the settings and bring the database up to date, before the children of `gateway serve` begin."""
    begin_logs(settings)
    installation = proven(settings, cwd)
    bring_up_to_date(installation)
    check_upstreams(installation)
    _log_start(installation)
    installation.database.close()


def begin_logs(settings: Settings) -> None:
    """Log as the settings say."""
    configure_logs(level=settings.log_level, form=settings.log_format)


def proven(settings: Settings, cwd: Path) -> Installation:
    """Return the installation after looking at everything that needs no connection. Raises SettingsError."""
    settings.require("GATEWAY_UPSTREAM_URL", "GATEWAY_S3_BUCKET")
    installation = Installation(settings, cwd)
    _ = installation.catalogue, installation.bucket, installation.guard
    _ = [upstream.adapter for upstream in installation.upstreams.values()]
    master_key(settings, cwd)
    return installation


def bring_up_to_date(installation: Installation) -> None:
    """Bring a SQLite database up to date, and see that a PostgreSQL one is: its operator migrates it by hand."""
    if installation.settings.on_sqlite:
        migrate(installation.database)
    else:
        _check_schema(installation)


def check_upstreams(installation: Installation) -> None:
    """Refuse to drop an upstream that still makes videos which are paid for: nobody could fetch them."""
    dropped = {
        name: count
        for name, count in SqlQueries(installation.database).in_hand().items()
        if name not in installation.upstreams
    }
    if dropped:
        raise SettingsError(
            f"upstream '{name}' is not configured, but still has {count} unfinished videos: configure it, and end "
            f"what it offers with available_until or `gateway upstreams pause {name}` until they are finished"
            for name, count in dropped.items()
        )


def _check_schema(installation: Installation) -> None:
    if not SqlQueries(installation.database).schema_current():
        raise SettingsError(["GATEWAY_DATABASE_URL: the database has another schema; run `gateway migrate`"])


def _log_start(installation: Installation) -> None:
    settings = installation.settings
    log.info("Sora Gateway %s", __version__)
    for name, value in describe(settings):
        log.debug("%s = %s", name, value)
    if not is_loopback(settings.bind) and not settings.api_keys and not installation.clients.any_key():
        log.warning("There is no API key, so nobody can use this address: `gateway keys create NAME` makes one.")
    for upstream in settings.upstreams:
        if not upstream.keys:
            log.warning("Upstream %s has no key; it is used without one.", upstream.name)
    try:
        installation.bucket.link("none", now=clock.wall(), ttl_s=settings.url_ttl_s, filename="none")
    except BucketError as error:
        # Not refused: the chain may find them later. Until then videos wait with the upstream, and may expire there.
        log.error("No finished video can be stored, %s. `gateway check` proves the bucket.", error)  # noqa: TRY400
