"""The limits: the same traffic by a bare loop of `requests`, without a database, claims, deadlines or checks.

Run as a child: see `tests.bench.children`.
"""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from gateway.webhooks.signing import sign
from tests.bench.children import obey


def polls(command: dict[str, Any]) -> dict[str, Any]:
    """Ask about one video after the other."""
    session, numbers = _session(command["threads"]), itertools.count()

    def ask() -> None:
        answer = session.get(f"{command['url']}/v1/videos/bare_{next(numbers)}", timeout=15)
        answer.raise_for_status()
        answer.json()

    return _looped(ask, command)


def callbacks(command: dict[str, Any]) -> dict[str, Any]:
    """Sign and send one callback after the other."""
    session, urls = _session(command["threads"]), itertools.cycle(command["urls"])

    def send() -> None:
        body = json.dumps(command["event"]).encode()
        headers = sign(
            [command["secret"]], webhook_id=f"evt_{secrets.token_hex(16)}", timestamp=int(time.time()), body=body
        )
        headers["content-type"] = "application/json"
        session.post(next(urls), data=body, headers=headers, timeout=15, allow_redirects=False).raise_for_status()

    return _looped(send, command)


def chain(command: dict[str, Any]) -> dict[str, Any]:
    """Poll a finished video, fetch its film, put it into the bucket, tell of it; return the seconds it took."""
    session = _session(1)
    session.get(f"{command['upstream']}/v1/videos/{command['video']}", timeout=15).raise_for_status()
    began = time.perf_counter()
    film = session.get(f"{command['upstream']}/v1/videos/{command['video']}/content", timeout=15).content
    session.put(f"{command['sink']}/videos/bare.mp4", data=film, timeout=15).raise_for_status()
    session.post(command["receiver"], json={"data": {"id": command["video"]}}, timeout=15).raise_for_status()
    return {"seconds": time.perf_counter() - began}


def _session(threads: int) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_connections=128, pool_maxsize=threads))
    return session


def _looped(act: Callable[[], None], command: dict[str, Any]) -> dict[str, Any]:
    """Do it in so many threads for so many seconds; return how often a second, and the CPU time that it took."""
    began, cpu_s = time.perf_counter(), time.process_time()
    until = began + command["seconds"]
    done, lock = [0], threading.Lock()

    def loop() -> None:
        while time.perf_counter() < until:
            act()
            with lock:
                done[0] += 1

    with ThreadPoolExecutor(command["threads"]) as pool:
        for future in [pool.submit(loop) for _ in range(command["threads"])]:
            future.result()
    lasted_s = time.perf_counter() - began
    return {"count": done[0], "per_s": done[0] / lasted_s, "cpu_s": time.process_time() - cpu_s}


if __name__ == "__main__":
    obey(lambda command: {"polls": polls, "callbacks": callbacks, "chain": chain}[command["act"]](command))
