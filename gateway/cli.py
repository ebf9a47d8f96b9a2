"""The command line: one function a command, each a few lines that call a room."""

from __future__ import annotations

import gc
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from gateway import __version__
from gateway.client.cli import download, generate, watch
from gateway.observability.metrics_dir import shared_counters
from gateway.settings import Address, Settings, SettingsError
from gateway.settings.values import address as parse_address

if TYPE_CHECKING:
    from gateway.wiring.installation import Installation


def _fail(message: str, code: int = 1) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(code)


def _end_at_sigterm() -> None:
    """Let SIGTERM end a command as Ctrl-C does.

    Without it nothing is cleaned up, and the first process of a container does not hear of the signal at all.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _settings() -> Settings:
    return Settings.from_env(os.environ, Path.cwd())


def _installation() -> Installation:
    from gateway.wiring.installation import Installation

    return Installation(_settings(), Path.cwd())


def _migrated() -> Installation:
    """Return the installation, with a SQLite file that may be new brought up to date as `gateway serve` would."""
    from gateway.db.migrate import migrate as bring_up

    installation = _installation()
    if installation.settings.on_sqlite:
        bring_up(installation.database)
    return installation


@contextmanager
def _importing() -> Iterator[None]:
    """Keep the garbage collector from what is imported, now and later: looking through it is a fifth of a start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can mend into one clear line each, without a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        from gateway.jobs.errors import Refusal
        from gateway.supervisor import AlreadyRunning

        try:
            command(*args, **kwargs)
        except SettingsError as error:
            for problem in error.problems:
                click.echo(f"gateway: {problem}", err=True)
            sys.exit(2)
        except Refusal as error:
            _fail(f"gateway: {error.message}")
        except AlreadyRunning as error:
            _fail(f"gateway: {error}")

    return run


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="gateway")
def main() -> None:
    """Video generation as a service: post a request, get a signed callback with a link into your own bucket."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal's encoding lacks must not end a command whose video is paid for.
            stream.reconfigure(errors="replace")


@main.command()
@_plainly
def serve() -> None:
    """Run the API and a worker together, for one machine."""
    from gateway.one_machine import serve_all

    sys.exit(serve_all(_settings(), Path.cwd()))


@main.command(hidden=True)
@_plainly
def prepare() -> None:
    """Prove the settings and migrate: what `gateway serve` has done before its API and its worker begin."""
    from gateway.supervisor import die_with_parent

    die_with_parent()
    with _importing():
        from gateway.serving.preparing import prepare as prove_and_migrate

    prove_and_migrate(_settings(), Path.cwd())


@main.command()
@_plainly
def api() -> None:
    """Run the API alone; any number of them, over PostgreSQL."""
    with shared_counters():
        with _importing():
            from gateway.serving.api import serve_api

        serve_api(_settings(), Path.cwd())


@main.command()
@_plainly
def worker() -> None:
    """Run a worker alone; any number of them, over PostgreSQL."""
    with _importing():
        from gateway.serving.worker import serve_worker

    serve_worker(_settings(), Path.cwd())


@main.command()
@_plainly
def migrate() -> None:
    """Bring the database to the newest schema."""
    from gateway.db.migrate import migrate as bring_up

    before, after = bring_up(_installation().database)
    click.echo(
        f"The database is at {after}." if before == after else f"Migrated from {before or 'nothing'} to {after}."
    )


@main.command()
@_plainly
def check() -> None:
    """Prove the settings: database, bucket, upstream, webhook secret. Stops at the first that fails."""
    from gateway.administration import CHECK_ERRORS, checks
    from gateway.jobs.errors import Refusal

    for name, prove in checks(_installation()):
        try:
            told = prove()
        except (*CHECK_ERRORS, Refusal) as error:
            _fail(f"FAILED  {name}: {error}")
        click.echo(f"ok      {name}: {told}")


@main.group()
def keys() -> None:
    """Make, list and revoke API keys."""


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        _fail("gateway: a client's NAME has 1 to 64 letters, digits, dots, underscores or dashes", 2)


@keys.command("create")
@click.argument("name")
@click.option("--admin", is_flag=True, help="May see raw upstream answers.")
@_plainly
def create_key(name: str, *, admin: bool) -> None:
    """Make an API key for the client NAME and show it, this once, with the client's webhook secret."""
    _check_name(name)
    installation = _migrated()
    key, secret = installation.clients.create_key(name, admin=admin, now=installation.database.now())
    click.echo(f"id:             {key.id}")
    click.echo(f"client:         {key.client}")
    click.echo(f"key:            {secret}")
    click.echo(f"webhook secret: {installation.secrets_of(name)[0]}")
    click.echo("The key is stored hashed and can't be shown again.", err=True)


