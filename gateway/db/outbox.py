"""The outbox: callbacks to make, their attempts, and the breaker of each receiver."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.breakers import receiver_answered, receiver_failed, same_receiver
from gateway.db.conditions import is_pending
from gateway.db.dealing import any_due, claim, earliest, shares
from gateway.db.endpoints import turn_off
from gateway.db.engine import BUSY_TIMEOUT_S, Database
from gateway.db.redelivery import redeliver, redeliver_failed
from gateway.db.tables import attempts, deliveries, receivers
from gateway.db.telling import goes_somewhere
from gateway.db.together import Together
from gateway.jobs.errors import Unavailable
from gateway.jobs.ports import AttemptResult, Delivery, DeliveryRecord, Made

_CLAIMING = 7405871431
"""The advisory lock of whoever claims deliveries on PostgreSQL, beside that of the migrations."""

# Built once: putting a statement together anew costs more than the database's answer to it.
_HELD = (
    deliveries.c.id == sa.bindparam("of"),
    deliveries.c.claim_token == sa.bindparam("token"),
    is_pending(),
)
_TO_BE_MADE = (
    # The ids by themselves, too: SQLite finds no index for the pairs.
    deliveries.c.id.in_(sa.bindparam("ids", expanding=True)),
    sa.tuple_(deliveries.c.id, deliveries.c.claim_token).in_(sa.bindparam("claims", expanding=True)),
    is_pending(),
    goes_somewhere(),
)
_STILL_HELD = sa.select(deliveries.c.id).where(*_TO_BE_MADE)
_BEGIN = sa.update(deliveries).where(*_TO_BE_MADE).values(attempts=deliveries.c.attempts + 1).returning(deliveries.c.id)
_SETTLE = (
    sa.update(deliveries)
    .where(*_HELD)
    .values(status=sa.bindparam("ended"), due_at=None, claimed_by=None)
)  # fmt: skip
_UNBEGIN = (
    sa.update(deliveries)
    .where(*_HELD)
    .values(
        due_at=sa.bindparam("due"),
        claimed_by=None,
        claim_token=deliveries.c.claim_token + 1,
        attempts=deliveries.c.attempts - 1,
    )
)
_THE_ATTEMPT = (attempts.c.delivery_id == sa.bindparam("of"), attempts.c.number == sa.bindparam("nth"))
_BEGIN_ATTEMPT = sa.insert(attempts)
_FINISH_ATTEMPT = sa.update(attempts).where(*_THE_ATTEMPT)
# Given back twice, the number may be that of an attempt which another has begun meanwhile, or ended.
_STILL_OURS = sa.exists().where(
    deliveries.c.id == sa.bindparam("of"),
    sa.or_(deliveries.c.claim_token == sa.bindparam("token"), deliveries.c.attempts > sa.bindparam("nth")),
)
_UNBEGIN_ATTEMPT = sa.delete(attempts).where(*_THE_ATTEMPT, attempts.c.outcome == "started", _STILL_OURS)


T = TypeVar("T")

_Act = Callable[[Connection], T]

_MOST_TOGETHER = 32


class _Failed(NamedTuple):
    error: Exception


class SqlOutbox:
    """Deliveries. A dead worker's claim comes back with its lease; the same `webhook-id` then goes out again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together: Together[_Act[Any], Any] = Together(
            self._write_all, most=_MOST_TOGETHER, patience_s=BUSY_TIMEOUT_S
        )

    def due(
        self,
        *,
        worker: str,
        limit: int,
        per_receiver: int,
        in_a_row: int,
        in_hand: Mapping[tuple[str, str], int],
        lease_s: float,
        now: float,
    ) -> Sequence[Sequence[Delivery]]:
        """Claim due deliveries in up to `limit` batches, at most `per_receiver` at one receiver at a time.

        Their attempts are written with the claim, before they are made. A batch is of one receiver, and up to
        `in_a_row` long, or a single delivery where the receiver failed last. None is behind an open breaker. Receivers
        take turns: one whose every attempt times out gets no second one before another has had its first. `in_hand` are
        the batches under way that this worker claimed before, by client and receiver.
        """
        if limit <= 0 or not self._any_due(now):
            return []
        with self._database.write() as connection:
            if not self._database.sqlite:
                # Two workers that count at once would each grant a receiver its last place.
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_CLAIMING)))
            picked: list[Sequence[str]] = []
            for share in shares(
                connection, worker=worker, limit=limit, per_receiver=per_receiver, in_hand=in_hand, now=now
            ):
                most = share.places * (in_a_row if share.healthy else 1)
                ids = earliest(connection, share.client, share.receiver, most=most, now=now)
                picked += [ids[place :: share.places] for place in range(min(share.places, len(ids)))]
            every = [delivery_id for ids in picked for delivery_id in ids]
            if not every:
                return []
            claimed = claim(connection, every, worker=worker, until=now + lease_s)
            begun = {delivery.id: delivery for delivery in _start(connection, claimed, now)}
            batches = [[begun[delivery_id] for delivery_id in ids if delivery_id in begun] for ids in picked]
            return [batch for batch in batches if batch]

    def _any_due(self, now: float) -> bool:
        with self._database.read() as connection:
            return any_due(connection, now)

    def held(self, batch: Sequence[Delivery]) -> Sequence[Delivery]:
        """Return those of which the claim still holds and that were not given up since."""
        with self._database.read() as connection:
            held = set(connection.scalars(_STILL_HELD, _claims_of(batch)))
        return [delivery for delivery in batch if delivery.id in held]

    def delivered(self, made: Sequence[Made], *, unmade: Collection[Delivery] = (), now: float) -> None:
        """2xx from one receiver: done, and the receiver is well. What is `unmade` is due again `now`."""
        if made or unmade:
            self._write(lambda connection: _end(connection, made, unmade, now))

    def onward(
        self, made: Sequence[Made], *, worker: str, limit: int, lease_s: float, now: float
    ) -> Sequence[Delivery]:
        """The same, and claim up to `limit` more of that receiver in its place, all in one transaction."""
        receiver = made[0].delivery

        def go_on(connection: Connection) -> Sequence[Delivery]:
            _delivered(connection, made)
            ids = earliest(connection, receiver.client, receiver.receiver, most=limit, now=now)
            if not ids:
                return []
            return _start(connection, claim(connection, ids, worker=worker, until=now + lease_s), now)

        return self._write(go_on)

    def put_back(self, batch: Collection[Delivery], *, due_at: float) -> None:
        """Give back what was claimed and not made: no trace is left of those attempts."""
        if batch:
            self._write(lambda connection: _put_back(connection, batch, due_at))

    def failed(
        self, delivery: Delivery, result: AttemptResult, *, due_at: float | None, held_until: float | None, now: float
    ) -> None:
        """No 2xx: again at `due_at`, or exhausted where None. `held_until` opens the receiver's breaker."""
        with self._database.write() as connection:
            connection.execute(_FINISH_ATTEMPT, _finished(delivery, result, "failed", now))
            open_until = receiver_failed(connection, delivery, held_until)
            if due_at is None:
                _settle(connection, delivery, status="exhausted", due_at=None, tries=delivery.tries + 1)
            else:
                due_at = max(due_at, open_until or 0.0)
                _settle(connection, delivery, status="pending", due_at=due_at, tries=delivery.tries + 1)

    def disabled(self, delivery: Delivery, result: AttemptResult, *, now: float) -> None:
        """The receiver said 410: no more attempts, and its endpoint is turned off.

        That was an answer, so the receiver itself is well.
        """
        with self._database.write() as connection:
            connection.execute(_FINISH_ATTEMPT, _finished(delivery, result, "disabled", now))
            receiver_answered(connection, delivery, now)
            if delivery.endpoint_id is not None:
                turn_off(connection, delivery.endpoint_id, now)
            _settle(connection, delivery, status="disabled", due_at=None)

    def receiver_failures(self, delivery: Delivery) -> int:
        """Return how often this receiver failed in a row."""
        with self._database.read() as connection:
            return int(connection.scalar(sa.select(receivers.c.failures).where(*same_receiver(delivery))) or 0)

    def redeliver(self, delivery_id: str, *, client: str, now: float) -> DeliveryRecord:
        """Make a delivery due at once, with its schedule from the start. Raises NotFound, or Conflict."""
        return redeliver(self._database, delivery_id, client=client, now=now)

    def redeliver_failed(self, client: str, *, since: float, now: float) -> tuple[int, bool]:
        """Make all of a client's due that failed and were written since; how many, and whether more are left."""
        return redeliver_failed(self._database, client, since=since, now=now)

    def _write(self, act: _Act[T]) -> T:
        """Let `act` write. On SQLite the threads that come at once share a transaction, and its wait for the disk."""
        if not self._database.sqlite:
            with self._database.write() as connection:
                return act(connection)
        outcome = self._together.do(act)
        if isinstance(outcome, _Failed):
            raise outcome.error
        return outcome  # type: ignore[no-any-return]

    def _write_all(self, acts: Sequence[_Act[Any]]) -> Sequence[Any]:
        try:
            with self._database.write() as connection:
                return [act(connection) for act in acts]
        except Unavailable:
            raise
        except Exception:
            if len(acts) == 1:
                raise
            # Nothing was written: one of them that can't be must not take the others with it.
            return [self._write_alone(act) for act in acts]

    def _write_alone(self, act: _Act[Any]) -> Any:
        try:
            with self._database.write() as connection:
                return act(connection)
        except Exception as error:  # noqa: BLE001 - it is raised where its thread waits for it
            return _Failed(error)


