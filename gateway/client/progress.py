"""Progress on a terminal as one line that is redrawn, and in a pipe or in CI as a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Column

_STEP_PERCENT = 25

_NARROW = 70
"""Columns below which a download shows neither its speed nor its percentage."""


def terminal(environ: Mapping[str, str], *, stderr: bool = False) -> Console:
    """Return the console to write to; in CI never a bar, even where a terminal is pretended."""
    return Console(highlight=False, soft_wrap=True, stderr=stderr, force_terminal=False if environ.get("CI") else None)


@contextmanager
def shown_progress(
    console: Console, what: str, *, total: int, in_bytes: bool = False
) -> Iterator[Callable[[int, str], None]]:
    """Yield a function that is told how much of `total` is done, and a word on the state."""
    if not console.is_terminal:
        yield _lines(console, what, total)
        return
    columns = _columns(in_bytes=in_bytes, narrow=console.width < _NARROW)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)

        def show(done: int, state: str) -> None:
            progress.update(task, completed=done, description=f"{what} ({state})" if state else what)

        yield show


def _columns(*, in_bytes: bool, narrow: bool) -> Sequence[ProgressColumn]:
    """Return what stands in the line; the bar alone gives way where there is little room."""
    one_line = Column(no_wrap=True)
    measure: list[ProgressColumn] = [DownloadColumn(table_column=one_line)] if in_bytes else []
    if in_bytes and not narrow:
        measure.append(TransferSpeedColumn(table_column=one_line))
    if not (in_bytes and narrow):
        measure.insert(0, TaskProgressColumn(table_column=one_line))
    what = TextColumn("{task.description}", table_column=one_line)
    return (what, BarColumn(), *measure, TimeElapsedColumn(table_column=one_line))


def _lines(console: Console, what: str, total: int) -> Callable[[int, str], None]:
    last = ("", -1)

    def show(done: int, state: str) -> None:
        nonlocal last
        percent = 100 * done // total if total else 100
        now = (state, percent // _STEP_PERCENT)
        if now != last:
            last = now
            console.print(f"  {what} {state + ' ' if state else ''}{percent} %")

    return show
