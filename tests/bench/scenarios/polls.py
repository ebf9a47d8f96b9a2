"""Polls a second of one real worker process, each of another video, beside a bare loop of `requests` in 32 threads.

And how many videos it asks about by the upstream's list, a hundred of them a page.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from tests.bench.children import Child
from tests.bench.gateway import NEVER, Gateway
from tests.bench.measure import Row, Scale, Target, alternate, check, eventually, say

_THREADS = 32
_DELAYS_S = (0.0, 0.1)


def run(scale: Scale) -> Sequence[Row]:
    """Measure an upstream that answers at once, and one that takes 100 ms."""
    rows = _one_by_one(scale)
    return [*rows, *_by_list(scale, one_by_one=[row.ours for row in rows])]


def _one_by_one(scale: Scale) -> list[Row]:
    rows: list[Row] = []
    with (
        Child("tests.bench.upstream_stub", "0") as upstream,
        Child("tests.bench.bare") as bare,
        Gateway(upstream=upstream.port) as gateway,
    ):
        gateway.seed(scale.pick(8_000, 20_000))
        worker = gateway.start_worker()
        for after_s in _DELAYS_S:
            upstream.ask(after_s=after_s)
            used: list[float] = []

            def ours(used: list[float] = used) -> float:
                began = worker.cpu_s()
                rate, lasted_s = _polled(gateway, upstream, scale.slice_s)
                used.append((worker.cpu_s() - began) / lasted_s)
                return rate

            contenders: Mapping[str, Callable[[], float]] = {
                f"bare loop, {after_s:g} s": lambda: _bare(bare, upstream, scale.slice_s),
                f"worker, {after_s:g} s": ours,
            }
            limit, samples = alternate(contenders, repetitions=scale.repetitions).values()
            rows.append(
                Row(
                    what=f"polls of one worker process, upstream of {after_s * 1000:.0f} ms",
                    unit="polls/s",
                    ours=samples,
                    limit=limit,
                    of=f"bare `requests` loop, {_THREADS} threads",
                    target=Target(kind="ratio", value=0.75),
                    more={"cores_used": used},
                )
            )
    return rows


def _by_list(scale: Scale, *, one_by_one: Sequence[Sequence[float]]) -> list[Row]:
    rows: list[Row] = []
    with Child("tests.bench.upstream_stub", "0") as upstream, Gateway(upstream=upstream.port) as gateway:
        apart_s = 0.01
        now = gateway.database.now()
        videos = gateway.seed(
            scale.pick(8_000, 20_000),
            key_fingerprint=gateway.key_fingerprint,
            accepted_at=lambda number: now + number * apart_s,
        )
        upstream.ask(listed=[video.upstream_job_id for video in reversed(videos)])
        gateway.start_worker()
        for after_s, singly in zip(_DELAYS_S, one_by_one, strict=True):
            upstream.ask(after_s=after_s)
            samples = [_listed(gateway, upstream, len(videos)) for _ in range(scale.repetitions)]
            say(f"  by list, {after_s:g} s: {', '.join(f'{sample:.4g}' for sample in samples)}")
            rows.append(
                Row(
                    what=f"videos asked about by list, upstream of {after_s * 1000:.0f} ms",
                    unit="videos/s",
                    ours=samples,
                    limit=singly,
                    of="one by one, by such a worker",
                )
            )
    return rows


def _listed(gateway: Gateway, upstream: Child, count: int) -> float:
    """Make every video due, and return how many a second are asked about until all were."""
    claims = gateway.scalar("SELECT sum(claim_token) FROM jobs")
    upstream.ask(reset=True)
    now, began = gateway.database.now(), time.monotonic()
    gateway.execute("UPDATE jobs SET due_at = :now, claimed_by = NULL", now=now)

    def all_asked() -> bool:
        told = upstream.ask()
        # Pages overlap, so there may be enough of them before all were claimed.
        enough = 100 * told["pages"] + told["polls"] >= count
        return enough and gateway.scalar("SELECT sum(claim_token) FROM jobs") - claims >= count

    eventually(all_asked, "every video is asked about")
    lasted_s = time.monotonic() - began
    check(upstream.ask()["polls"] < count // 5, "they were asked about one by one")
    return count / lasted_s


def _polled(gateway: Gateway, upstream: Child, seconds: float) -> tuple[float, float]:
    """Make every video due, and count for a while what the upstream is asked; also return for how long in all."""
    claims = gateway.scalar("SELECT sum(claim_token) FROM jobs")
    upstream.ask(reset=True)
    started = time.monotonic()
    now = gateway.database.now()
    gateway.execute("UPDATE jobs SET due_at = :now, claimed_by = NULL, accepted_at = :now", now=now)
    eventually(lambda: upstream.ask()["polls"] > 0, "the first poll")
    first = upstream.ask()
    time.sleep(seconds)
    last = upstream.ask()
    stopped = gateway.execute("UPDATE jobs SET due_at = :never WHERE due_at = :now", never=NEVER, now=now)
    check(stopped > 0, "every video was polled: there were too few for this worker")
    lasted_s = time.monotonic() - started
    eventually(
        lambda: upstream.ask()["polls"] == gateway.scalar("SELECT sum(claim_token) FROM jobs") - claims,
        "a poll for each claim",
    )
    told = upstream.ask()
    check(told["polls"] == told["videos"], f"a video was polled twice: {told}")
    return (last["polls"] - first["polls"]) / (last["at"] - first["at"]), lasted_s


def _bare(bare: Child, upstream: Child, seconds: float) -> float:
    upstream.ask(reset=True)
    found = bare.ask(act="polls", url=f"http://127.0.0.1:{upstream.port}", threads=_THREADS, seconds=seconds)
    check(upstream.ask()["polls"] == found["count"], "the upstream counted otherwise")
    return float(found["per_s"])
