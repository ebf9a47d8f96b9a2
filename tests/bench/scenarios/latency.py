"""From the answer by which the upstream says that a video is done to its verified callback, on an idle system."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import requests

from tests.bench.children import Child
from tests.bench.gateway import Gateway
from tests.bench.measure import Row, Scale, Target, check, eventually, say

_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def run(scale: Scale) -> Sequence[Row]:
    """Make one video of 300 KB after the other, polled every 0.3 s instead of 30; beside it the same by hand."""
    count = scale.pick(21, 51)
    with (
        Child("tests.bench.upstream_stub", "0") as upstream,
        Child("tests.bench.films", "sink") as sink,
        Child("tests.bench.receiver_stub", _SECRET, "1") as receiver,
        Child("tests.bench.bare") as bare,
        Gateway(
            upstream=upstream.port,
            sink=sink.port,
            settings={"GATEWAY_POLL_INTERVAL_S": "0.3", "GATEWAY_WEBHOOK_SECRET": _SECRET, "GATEWAY_WORKERS": "1"},
        ) as gateway,
    ):
        gateway.start_web("gateway", "serve")
        upstream.ask(finish=True)
        hook = f"http://127.0.0.1:{receiver.port}/hook"
        by_hand = []
        for number in range(1, count + 1):
            _one(gateway, receiver, hook, number)
            chain = bare.ask(
                act="chain",
                upstream=f"http://127.0.0.1:{upstream.port}",
                video=f"bare_{number}",
                sink=f"http://127.0.0.1:{sink.port}",
                receiver=f"http://127.0.0.1:{receiver.port}/bare",
            )
            by_hand.append(chain["seconds"] * 1000)
        took = _latencies(gateway, upstream, receiver)[1:]  # the first opens what the others find open
    check(len(took) == count - 1, f"{len(took)} of {count} videos were told of")
    say(f"  {statistics.median(took):.0f} ms, by hand {statistics.median(by_hand):.1f} ms")
    slowest = statistics.quantiles(took, n=100, method="inclusive")[98]
    return [
        Row(
            what="upstream completion seen → callback received, p50",
            unit="ms",
            ours=took,
            limit=by_hand,
            of="the same three requests by hand",
            target=Target(kind="below", value=150),
        ),
        Row(
            what=f"the same, p99 of {len(took)}",
            unit="ms",
            ours=[slowest],
            target=Target(kind="below", value=1000),
        ),
    ]


def _one(gateway: Gateway, receiver: Child, hook: str, number: int) -> None:
    """Post a video and wait for its callback."""
    answer = requests.post(
        f"{gateway.url}/v1/videos",
        json={"prompt": f"A cat, take {number}", "callback_url": hook},
        headers={"Authorization": f"Bearer {gateway.keys['client0']}"},
        timeout=10,
    )
    check(answer.status_code == 202, answer.text)
    video_id = answer.json()["id"]
    eventually(lambda: video_id in receiver.ask(videos=True)["videos"], f"the callback of {video_id}")


def _latencies(gateway: Gateway, upstream: Child, receiver: Child) -> list[float]:
    """Return the milliseconds of each video, in the order of their completion."""
    finished_at = upstream.ask(finished=True)["finished_at"]
    told = receiver.ask(videos=True, verify=True)
    told_at = told["videos"]
    with gateway.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT id, upstream_job_id, status FROM jobs ORDER BY created_at").all()
    check(all(row.status == "completed" for row in rows), "a video was not completed")
    # What the loop by hand sent is not signed.
    check(told["verified"] == len(rows), f"{told['verified']} verified callbacks for {len(rows)} videos")
    return [(told_at[row.id] - finished_at[row.upstream_job_id]) * 1000 for row in rows]
