"""The commands of a client of a gateway: `generate`, `watch` and `download`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway import __version__
from gateway.settings import Settings, SettingsError

if TYPE_CHECKING:
    from gateway.client.commands import Commands

_EXITS = "Exit status: 0 done, 1 the video failed or is unfinished, 2 refused, 3 the gateway is away, 130 interrupted."


def _towards_a_gateway(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which gateway, and how to tell what comes of it."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and progress to stderr."),
        click.option("--key", envvar="SORA_KEY", help="API key; SORA_KEY, or the first of this shell's settings."),
        click.option("--url", envvar="SORA_URL", help="The gateway; SORA_URL, or the one of this shell's settings."),
    ):
        command = option(command)
    return command


@contextmanager
def _commands(url: str | None, key: str | None, *, as_json: bool) -> Iterator[Commands]:
    from gateway.client.commands import Commands
    from gateway.client.gateway import Gateway
    from gateway.client.progress import terminal
    from gateway.outbound.deadline import Deadlines
    from gateway.outbound.session import Outbound

    if url is None or key is None:
        settings = _settings()
        url = url or settings.base_url
        key = key or (settings.api_keys[0].secret.reveal() if settings.api_keys else "")
    if not url.lower().startswith(("http://", "https://")):
        raise click.BadParameter(f"expected http://… or https://…, not '{url}'.", param_hint="--url")
    deadlines = Deadlines()
    outbound = Outbound(pool_size=2, deadlines=deadlines, reuse=False, user_agent=f"Sora-Gateway/{__version__} cli")
    gateway = Gateway(url=url.rstrip("/").removesuffix("/v1"), key=key, outbound=outbound)
    console, errors = (terminal(os.environ, stderr=stderr) for stderr in (as_json, True))
    try:
        yield Commands(gateway=gateway, console=console, errors=errors, as_json=as_json)
    except KeyboardInterrupt:
        sys.exit(130)  # click's own status for it is that of a failed video
    finally:
        outbound.close()
        deadlines.close()


def _settings() -> Settings:
    try:
        return Settings.from_env(os.environ, Path.cwd())
    except SettingsError as error:
        raise click.UsageError("; ".join(error.problems)) from error


def _writable(_context: object, _parameter: object, output: Path | None) -> Path | None:
    """Refuse a place that nothing can be written to before a video is made for it."""
    folder = (output or Path()).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise click.BadParameter(f"nothing can be written into the folder '{folder}'.")
    return output


_output = click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), callback=_writable,
    help="FILE; ID.mp4 where left out.",
)  # fmt: skip


@click.command(epilog=_EXITS)
@click.option("--prompt", required=True, help="What the video shows.")
@click.option("--image", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A picture to start from.")
@click.option("--size", help="Such as 1280x720; the model's first where left out.")
@click.option("--seconds", help="Length; the model's least where left out.")
@click.option("--model", help="The gateway's first where left out.")
@_output
@_towards_a_gateway
def generate(
    *,
    prompt: str,
    image: Path | None,
    size: str | None,
    seconds: str | None,
    model: str | None,
    output: Path | None,
    url: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Make a video on a running gateway: submit it, watch it, save it."""
    given = {"prompt": prompt, "size": size, "seconds": seconds, "model": model}
    with _commands(url, key, as_json=as_json) as commands:
        fields = {name: text for name, text in given.items() if text is not None}
        sys.exit(commands.generate(fields, image, output))


@click.command(epilog=_EXITS)
@click.argument("video_id", metavar="ID")
@_towards_a_gateway
def watch(video_id: str, *, url: str | None, key: str | None, as_json: bool) -> None:
    """Wait for the video ID of a running gateway."""
    with _commands(url, key, as_json=as_json) as commands:
        sys.exit(commands.watch(video_id))


@click.command(epilog=_EXITS)
@click.argument("video_id", metavar="ID")
@_output
@_towards_a_gateway
def download(video_id: str, *, output: Path | None, url: str | None, key: str | None, as_json: bool) -> None:
    """Save the finished video ID of a running gateway."""
    with _commands(url, key, as_json=as_json) as commands:
        sys.exit(commands.download(video_id, output))
