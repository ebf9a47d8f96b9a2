"""A client of a simulator, and a simulator's settings under test."""

from __future__ import annotations

import io
import math
from typing import Any

import requests
from PIL import Image

from gateway.demo.simulator import Simulator, SimulatorSettings
from gateway.demo.simulator.protocol import Served

MODELS = {name: Served(sizes=("128x72", "1280x720"), seconds=(4, 8, 12)) for name in ("sora-2", "sora-2-pro")}
SETTINGS = SimulatorSettings(render_s=math.inf, fps=1, max_concurrent=0, models=MODELS)
"""Nothing is finished by itself: tests move videos on by hand. The first size is one that is encoded in no time."""


class Client:
    """A plain client of one simulator."""

    def __init__(self, simulator: Simulator, key: str = "") -> None:
        self.simulator = simulator
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = key

    def close(self) -> None:
        self._session.close()

    def submit(self, prompt: str = "a cat", **fields: Any) -> requests.Response:
        return self._session.post(f"{self.simulator.base_url}/videos", json={"prompt": prompt, **fields}, timeout=10)

    def made(self, prompt: str = "a cat", **fields: Any) -> str:
        """Submit, finish, and return the id."""
        video_id: str = self.submit(prompt, **fields).json()["id"]
        self.simulator.render(video_id)
        return video_id

    def get(self, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", 10)
        return self._session.get(f"{self.simulator.base_url}/videos{path}", allow_redirects=False, **options)

    def delete(self, path: str) -> requests.Response:
        return self._session.delete(f"{self.simulator.base_url}/videos{path}", timeout=10)

    def control(self, path: str, **body: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.raw("POST", f"/_simulator/{path}", json=body).json()
        return result

    def raw(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request to the root of the server, or to a URL."""
        url = path if path.startswith("http") else f"{self.simulator.url}{path}"
        return self._session.request(method, url, timeout=30, **options)


def picture(width: int = 1280, height: int = 720, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), "orange").save(data, kind)
    return data.getvalue()