def _start(connection: Connection, batch: Sequence[Delivery], now: float) -> Sequence[Delivery]:
    begun = set(connection.scalars(_BEGIN, _claims_of(batch)))
    lost = [delivery for delivery in batch if delivery.id not in begun]
    if lost:
        # Its endpoint was turned off in the very moment in which it was written or claimed.
        connection.execute(_SETTLE, [{**_claim_of(delivery), "ended": "disabled"} for delivery in lost])
    started = [delivery for delivery in batch if delivery.id in begun]
    if started:
        # An attempt that was begun and never ended is one during which the process died.
        rows = [
            {"delivery_id": delivery.id, "number": delivery.attempts + 1, "started_at": now, "outcome": "started"}
            for delivery in started
        ]
        connection.execute(_BEGIN_ATTEMPT, rows)
    return started


def _delivered(connection: Connection, made: Sequence[Made]) -> None:
    connection.execute(_FINISH_ATTEMPT, [_finished(one.delivery, one.result, "delivered", one.at) for one in made])
    receiver_answered(connection, made[0].delivery, made[-1].at)
    connection.execute(_SETTLE, [{**_claim_of(one.delivery), "ended": "delivered"} for one in made])


def _end(connection: Connection, made: Sequence[Made], unmade: Collection[Delivery], now: float) -> None:
    if made:
        _delivered(connection, made)
    if unmade:
        _put_back(connection, unmade, now)


