"""The long-running roles: what each prepares, in which order, before it serves."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

from gateway import __version__, clock
from gateway.bucket.port import BucketError
from gateway.db.migrate import migrate
from gateway.db.queries import SqlQueries
from gateway.observability.logs import configure_logs
from gateway.settings import Settings, SettingsError, describe, is_loopback, master_key
from gateway.supervisor import die_with_parent, free_port
from gateway.wiring import Installation, worker_process
from gateway.wsgi import run_gunicorn

log = logging.getLogger(__name__)


def prepare(settings: Settings, cwd: Path) -> None:
    """Prove the settings and bring the database up to date, before `gateway serve` starts its children."""
    _configure_logs(settings)
    installation = _proven(settings, cwd)
    _prepare(installation)
    check_upstreams(installation)
    _log_start(installation)


def serve_api(settings: Settings, cwd: Path) -> None:
    """Run the API until a signal. Does not return."""
    die_with_parent()
    _configure_logs(settings)
    settings = replace(settings, bind=settings.bind._replace(port=free_port(*settings.bind)))
    installation = _proven(settings, cwd)
    _prepare(installation)
    installation.database.close()
    log.info("The API listens on %s.", settings.bind)
    run_gunicorn(settings, cwd)


def serve_worker(settings: Settings, cwd: Path) -> None:
    """Run a worker until a signal."""
    die_with_parent()
    _configure_logs(settings)
    stopping = stop_event()
    installation = _proven(settings, cwd)
    _prepare(installation)
    check_upstreams(installation)
    worker_process(installation, stopping=stopping).run()
    # Threads that did not finish in time must not keep the process: their rows come back by lease or proof of death.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def stop_event() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets. To be called in the main thread, once."""
    # Python runs handlers in the main thread alone, and the kernel may give a signal to another one: a main thread that
    # waits for a lock then never hears of it. The wake-up descriptor is written to wherever the signal arrives.
    stopping = threading.Event()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Detached, so that it stays open as long as the process: signals may come at any time.
    signal.set_wakeup_fd(writer.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def watch() -> None:
        reader.recv(1)
        stopping.set()

    threading.Thread(target=watch, name="signals", daemon=True).start()
    return stopping


def _configure_logs(settings: Settings) -> None:
    configure_logs(level=settings.log_level, form=settings.log_format)


def _proven(settings: Settings, cwd: Path) -> Installation:
    """Return the installation after looking at everything that needs no connection. Raises SettingsError."""
    settings.require("GATEWAY_UPSTREAM_URL", "GATEWAY_S3_BUCKET")
    installation = Installation(settings, cwd)
    _ = installation.catalogue, installation.bucket, installation.guard
    _ = [upstream.adapter for upstream in installation.upstreams.values()]
    master_key(settings, cwd)
    return installation


def _prepare(installation: Installation) -> None:
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
    installation.database.close()
