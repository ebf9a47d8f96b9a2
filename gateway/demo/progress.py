"""Progress on a terminal as a bar, and elsewhere as a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

_STEP_PERCENT = 25


@contextmanager
def shown_progress(console: Console, what: str, *, total: int) -> Iterator[Callable[[int, str], None]]:
    """Yield a function that is told how much of `total` is done, and a word on the state."""
    if not console.is_terminal:
        yield _lines(console, what, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)

        def show(done: int, state: str) -> None:
            progress.update(task, completed=done, description=f"{what} ({state})" if state else what)

        yield show


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
