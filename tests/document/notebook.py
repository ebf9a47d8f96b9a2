"""What is asked and answered, kept by operation and status in the shape of the recorded file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from gateway.api.examples import FILE
from gateway.api.openapi import OPERATIONS
from gateway.api.operation import Operation
from tests.document.evened import evened

BY_NAME = {operation.name: operation for operation in OPERATIONS}

Recorded = dict[str, dict[str, Any]]

Send = Callable[[Operation, str, Mapping[str, Any] | None], tuple[int, Any]]
"""Sends an operation at a path, with a JSON body or none; returns the status and the decoded answer."""


def differences(fresh: Recorded) -> dict[str, Any]:
    """Return what is not as it was recorded."""
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        f"{name} {kind}": value
        for name, kinds in fresh.items()
        for kind, value in kinds.items()
        if kept.get(name, {}).get(kind) != value
    }


class Notebook:
    """Asks and keeps what came, evened."""

    def __init__(self, send: Send, *, hosts: Mapping[str, str]) -> None:
        self._send = send
        self._hosts = hosts
        self.recorded: Recorded = {}

    def ask(self, name: str, body: Mapping[str, Any] | None = None, **path: str) -> Any:
        """Keep the request and the answer of an operation; return the answer."""
        status, answer = self._send(BY_NAME[name], BY_NAME[name].path.format(**path), body)
        if body is not None:
            self.keep(name, "request", body)
        self.keep(name, str(status), answer)
        return answer

    def keep(self, name: str, kind: str, value: object) -> None:
        """Keep something under an operation's name."""
        self.recorded.setdefault(name, {})[kind] = evened(value, hosts=self._hosts)
