"""The examples in the document are what a whole gateway asks, answers and sends today."""

from __future__ import annotations

from pathlib import Path

from tests.document.answers import recorded_answers
from tests.document.notebook import differences
from tests.s3 import Store


def test_a_whole_gateway_answers_and_calls_back_as_the_document_shows(tmp_path: Path, store: Store) -> None:
    assert differences(recorded_answers(tmp_path, store)) == {}, "run `make record`"
