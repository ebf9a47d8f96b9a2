"""The server's worker: who is handed to a thread next, without a socket and without a thread."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import ThreadWorker

from gateway.api.patient import PatientWorker


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Who was given to a thread, in this order."""
    taken: list[Any] = []
    monkeypatch.setattr(ThreadWorker, "enqueue_req", lambda _, conn: taken.append(conn))
    monkeypatch.setattr(ThreadWorker, "finish_request", lambda *_: None)
    return taken


def request(name: str, *, urgent: bool = False) -> Any:
    return SimpleNamespace(name=name, uploads=False, urgent=urgent)


def test_who_waits_keeps_its_place_while_urgent_requests_are_served_before_it(handed_over: list[Any]) -> None:
    config = Config()
    config.set("threads", 1)
    worker = PatientWorker(0, 0, [], None, 30, config, logging.getLogger("test"))
    first, second, urgent = request("first"), request("second"), request("urgent", urgent=True)
    for conn in (first, second, urgent, *map(request, ("third", "fourth"))):
        worker.enqueue_req(conn)
    assert [conn.name for conn in handed_over] == ["first", "second", "urgent"]
    for conn in (urgent, first, second):
        worker.finish_request(conn, None)
    assert [conn.name for conn in handed_over[3:]] == ["third", "fourth"]
    # What a client sent right behind it is not urgent for that.
    assert not urgent.urgent
    worker.tmp.close()