@keys.command("list")
@_plainly
def list_keys() -> None:
    """List every key by its id and last four characters."""
    for key in _migrated().clients.keys():  # noqa: SIM118 - not a mapping
        state = "revoked" if key.revoked_at is not None else "admin" if key.admin else "active"
        click.echo(f"{key.id}  {key.client}  …{key.hint}  {state}")


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@_plainly
def revoke_key(key_id: str) -> None:
    """Revoke a key; requests with it are refused from now on."""
    installation = _migrated()
    if not installation.clients.revoke_key(key_id, now=installation.database.now()):
        _fail(f"gateway: there is no key '{key_id}' that is not revoked already")
    click.echo(f"{key_id} is revoked.")


@keys.command("secret")
@click.argument("name")
@click.option("--rotate", is_flag=True, help="Move it on; the old one signs beside the new one for 24 hours.")
@_plainly
def show_secret(name: str, *, rotate: bool) -> None:
    """Show the webhook secret of the client NAME."""
    installation = _migrated()
    if not installation.clients.owns_secret(name):
        _fail(f"gateway: there is no client '{name}' made by `gateway keys create`")
    if rotate:
        installation.clients.rotate_secret(name, now=installation.database.now())
    click.echo(installation.secrets_of(name)[0])


@main.group(invoke_without_command=True)
@click.pass_context
@_plainly
def upstreams(context: click.Context) -> None:
    """Show every upstream key: slots in use, paused since when and why, last answer."""
    if context.invoked_subcommand is None:
        from gateway.administration import upstream_lines

        for line in upstream_lines(_migrated()):
            click.echo(line)


@upstreams.command("pause")
@click.argument("name")
@_plainly
def pause_upstream(name: str) -> None:
    """Submit nothing to the upstream NAME until it is resumed; what it accepted is still polled."""
    from gateway.administration import pause

    click.echo(f"{pause(_migrated(), name)} keys of {name} are paused.")


@upstreams.command("resume")
@click.argument("name")
@_plainly
def resume_upstream(name: str) -> None:
    """Submit to the upstream NAME again at once."""
    from gateway.administration import resume

    click.echo(f"{resume(_migrated(), name)} keys of {name} are resumed.")


@main.command()
@_plainly
def openapi() -> None:
    """Print the OpenAPI document."""
    from gateway.api.openapi import openapi_yaml

    click.echo(openapi_yaml(), nl=False)


@main.command()
@click.option("--keep", is_flag=True, help="Leave everything running and print how to use it.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where the video is saved.")
@_plainly
def demo(*, keep: bool, output: Path | None) -> None:
    """Run the whole product on this machine with nothing configured, and watch one video go all the way."""
    from gateway.demo.run import DemoFailed, run
    from gateway.serving.stopping import stop_event

    _end_at_sigterm()
    try:
        run(keep=keep, output=output, stopping=stop_event)
    except DemoFailed as error:
        _fail(f"gateway demo: {error}")


