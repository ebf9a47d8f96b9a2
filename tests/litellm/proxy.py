"""The LiteLLM proxy as a process: one model, no database, no retries of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.e2e.processes import eventually, free_port

_COMMAND = Path(sys.prefix).parent / ".venv-litellm" / "bin" / "litellm"
_START_S = 180.0
_ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "DISABLE_ADMIN_UI": "True",
    "NO_PROXY": "*",
    "PYTHONUNBUFFERED": "1",
}


@contextmanager
def running_proxy(*, upstream_url: str, upstream_key: str, master_key: str, folder: Path) -> Iterator[str]:
    """Start it before an upstream of OpenAI's dialect; yield its base URL. Fails with its last words."""
    config = folder / "litellm.yaml"
    upstream = {"model": "openai/sora-2", "api_base": upstream_url, "api_key": upstream_key, "num_retries": 0}
    settings = {
        "model_list": [{"model_name": "sora-2", "litellm_params": upstream}],
        "general_settings": {"master_key": master_key},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
    }
    config.write_text(json.dumps(settings))  # JSON is YAML
    port, log = free_port(), folder / "litellm.log"
    command = [str(_COMMAND), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    kept = {
        name: value for name, value in os.environ.items() if not name.upper().endswith(("_KEY", "_TOKEN", "_PROXY"))
    }
    with log.open("wb") as lines:
        process = subprocess.Popen(
            command, cwd=folder, env={**kept, **_ENVIRONMENT, "HOME": str(folder)}, stdout=lines, stderr=lines
        )
    try:
        _await(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    def alive() -> bool:
        assert process.poll() is None, f"the proxy ended: {log.read_text()[-3000:]}"
        try:
            return requests.get(f"{url}/health/liveliness", timeout=5).ok
        except requests.RequestException:
            return False

    eventually(alive, bool, "alive", timeout_s=_START_S)
