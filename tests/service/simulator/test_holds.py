"""Answers that the simulator holds until a test lets them go."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import requests

from tests.service.simulator.driver import Client
from tests.service.simulator.outcome import outcome


@pytest.mark.parametrize(("word", "made"), [("submit-hold", 0), ("submit-hold-after", 1)])
def test_a_held_submit_waits_for_its_release(client: Client, word: str, made: int) -> None:
    answers: list[requests.Response] = []
    held = threading.Thread(target=lambda: answers.append(client.submit(f"a cat sim:{word}")))
    held.start()
    books = client.simulator.wait_for(lambda books: bool(books.holding))
    assert books is not None
    assert (books.holding, len(books.videos), answers) == (["submit"], made, [])
    assert client.control("release", stage="poll") == {"released": 0}
    assert client.control("release") == {"released": 1}
    held.join(10)
    assert answers[0].json()["status"] == "queued"
    assert client.simulator.books().count("accepted") == 1


def test_a_held_answer_ends_when_the_simulator_stops(start: Callable[..., Client]) -> None:
    client = start(faults=["poll-hold"])
    video_id = client.made()
    answers: list[object] = []
    held = threading.Thread(target=lambda: answers.append(outcome(lambda: client.get(f"/{video_id}"))))
    held.start()
    assert client.simulator.wait_for(lambda books: bool(books.holding))
    client.simulator.stop()
    held.join(10)
    assert answers == ["broken off"]


def test_a_content_can_be_held_in_its_middle(client: Client) -> None:
    video_id = client.made("a cat sim:content-hold")
    with client.get(f"/{video_id}/content", stream=True) as answer:
        assert client.simulator.wait_for(lambda books: bool(books.holding))
        assert client.simulator.books().count("downloads") == 0
        client.simulator.release()
        assert len(answer.content) == int(answer.headers["Content-Length"])
    assert client.simulator.wait_for(lambda books: books.count("downloads") == 1)
