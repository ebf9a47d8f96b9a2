"""How faults are asked for: their words, counts, starts and order."""

from __future__ import annotations

import pytest

from gateway.demo.simulator.faults import TABLE, Stage
from gateway.demo.simulator.language import FaultError, described, parse
from tests.service.simulator.driver import Client


def test_every_fault_is_described_and_can_be_asked_for() -> None:
    text = described()
    for name, row in TABLE.items():
        assert f"  {name}" in text
        assert parse(f"sim:{name}").row is row
    assert {row.stage for row in TABLE.values()} == set(Stage)


@pytest.mark.parametrize("word", ["nothing", "poll-500=3", "content-cut=many", "poll-500**2", "", "poll-500@"])
def test_a_word_that_is_no_fault_is_refused(word: str) -> None:
    with pytest.raises(FaultError):
        parse(word)


def test_a_fault_with_a_count_and_a_start_strikes_exactly_then(client: Client) -> None:
    video_id = client.made("a cat sim:poll-404*2@3")
    assert [client.get(f"/{video_id}").status_code for _ in range(6)] == [200, 200, 404, 404, 200, 200]


def test_faults_of_one_stage_come_in_their_order(client: Client) -> None:
    prompt = "a cat sim:submit-429=7*2 sim:submit-503 sim:submit-500-after"
    answers = [client.submit(prompt) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [429, 429, 503, 500, 200]
    assert [answer.headers.get("Retry-After") for answer in answers] == ["7", "7", "1", None, None]
    assert client.simulator.books().count("accepted") == 2


def test_a_fault_for_ever_never_ends(client: Client) -> None:
    video_id = client.made("a cat sim:content-404*all")
    assert {client.get(f"/{video_id}/content").status_code for _ in range(5)} == {404}
