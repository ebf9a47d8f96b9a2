"""`python -m tests.bench [--quick] [--only NAME] [--json FILE]`: measure, print the table, write the JSON."""

from __future__ import annotations

import argparse
import compileall
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.children import ROOT
from tests.bench.measure import Row, Scale, WorkNotDone, say
from tests.bench.report import as_json, machine, table
from tests.bench.scenarios import BESIDE_PEERS, SCENARIOS


def main(arguments: Sequence[str]) -> None:
    """Run the scenarios that were asked for."""
    known = {**SCENARIOS, **BESIDE_PEERS}
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about three minutes instead of half an hour at most")
    parser.add_argument("--only", action="append", choices=known, metavar="NAME", help=", ".join(known))
    parser.add_argument("--json", type=Path, metavar="FILE", default=Path("build/bench.json"))
    given = parser.parse_args(arguments)
    scale, about = Scale(quick=given.quick), machine()
    # As installing does. Where writing bytecode is forbidden, every process would compile the gateway anew.
    compileall.compile_dir(ROOT / "gateway", quiet=1)
    rows: dict[str, Sequence[Row]] = {}
    undone: list[str] = []
    for name in given.only or SCENARIOS:
        began = time.monotonic()
        say(f"{name} …")
        try:
            rows[name] = known[name](scale)
        except WorkNotDone as error:
            undone.append(f"{name}: {error}")
        say(f"{name}: {time.monotonic() - began:.0f} s")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(as_json(rows, about), indent=2) + "\n")
    print(table([row for several in rows.values() for row in several], about))  # noqa: T201 - the report
    say(f"Load generator: {about['load_generator']}. JSON: {given.json}")
    if undone:
        sys.exit("The work was not done, so nothing is said of: " + "; ".join(undone))


if __name__ == "__main__":
    main(sys.argv[1:])
