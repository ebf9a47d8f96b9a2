"""Write the recorded examples anew."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

from gateway.api.examples import FILE
from tests.document.answers import recorded_answers
from tests.document.notebook import Recorded
from tests.document.refusals import recorded_refusals
from tests.s3 import weed_server


def main() -> None:
    """Run the gateway twice, whole and as an app alone, and keep what it answered in the order of the document."""
    logging.disable()  # it is made to answer with errors, and has nothing to tell of them
    with tempfile.TemporaryDirectory() as folder, weed_server() as store:
        found: Recorded = recorded_answers(Path(folder), store)
        (Path(folder) / "app").mkdir()
        for name, kinds in recorded_refusals(Path(folder) / "app").items():
            found.setdefault(name, {}).update(kinds)
    FILE.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