@main.command()
@click.option("--bind", default="127.0.0.1:8090", show_default=True, help="Where to listen; port 0 takes a free one.")
@click.option("--render", "render_s", default=5.0, show_default=True, help="Seconds that a video takes.")
@click.option("--dialect", default="openai", show_default=True, help="How it spells the protocol.")
@click.option("--key", "api_keys", multiple=True, help="An API key to ask for; several see only their own videos each.")
@click.option(
    "--max-concurrent", default=5, show_default=True, help="Videos in progress at once, per key; 0: no limit."
)
@click.option("--requests-per-minute", default=0, show_default=True, help="Per key, over every call; 0: no limit.")
@click.option("--fault", "faults", multiple=True, help="A fault of the whole server; --list-faults shows them all.")
@click.option("--video-bytes", type=click.IntRange(min=1), help="Size of every content; smaller than real means real.")
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), help="A file that survives a kill.")
@click.option("--list-faults", is_flag=True, help="Show the faults, which also go into a prompt, and end.")
@_plainly
def simulate(
    *,
    bind: str,
    render_s: float,
    dialect: str,
    api_keys: tuple[str, ...],
    max_concurrent: int,
    requests_per_minute: int,
    faults: tuple[str, ...],
    video_bytes: int | None,
    state: Path | None,
    list_faults: bool,
) -> None:
    """Run a simulated upstream: real HTTP, real MP4s, no account, and faults to order."""
    from gateway.demo.simulator import Simulator, SimulatorSettings
    from gateway.demo.simulator.language import described

    if list_faults:
        click.echo(described())
        return
    address = _address(bind)
    settings = SimulatorSettings(
        host=address.host,
        port=address.port,
        dialect=dialect,
        keys={str(position): key for position, key in enumerate(api_keys, 1)},
        render_s=render_s,
        max_concurrent=max_concurrent,
        requests_per_minute=requests_per_minute,
        faults=faults,
        video_bytes=video_bytes,
        state=state,
    )
    _end_at_sigterm()
    try:
        simulator = Simulator(settings)
        simulator.serve_forever(ready=lambda _: _say_ready(simulator.base_url))
    except KeyboardInterrupt:
        simulator.stop()
    except (ValueError, OSError, RuntimeError) as error:
        _fail(f"gateway simulate: {error}", 2)


def _say_ready(base_url: str) -> None:
    click.echo(f"The simulated upstream answers at {base_url}: that is the GATEWAY_UPSTREAM_URL. Ctrl-C ends it.")


def _address(bind: str) -> Address:
    try:
        return parse_address(bind)
    except ValueError as error:
        raise SettingsError([f"--bind: {error}"]) from error


@main.command()
@click.option("--bind", default="127.0.0.1:9000", show_default=True, help="Where to listen; port 0 takes a free one.")
@click.option("--secret", "webhook_secrets", multiple=True, help="whsec_…; GATEWAY_WEBHOOK_SECRET where left out.")
@_plainly
def listen(*, bind: str, webhook_secrets: tuple[str, ...]) -> None:
    """Receive callbacks in the terminal: each with its verification, its attempt and the link to click."""
    from gateway.demo.inbox import Inbox
    from gateway.demo.listening import describe_callback
    from gateway.webhooks.signing import well_formed

    address = _address(bind)
    if not all(map(well_formed, webhook_secrets)):
        raise SettingsError(["--secret: expected whsec_ and the secret in base64, as `gateway keys` shows it"])
    known = webhook_secrets or tuple(secret.reveal() for secret in _settings().webhook_secrets)
    inbox = Inbox(
        secrets=known,
        host=address.host,
        port=address.port,
        on_callback=lambda callback: click.echo(describe_callback(callback)),
    )
    _end_at_sigterm()
    try:
        inbox.serve_forever(
            ready=lambda url: click.echo(f"Listening at {url}: use it as callback_url. Ctrl-C ends it.")
        )
    except KeyboardInterrupt:
        inbox.stop()
    except OSError as error:
        _fail(f"gateway listen: {error}", 2)


for _command in (generate, watch, download):
    main.add_command(_command)
