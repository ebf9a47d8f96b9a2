"""The worker's memory over an hour's worth of videos: it must not grow with what is finished.

Time is compressed: the upstream is done at once, so that the 2,000 videos of 90 s which 50 slots make in an hour take a
minute. Each goes all the way, from the queue to its verified callback. The short form has fewer.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from gateway.jobs.job import Status
from tests.bench.children import Child
from tests.bench.gateway import Gateway
from tests.bench.measure import Row, Scale, check, eventually, say
from tests.bench.upstream_stub import FILM

_WAVE = 100
"""So many videos are in the works together; when all are done, the worker is looked at."""


def run(scale: Scale) -> Sequence[Row]:
    """Send waves of videos through one worker, and fit a line through its memory after each."""
    # Until threads, connections and each connection's cache of the database are what they will be.
    warm_up, waves = scale.pick(4, 10), scale.pick(10, 25)
    with (
        Child("tests.bench.upstream_stub", "0") as upstream,
        Child("tests.bench.films", "sink") as sink,
        Gateway(
            upstream=upstream.port,
            sink=sink.port,
            settings={
                "GATEWAY_POLL_INTERVAL_S": "0.3",
                "GATEWAY_UPSTREAM_MAX_CONCURRENT": str(_WAVE),
                "GATEWAY_SQLITE_SYNCHRONOUS": "normal",
            },
        ) as gateway,
        Child("tests.bench.receiver_stub", gateway.webhook_secret, "1") as receiver,
    ):
        upstream.ask(finish=True)
        worker = gateway.start_worker()
        seen_mb: list[float] = []
        for wave in range(1, waves + 1):
            _send(gateway, receiver, wave)
            stored = sink.ask(match="")["sizes"]
            check(stored == [len(FILM)] * _WAVE, f"{len(stored)} objects of {_WAVE} videos")
            seen_mb.append(worker.pss_mb())
        _check_all(gateway, upstream, receiver, waves * _WAVE)
    say(f"  {', '.join(f'{one:.1f}' for one in seen_mb)} MB")
    warm = seen_mb[warm_up:]
    slope = statistics.linear_regression(range(len(warm)), warm).slope
    return [
        Row(
            what=f"memory (PSS) of a worker, videos {warm_up * _WAVE:,} to {waves * _WAVE:,} of 300 KB",
            unit="MB",
            ours=warm,
        ),
        Row(
            what=f"its growth meanwhile, each {_WAVE} videos",
            unit="KiB",
            ours=[slope * 1e6 / 1024],
            more={"mb": seen_mb},
        ),
    ]


def _send(gateway: Gateway, receiver: Child, wave: int) -> None:
    """Put a wave of videos into the queue, and wait for all their callbacks."""
    gateway.seed(
        _WAVE,
        status=Status.QUEUED,
        version=1,
        due_at=gateway.database.now(),
        # Of equal ones only one at a time is submitted.
        prompt=lambda number: f"A calico cat plays the piano, take {number}",
        routes=("default",),
        upstream=None,
        upstream_key=None,
        upstream_job_id=None,
        accepted_at=None,
        callback_url=f"http://127.0.0.1:{receiver.port}/hook",
        callback_events=("video.completed", "video.failed"),
    )
    eventually(lambda: receiver.ask()["count"] >= wave * _WAVE, f"the callbacks of wave {wave}")


def _check_all(gateway: Gateway, upstream: Child, receiver: Child, count: int) -> None:
    made = upstream.ask()["made"]
    check(made == count, f"{made} were made for {count} videos")
    done = gateway.scalar("SELECT count(*) FROM jobs WHERE status = 'completed'")
    check(done == count, f"{done} of {count} videos are completed")
    told = receiver.ask(verify=True)
    check(told["verified"] == told["distinct"] == count, f"{told['verified']} verified callbacks of {count} videos")