def _put_back(connection: Connection, batch: Collection[Delivery], due_at: float) -> None:
    connection.execute(_UNBEGIN_ATTEMPT, [_attempt(delivery) | _claim_of(delivery) for delivery in batch])
    connection.execute(_UNBEGIN, [{**_claim_of(delivery), "due": due_at} for delivery in batch])


def _claims_of(batch: Sequence[Delivery]) -> dict[str, object]:
    return {
        "ids": [delivery.id for delivery in batch],
        "claims": [(delivery.id, delivery.claim_token) for delivery in batch],
    }


def _claim_of(delivery: Delivery) -> dict[str, object]:
    return {"of": delivery.id, "token": delivery.claim_token}


def _attempt(delivery: Delivery) -> dict[str, object]:
    return {"of": delivery.id, "nth": delivery.attempts + 1}


def _finished(delivery: Delivery, result: AttemptResult, outcome: str, now: float) -> dict[str, object]:
    return {
        **_attempt(delivery), "finished_at": now, "outcome": outcome, "status": result.status,
        "latency_ms": result.latency_ms, "answer": result.answer, "error": result.error,
    }  # fmt: skip


def _settle(connection: Connection, delivery: Delivery, **values: object) -> None:
    held = (deliveries.c.id == delivery.id, deliveries.c.claim_token == delivery.claim_token, is_pending())
    connection.execute(sa.update(deliveries).where(*held).values(claimed_by=None, **values))
