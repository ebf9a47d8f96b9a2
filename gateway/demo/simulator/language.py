"""The little language in which prompts and options name the rows of the fault table."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.demo.simulator.faults import TABLE, Fault, Stage

LANGUAGE = """\
Write `sim:NAME` anywhere in a prompt, and the video of that prompt meets the fault; give NAME as a `--fault` of the
server, and every video does. The whole form is NAME[=VALUE][*TIMES][@FIRST]: a value where the table shows one, how
often (a number or `all`), and from which request of that stage on. Several faults of one stage come one after the
other, in the order written. A submit is counted per API key and prompt, a fault of the server over all requests,
anything else per video. Example: "a dog runs sim:submit-429=2*3 sim:poll-html@2 sim:content-cut=5000".
"""


class FaultError(ValueError):
    """The words name no fault, or give it a value it does not take. The message is fit for the user."""


_WORD = re.compile(r"(?P<name>[a-z0-9-]+)(?:=(?P<value>[^\s*@]+))?(?:\*(?P<times>[0-9]+|all))?(?:@(?P<first>[0-9]+))?")
_IN_PROMPT = re.compile(r"(?:(?<=\s)|^)sim:(\S+)")


def parse(word: str) -> Fault:
    """Read one fault, with or without its `sim:`. Raises FaultError."""
    match = _WORD.fullmatch(word.removeprefix("sim:"))
    row = TABLE.get(match["name"]) if match else None
    if match is None or row is None:
        msg = f"no such fault: {word!r} (`gateway simulate --list-faults` shows them)"
        raise FaultError(msg)
    if match["value"] and not row.takes:
        msg = f"{row.name} takes no value: {word!r}"
        raise FaultError(msg)
    value = match["value"] or row.value
    if row.takes == "number" and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
        msg = f"{row.name} wants a number: {word!r}"
        raise FaultError(msg)
    times = row.times if match["times"] is None else None if match["times"] == "all" else int(match["times"])
    return Fault(row=row, value=value, times=times, first=int(match["first"] or 1))


def in_prompt(prompt: str) -> tuple[Fault, ...]:
    """Return the faults that a prompt asks for, in its order. Raises FaultError."""
    faults = tuple(parse(word.rstrip(".,;:!?)")) for word in _IN_PROMPT.findall(prompt))
    for fault in faults:
        if fault.row.stage is Stage.LIST or fault.row.name == "list-pages":
            msg = f"{fault.row.name} is a fault of the server, not of one video"
            raise FaultError(msg)
    return faults


def trait(name: str, *plans: Sequence[Fault]) -> Fault | None:
    """Return the first lasting fault of that name."""
    return next((fault for plan in plans for fault in plan if fault.row.name == name), None)


def described() -> str:
    """Return the language and the whole table as text."""
    lines = [LANGUAGE]
    for stage in Stage:
        lines.append(f"{stage}:")
        for row in TABLE.values():
            if row.stage is stage:
                name = f"{row.name}={row.value or 'VALUE'}" if row.takes else row.name
                lines.append(f"  {name:<26} {row.does}")
    return "\n".join(lines) + "\n"
