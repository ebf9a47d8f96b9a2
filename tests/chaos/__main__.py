"""`python -m tests.chaos --minutes 20 --seed N`: prints the figures, and ends with 1 where the books do not balance."""

from __future__ import annotations

import argparse
import random
import sys

from tests.chaos.report import Order, Report
from tests.chaos.run import chaos
from tests.s3 import weed_server


def main() -> int:
    asked = _arguments()
    _say(f"chaos: --minutes {asked.minutes:g} --seed {asked.seed} --database {asked.database}")
    databases = ["sqlite", "postgresql"] if asked.database == "both" else [asked.database]
    reports = []
    for database in databases:
        order = Order(
            database=database,
            seed=asked.seed,
            seconds=asked.minutes * 60 / len(databases),
            long=asked.minutes > 3,
            videos_per_s=asked.rate,
            patience_s=300.0 if asked.minutes > 3 else 60.0,
        )
        with weed_server() as store:
            report = chaos(order, store)
        _say(*report.lines())
        reports.append(report)
    _say(_summary(reports))
    return 0 if all(report.balanced for report in reports) else 1


def _summary(reports: list[Report]) -> str:
    videos = sum(report.videos for report in reports)
    kills = sum(sum(report.kills.values()) for report in reports)
    wrong = [dict(report.findings.wrong()) for report in reports]
    counts = [f"{sum(len(found[name]) for found in wrong)} {name}" for name in wrong[0]]
    return f"videos {videos}, kills {kills}: {', '.join(counts)}"


def _say(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)  # noqa: T201 - what this program is for


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="of disasters, shared by the databases")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="repeats a run's choices")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--rate", type=float, default=8.0, help="videos a second that the clients want")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
