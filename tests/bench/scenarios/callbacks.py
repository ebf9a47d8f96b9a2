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
        gateway.start_worker()
        event = events.body(event_id="evt_0", type_="video.completed", created_at=0.0, data=video(made[0]))

        def loop() -> float:
            receiver.ask(reset=True)
            found = bare.ask(
                act="callbacks", urls=urls, secret=_SECRET, event=event, threads=_THREADS, seconds=scale.slice_s
            )
            _check_all(receiver, found["count"])
            return float(found["per_s"])

        contenders: Mapping[str, Callable[[], float]] = {
            f"bare loop, {count}": loop,
            f"worker, {count}": lambda: _delivered(gateway, receiver, scale.slice_s),
        }
        limit, ours = alternate(contenders, repetitions=scale.repetitions).values()
    return Row(
        what=f"callbacks of one worker process to {count} receiver{'s' if count > 1 else ''}",
        unit="callbacks/s",
        ours=ours,
        limit=limit,
        of=f"bare signed `requests` loop, {_THREADS} threads, connections kept",
        target=Target(kind="ratio", value=0.70),
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


def _delivered(gateway: Gateway, receiver: Child, seconds: float) -> float:
    """Make every delivery due, and count for a while what comes; then see that it was all written down."""
    receiver.ask(reset=True)
    before = gateway.scalar("SELECT count(*) FROM attempts WHERE outcome = 'delivered'")
    now = gateway.database.now()
    gateway.execute("UPDATE deliveries SET status = 'pending', due_at = :now, claimed_by = NULL", now=now)
    eventually(lambda: receiver.ask()["count"] > 0, "the first callback")
    first = receiver.ask()
    time.sleep(seconds)
    last = receiver.ask()
    stopped = gateway.execute("UPDATE deliveries SET due_at = :never WHERE due_at = :now", never=NEVER, now=now)
    check(stopped > 0, "every callback was made: there were too few for this worker")

    def settled() -> bool:
        return not gateway.scalar("SELECT count(*) FROM deliveries WHERE claimed_by IS NOT NULL")

    eventually(settled, "every attempt written down")
    _check_all(receiver, gateway.scalar("SELECT count(*) FROM attempts WHERE outcome = 'delivered'") - before)
    return float((last["count"] - first["count"]) / (last["at"] - first["at"]))


def _check_all(receiver: Child, count: int) -> None:
    told = receiver.ask(verify=True)
    check(
        told["count"] == told["distinct"] == told["verified"] == count,
        f"{count} callbacks were made, this came: {told}",
    )
