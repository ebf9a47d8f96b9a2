"""Callbacks a second of one real worker process, beside a bare loop that signs and posts with `requests`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa

from gateway.db.tables import deliveries
from gateway.jobs.job import Job, new_id
from gateway.jobs.view import video
from gateway.webhooks import events
from gateway.webhooks.targets import receiver_of
from tests.bench.children import Child
from tests.bench.gateway import NEVER, Gateway, completed
from tests.bench.measure import Row, Scale, Target, alternate, check, eventually
from tests.bench.receiver_stub import hosts

_THREADS = 8
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def run(scale: Scale) -> Sequence[Row]:
    """Measure one receiver, and a hundred."""
    return [_row(scale, count) for count in (1, 100)]


def _row(scale: Scale, count: int) -> Row:
    with (
        Child("tests.bench.receiver_stub", _SECRET, str(count)) as receiver,
        Child("tests.bench.bare") as bare,
        Gateway(settings={"GATEWAY_WEBHOOK_SECRET": _SECRET}) as gateway,
    ):
        urls = [f"http://{host}:{receiver.port}/hook" for host in hosts(count)]
        # One receiver is one client's: what is tried at once is counted for each pair of them.
        mine = {"client": "client0"} if count == 1 else {}
        made = gateway.seed(scale.pick(4_000, 12_000), **mine, **completed(gateway.database.now()))
        _seed_deliveries(gateway, made, urls)
        worker = gateway.start_worker()
        spent: dict[str, list[float]] = {"cpu_ms": [], "cores_used": [], "limit_cpu_ms": []}
        event = events.body(event_id="evt_0", type_="video.completed", created_at=0.0, data=video(made[0]))

        def loop() -> float:
            receiver.ask(reset=True)
            found = bare.ask(
                act="callbacks", urls=urls, secret=_SECRET, event=event, threads=_THREADS, seconds=scale.slice_s
            )
            _check_all(receiver, found["count"])
            spent["limit_cpu_ms"].append(found["cpu_s"] / found["count"] * 1000)
            return float(found["per_s"])

        def ours() -> float:
            cpu_s, began = worker.cpu_s(), time.monotonic()
            made, per_s = _delivered(gateway, receiver, scale.slice_s)
            cpu_s, lasted_s = worker.cpu_s() - cpu_s, time.monotonic() - began
            spent["cpu_ms"].append(cpu_s / made * 1000)
            spent["cores_used"].append(cpu_s / lasted_s)
            return per_s

        contenders: Mapping[str, Callable[[], float]] = {f"bare loop, {count}": loop, f"worker, {count}": ours}
        limit, samples = alternate(contenders, repetitions=scale.repetitions).values()
    return Row(
        what=f"callbacks of one worker process to {count} receiver{'s' if count > 1 else ''}",
        unit="callbacks/s",
        ours=samples,
        limit=limit,
        of=f"bare signed `requests` loop, {_THREADS} threads, connections kept",
        target=Target(kind="ratio", value=0.70),
        more=spent,
    )


def _seed_deliveries(gateway: Gateway, made: Sequence[Job], urls: Sequence[str]) -> None:
    now = gateway.database.now()
    rows = [
        {
            "id": new_id("del", now), "event_id": new_id("evt", now), "client": job.client, "job_id": job.id,
            "type": "video.completed", "url": urls[number % len(urls)],
            "receiver": str(receiver_of(urls[number % len(urls)])), "facts": video(job), "status": "pending",
            "created_at": now, "due_at": NEVER,
        }
        for number, job in enumerate(made)
    ]  # fmt: skip
    with gateway.database.write() as connection:
        connection.execute(sa.insert(deliveries), rows)


def _delivered(gateway: Gateway, receiver: Child, seconds: float) -> tuple[int, float]:
    """Make every delivery due, and count for a while what comes; then see that it was all written down.

    Return how many were made in all, and how many a second.
    """
    receiver.ask(reset=True)
    before = gateway.scalar("SELECT count(*) FROM attempts WHERE outcome = 'delivered'")
    now = gateway.database.now()
    gateway.execute("UPDATE deliveries SET status = 'pending', due_at = :now, claimed_by = NULL", now=now)
    eventually(lambda: receiver.ask()["count"] > 0, "the first callback")
    first = receiver.ask()
    time.sleep(seconds)
    last = receiver.ask()
    check(_stopped(gateway) > 0, "every callback was made: there were too few for this worker")

    def settled() -> bool:
        # What a claim gave back unmade meanwhile is due again.
        return not _stopped(gateway) and not gateway.scalar(
            "SELECT count(*) FROM deliveries WHERE claimed_by IS NOT NULL"
        )

    eventually(settled, "every attempt written down")
    made = gateway.scalar("SELECT count(*) FROM attempts WHERE outcome = 'delivered'") - before
    _check_all(receiver, made)
    return made, float((last["count"] - first["count"]) / (last["at"] - first["at"]))


def _stopped(gateway: Gateway) -> int:
    """Let nothing be due any more; return how many deliveries were."""
    waiting = "status = 'pending' AND claimed_by IS NULL AND due_at < :never"
    return gateway.execute(f"UPDATE deliveries SET due_at = :never WHERE {waiting}", never=NEVER)


def _check_all(receiver: Child, count: int) -> None:
    told = receiver.ask(verify=True)
    check(
        told["count"] == told["distinct"] == told["verified"] == count,
        f"{count} callbacks were made, this came: {told}",
    )
