"""`gateway demo`: the whole product on loopback, over real HTTP, with one video going all the way."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from gateway.client.progress import shown_progress
from gateway.demo import mp4
from gateway.demo.inbox import Callback, Inbox
from gateway.demo.listening import describe_callback
from gateway.demo.picture import photograph
from gateway.demo.s3server import EmbeddedS3, S3ServerError
from gateway.demo.simulator.settings import SimulatorSettings
from gateway.demo.simulator.simulator import Simulator
from gateway.supervisor import PARENT
from gateway.webhooks.signing import derive_secret

PROMPT = "参考配图，使得动物们活跃起来"  # noqa: RUF001 - Chinese has its own comma
SIZE = "1280x720"
SECONDS = 4
RENDER_S = 3.0
POLL_INTERVAL_S = 1.0

_READY_WITHIN_S = 30.0
_DONE_WITHIN_S = 60.0
_CLIENT = "demo"
_FINAL = {"completed", "failed", "cancelled"}


class DemoFailed(Exception):
    """Something of the demo did not work; the message says what, and shows the end of the log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """Everything that runs beside the gateway, and how to reach the gateway."""

    url: str
    api_key: str
    inbox: Inbox
    simulator: Simulator
    s3: EmbeddedS3
    log: Path


def run(*, keep: bool, output: Path | None, stopping: Callable[[], threading.Event]) -> None:
    """Run the demo; with `keep`, leave everything running until the event that `stopping` makes. Raises DemoFailed."""
    console = Console(highlight=False)
    target = (output or Path("demo.mp4")).absolute()
    try:
        with _stage(console) as stage:
            _one_video(console, stage, target)
            if keep:
                # Not made before: until here, signals interrupt.
                stopped = stopping()
                _print_how_to_go_on(console, stage)
                stopped.wait()
    except (mp4.EncoderMissing, S3ServerError) as error:
        raise DemoFailed(str(error)) from error
    except requests.RequestException as error:
        raise DemoFailed(f"the gateway did not answer: {type(error).__name__}") from error


