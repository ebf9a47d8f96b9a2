"""The table and the JSON of a run, with the machine it ran on."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway import __version__
from tests.bench.measure import Row

_HEAD = ("scenario", "measured", "limit in the same run", "ratio", "target", "met")
_NOTE = "median (lowest to highest); the ratio is the median of the ratios of each repetition"


def machine() -> dict[str, Any]:
    """Return what a figure depends on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "gateway": __version__,
        "commit": _commit(),
        "load_average_1m": round(os.getloadavg()[0], 2),
        "load_generator": "one Python process, keep-alive connections on a selector, on the same cores",
    }


def table(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [_HEAD, ("---",) * len(_HEAD), *(_cells(row) for row in rows)]
    where = (
        f"{about['cores']} cores ({about['cpu']}), load generator, stubs and databases included; "
        f"Python {about['python']}, SQLite {about['sqlite']}, commit {about['commit']}, "
        f"load average before it {about['load_average_1m']}"
    )
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", f"{_NOTE}. {where}."])


def as_json(rows: Mapping[str, Sequence[Row]], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report as plain data."""
    found = [{"scenario": name, **_plain(row)} for name, several in rows.items() for row in several]
    return {"machine": dict(about), "rows": found}


def _cells(row: Row) -> tuple[str, ...]:
    limit = f"{_spread(row.limit)} {row.unit}: {row.of}" if row.limit else ""
    ratio = _spread(row.ratios) if row.ratios and (row.target is None or row.target.kind == "ratio") else ""
    target = row.target.text(row.unit) if row.target else ""
    met = {True: "yes", False: "no", None: ""}[row.met]
    return row.what, f"{_spread(row.ours)} {row.unit}", limit, ratio, target, met


def _spread(samples: Sequence[float]) -> str:
    middle = _number(statistics.median(samples))
    return f"{middle} ({_number(min(samples))} to {_number(max(samples))})" if len(samples) > 1 else middle


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plain(row: Row) -> dict[str, Any]:
    return {
        "what": row.what,
        "unit": row.unit,
        "ours": list(row.ours),
        "limit": list(row.limit),
        "limit_is": row.of,
        "ratio": statistics.median(row.ratios) if row.ratios else None,
        "target": {"kind": row.target.kind, "value": row.target.value} if row.target else None,
        "met": row.met,
        **row.more,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip() or "unknown"
