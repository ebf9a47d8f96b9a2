"""Moving films into the bucket, hashed, beside `curl | tee >(sha256sum) | curl -T` of the same bytes."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.bench.children import Child
from tests.bench.gateway import Gateway
from tests.bench.measure import Row, Scale, Target, alternate, check

_MIB = 1 << 20
_AT_ONCE = 4
"""What the target is for: as many as a worker transfers at once."""

# One pipeline for each of $NAMES. A named pipe is what `tee >(…)` makes too, but its reader can be waited for.
_PIPES = """
for name in $NAMES; do
  if [ -z "$HASHED" ]; then
    curl -sSf "$SOURCE/v1/videos/$name/content" |
      curl -sSf -o /dev/null -T - -H 'Expect:' -H 'Transfer-Encoding:' -H "Content-Length: $SIZE" "$SINK/curl/$name" &
    continue
  fi
  mkfifo "$name.pipe"
  sha256sum < "$name.pipe" > "$name.sum" &
  curl -sSf "$SOURCE/v1/videos/$name/content" | tee "$name.pipe" |
    curl -sSf -o /dev/null -T - -H 'Expect:' -H 'Transfer-Encoding:' -H "Content-Length: $SIZE" "$SINK/curl/$name" &
done
wait
"""


def run(scale: Scale) -> Sequence[Row]:
    """Measure one film at a time, four and eight, and the memory of each of four, with and without a known length."""
    # More than goes up in one PUT, so that the short form too sends parts.
    size = scale.pick(96, 256) * _MIB
    numbers = (1, _AT_ONCE) if scale.quick else (1, _AT_ONCE, 8)
    with Child("tests.bench.films", "source", str(size)) as source, Child("tests.bench.films", "sink") as sink:
        ends = _Ends(source=source, sink=sink, size=size)
        with Gateway(upstream=source.port, sink=sink.port) as gateway:
            with _mover(gateway.settings) as mover:
                speeds = [row for at_once in numbers for row in _speeds(scale, ends, mover, at_once)]
            memories = [_memory(scale, ends, gateway.settings, film) for film in ("sized", "unsized")]
    return [*speeds, *memories]


def _speeds(scale: Scale, ends: _Ends, mover: Child, at_once: int) -> list[Row]:
    contenders: Mapping[str, Callable[[], float]] = {
        f"curl, {at_once} at once": partial(ends.piped, at_once, hashed=True),
        f"gateway, {at_once} at once": lambda: ends.moved(mover, at_once, "sized")[0],
        f"curl without a hash, {at_once} at once": partial(ends.piped, at_once, hashed=False),
    }
    limit, ours, unhashed = alternate(contenders, repetitions=scale.repetitions).values()
    return [
        Row(
            what=f"transfer of {ends.size // _MIB} MiB, hashed, {at_once} at once",
            unit="MiB/s",
            ours=ours,
            limit=limit,
            of="`curl \\| tee >(sha256sum) \\| curl -T`",
            target=Target(kind="ratio", value=0.75) if at_once == _AT_ONCE else None,
        ),
        Row(
            what="the same beside a limit that hashes nothing",
            unit="MiB/s",
            ours=ours,
            limit=unhashed,
            of="`curl \\| curl -T`",
        ),
    ]


def _memory(scale: Scale, ends: _Ends, settings: Mapping[str, str], film: str) -> Row:
    risen = []
    for _ in range(scale.pick(1, scale.repetitions)):
        # A process of its own each time: what an earlier transfer gave back would hide what this one takes.
        with _mover(settings) as mover:
            risen.append(ends.moved(mover, _AT_ONCE, film)[1] / _AT_ONCE)
    known = film == "sized"
    return Row(
        what=f"memory of one transfer in flight of {_AT_ONCE}, length {'known' if known else 'unknown'}",
        unit="MiB",
        ours=risen,
        target=Target(kind="below", value=12 if known else 24),
    )


@contextmanager
def _mover(settings: Mapping[str, str]) -> Iterator[Child]:
    """Yield a process that has moved one tiny film: idle, with its clients open."""
    with Child("tests.bench.transfers", settings=settings) as mover:
        mover.ask(at_once=1, film="tiny")
        yield mover


class _Ends:
    """Where the films come from and go to."""

    def __init__(self, *, source: Child, sink: Child, size: int) -> None:
        self._source = source
        self._sink = sink
        self.size = size

    def moved(self, mover: Child, at_once: int, film: str) -> tuple[float, float]:
        """Let the gateway move films; return MiB a second and by how many MiB its memory rose."""
        found = mover.ask(at_once=at_once, film=film)
        check(found["sha256"] == [self._source.hello["sha256"]] * at_once, "another film was hashed")
        check(
            self._sink.ask(match="/bench/")["sizes"][-at_once:] == [self.size] * at_once,
            "the bucket has something else",
        )
        return at_once * self.size / _MIB / found["seconds"], float(found["risen_mib"])

    def piped(self, at_once: int, *, hashed: bool) -> float:
        """Let curl move films; return MiB a second."""
        names = [f"film{number}" for number in range(at_once)]
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            settings = {
                "NAMES": " ".join(names),
                "SOURCE": f"http://127.0.0.1:{self._source.port}",
                "SINK": f"http://127.0.0.1:{self._sink.port}",
                "SIZE": str(self.size),
                "HASHED": "yes" if hashed else "",
                "PATH": "/usr/local/bin:/usr/bin:/bin",
            }
            began = time.perf_counter()
            subprocess.run(["bash", "-c", _PIPES], cwd=directory, env=settings, check=True, timeout=300)
            seconds = time.perf_counter() - began
            sums = [path.read_text().split()[0] for path in sorted(Path(directory).glob("*.sum"))]
        check(not hashed or sums == [self._source.hello["sha256"]] * at_once, "curl hashed another film")
        check(self._sink.ask(match="/curl/")["sizes"] == [self.size] * at_once, "curl stored something else")
        return at_once * self.size / _MIB / seconds