@contextmanager
def _stage(console: Console) -> Iterator[Stage]:
    """Start all of it, and stop it in reverse order."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-")))
        console.print("A simulated upstream, an S3 server, a receiver and the gateway, all on loopback over real HTTP.")
        console.print(f"Short times for the demo: {RENDER_S:g} s to render, a poll every {POLL_INTERVAL_S:g} s.\n")
        upstream_key, s3_secret = f"sk-{secrets.token_hex(16)}", secrets.token_hex(20)
        simulator = Simulator(SimulatorSettings(keys={"demo": upstream_key}, render_s=RENDER_S))
        stack.enter_context(simulator)
        console.print(f"  upstream   {simulator.base_url}  (simulated, dialect openai)")
        s3 = EmbeddedS3(folder / "s3", access_key="demo", secret_key=s3_secret)
        stack.enter_context(s3)
        console.print(f"  bucket     {s3.endpoint_url}/{s3.bucket}  (SeaweedFS)")
        webhook_secret = derive_secret(secrets.token_bytes(32), owner=_CLIENT, version=1)
        inbox = stack.enter_context(Inbox(secrets=[webhook_secret]))
        console.print(f"  receiver   {inbox.url}")
        api_key = f"sk-{secrets.token_urlsafe(24)}"
        environ = {
            "GATEWAY_BIND": "127.0.0.1:0",
            "GATEWAY_API_KEYS": f"{_CLIENT}:{api_key}",
            "GATEWAY_UPSTREAM_URL": simulator.base_url,
            "GATEWAY_UPSTREAM_KEY": upstream_key,
            "GATEWAY_POLL_INTERVAL_S": str(POLL_INTERVAL_S),
            "GATEWAY_S3_BUCKET": s3.bucket,
            "GATEWAY_S3_ENDPOINT_URL": s3.endpoint_url,
            "GATEWAY_WEBHOOK_SECRET": webhook_secret,
            "GATEWAY_WEBHOOK_ALLOW_HOSTS": "127.0.0.1,localhost",
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
            "AWS_DEFAULT_REGION": s3.region,
        }
        log = folder / "gateway.log"
        url = stack.enter_context(_gateway(environ, folder, log))
        console.print(f"  gateway    {url}  (API and worker)\n")
        yield Stage(url=url, api_key=api_key, inbox=inbox, simulator=simulator, s3=s3, log=log)


@contextmanager
def _gateway(environ: dict[str, str], folder: Path, log: Path) -> Iterator[str]:
    """Run `gateway serve` as a process of its own, with nothing of this shell's own settings."""
    bind = f"127.0.0.1:{_free_port()}"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "AWS_"))}
    child = {**own, **environ, "GATEWAY_BIND": bind, "GATEWAY_LOG_FORMAT": "json", PARENT: str(os.getpid())}
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve"], cwd=folder, env=child, stdout=lines, stderr=lines
        )
    try:
        _await_ready(f"http://{bind}", process, log)
        yield f"http://{bind}"
    finally:
        process.terminate()
        try:
            process.wait(timeout=25)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            if requests.get(f"{url}/readyz", timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise DemoFailed(f"the gateway did not start; the end of its log:\n{_tail(log)}")


def _one_video(console: Console, stage: Stage, target: Path) -> None:
    video = _post(stage)
    console.print(f"POST /v1/videos → 202, video [bold]{video['id']}[/bold]")
    console.print(f"  prompt     {PROMPT}")
    console.print(f"  picture    a PNG of {SIZE}, size {SIZE}, {SECONDS} seconds\n")
    video = _watch(console, stage, str(video["id"]))
    if video["status"] != "completed":
        raise DemoFailed(f"the video is {video['status']}: {video['error']}\n{_tail(stage.log)}")
    callback = _await_callback(stage, str(video["id"]))
    _print_callback(console, callback)
    _download(console, callback.video, target)


def _post(stage: Stage) -> dict[str, Any]:
    width, height = (int(side) for side in SIZE.split("x"))
    answer = requests.post(
        f"{stage.url}/v1/videos",
        headers={"Authorization": f"Bearer {stage.api_key}", "Idempotency-Key": secrets.token_hex(8)},
        data={"prompt": PROMPT, "model": "sora-2", "size": SIZE, "seconds": SECONDS, "callback_url": stage.inbox.url},
        files={"input_reference": ("animals.png", photograph(width, height), "image/png")},
        timeout=30,
    )
    if answer.status_code != requests.codes.accepted:
        raise DemoFailed(f"the gateway answered {answer.status_code}: {answer.text[:500]}")
    return dict(answer.json())


def _watch(console: Console, stage: Stage, video_id: str) -> dict[str, Any]:
    until = time.monotonic() + _DONE_WITHIN_S
    with shown_progress(console, "rendering", total=100) as show:
        while True:
            answer = requests.get(
                f"{stage.url}/v1/videos/{video_id}", headers={"Authorization": f"Bearer {stage.api_key}"}, timeout=10
            )
            video = dict(answer.json())
            show(int(video["progress"]), str(video["status"]))
            if video["status"] in _FINAL:
                return video
            if time.monotonic() > until:
                raise DemoFailed(f"the video is still {video['status']}\n{_tail(stage.log)}")
            time.sleep(0.25)


def _await_callback(stage: Stage, video_id: str) -> Callback:
    def is_here(callbacks: Any) -> bool:
        return any(callback.video.get("id") == video_id for callback in callbacks)

    callbacks = stage.inbox.wait_for(is_here, timeout_s=_DONE_WITHIN_S)
    if not callbacks:
        raise DemoFailed(f"no callback came\n{_tail(stage.log)}")
    callback = next(callback for callback in callbacks if callback.video.get("id") == video_id)
    if not callback.verified:
        raise DemoFailed(f"the callback could not be verified: {callback.problem}")
    return callback


def _print_callback(console: Console, callback: Callback) -> None:
    console.print(
        f"\nPOST {callback.path}  [green]callback received, signature verified[/green], attempt {callback.attempt}"
    )
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        console.print(f"  {name}: {callback.headers[name]}", soft_wrap=True)
    console.print_json(data=callback.event)


def _download(console: Console, video: dict[str, Any], target: Path) -> None:
    digest = hashlib.sha256()
    with requests.get(str(video["url"]), stream=True, timeout=30) as answer, target.open("wb") as file:
        answer.raise_for_status()
        with shown_progress(console, "downloading", total=int(video["content"]["bytes"])) as show:
            for block in answer.iter_content(1 << 16):
                digest.update(block)
                file.write(block)
                show(file.tell(), "")
    if digest.hexdigest() != video["content"]["sha256"]:
        raise DemoFailed("the downloaded file is not the one the callback told of")
    seen = mp4.probe(target)
    console.print(f"\n[bold green]{target}[/bold green]", soft_wrap=True)
    console.print(
        f"  {target.stat().st_size:,} bytes, {seen.width}x{seen.height}, {seen.duration:.1f} s, {seen.codec}, "
        "sha256 as in the callback"
    )


def _print_how_to_go_on(console: Console, stage: Stage) -> None:
    line = shlex.join(
        [
            "curl", f"{stage.url}/v1/videos", "-H", f"Authorization: Bearer {stage.api_key}",
            "-F", "prompt=A cat at the sea", "-F", f"callback_url={stage.inbox.url}",
        ]
    )  # fmt: skip
    console.print("\nEverything goes on running; Ctrl-C ends it.")
    console.print(f"  API key    {stage.api_key}\n  document   {stage.url}/openapi.yaml\n  log        {stage.log}")
    console.print(f"\nTry, and see the callback come in here:\n  {line}\n", soft_wrap=True)
    stage.inbox.tell(lambda callback: console.print(describe_callback(callback), markup=False, soft_wrap=True))


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
