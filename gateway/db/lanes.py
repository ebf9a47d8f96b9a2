"""Upstream keys: their pauses, their probes and their request rates, kept by all workers together."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from gateway.db.engine import Database
from gateway.db.submissions import lock_key
from gateway.db.tables import upstream_keys
from gateway.jobs.backoff import PROBE_DELAYS_S, delay
from gateway.jobs.ports import Narrowed

_LONGEST_DEBT_S = 600.0
"""A rate spent further ahead was spent by a clock that has been set back; nobody waits until it has caught up."""

_TICK_S = 0.25
"""How late at most a tick sees that a request may be made."""

_FAST = 24
"""Requests a minute from which that lateness counts."""

OPERATOR = "operator"
"""The reason of a pause that somebody wanted."""

_REFUSED = (upstream_keys.c.paused_at.is_not(None), upstream_keys.c.pause_reason != OPERATOR)


class SqlLanes:
    """The state of upstream keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pause(self, upstream: str, key: str, *, reason: str, answer: str, now: float) -> None:
        """Stop submitting on a key and set the time of its first probe; each probe, when taken, sets that of the next.

        Several submits refused together are one refusal, so a key that is paused already is not put off further. What
        the `operator` paused is never probed, and nothing but `resume` ends it.
        """
        with self._database.write() as connection:
            row = lock_key(connection, upstream, key)
            connection.execute(
                sa.update(upstream_keys).where(*_is(upstream, key)).values(**_paused(row, reason, answer, now))
            )

    def resume(self, upstream: str, key: str | None, *, now: float) -> int:
        """Submit again at once; returns how many keys were paused."""
        mine = _is(upstream, key) if key is not None else (upstream_keys.c.upstream == upstream,)
        with self._database.write() as connection:
            probed = connection.execute(sa.update(upstream_keys).where(*mine, *_REFUSED).values(probe_at=now, probes=0))
            freed = connection.execute(
                sa.update(upstream_keys)
                .where(*mine, upstream_keys.c.pause_reason == OPERATOR)
                .values(paused_at=None, pause_reason=None, probe_at=None, probes=0)
            )
            return int(probed.rowcount + freed.rowcount)

    def answered(self, upstream: str, key: str, *, now: float) -> None:
        """The key was taken: end its pause, where there is one and it is not the operator's."""
        paused = (*_is(upstream, key), *_REFUSED)
        with self._database.read() as connection:
            if connection.scalar(sa.select(upstream_keys.c.key).where(*paused)) is None:
                return
        with self._database.write() as connection:
            connection.execute(
                sa.update(upstream_keys)
                .where(*paused)
                .values(
                    paused_at=None, pause_reason=None, probe_at=None, probes=0, last_answer=None, last_answer_at=now
                )
            )

    def narrow(self, upstream: str, key: str, *, to: int, wait_s: float, now: float) -> None:
        """Note that a key is to be asked for `to` requests a minute, and for none within the next `wait_s`."""
        apart = _pace(to)[1]
        wait_until = now + min(wait_s, _LONGEST_DEBT_S) - apart
        with self._database.write() as connection:
            row = lock_key(connection, upstream, key)
            connection.execute(
                sa.update(upstream_keys)
                .where(*_is(upstream, key))
                .values(narrowed_to=to, narrowed_at=now, spent_until=max(row["spent_until"], wait_until))
            )

    def narrowed(self, *, since: float) -> Mapping[tuple[str, str], Narrowed]:
        """Return by upstream and key which were narrowed since then."""
        with self._database.read() as connection:
            rows = connection.execute(
                sa.select(
                    upstream_keys.c.upstream,
                    upstream_keys.c.key,
                    upstream_keys.c.narrowed_to,
                    upstream_keys.c.narrowed_at,
                ).where(upstream_keys.c.narrowed_at >= since)
            )
            return {(row.upstream, row.key): Narrowed(to=row.narrowed_to, at=row.narrowed_at) for row in rows}

    def take_requests(
        self, upstream: str, key: str, *, wanted: int, per_minute: int, now: float, owed: bool = False
    ) -> int:
        """Take up to `wanted` requests from the key's rate; returns how many may be made now.

        No minute holds more than `per_minute`, wherever it begins. `spent_until` is the instant up to which the rate is
        used up (the generic cell rate algorithm). A second's worth may follow each other at once, so that a tick is no
        bottleneck, and by as much the rest are further apart. With `owed` all are granted, and who comes later waits
        for them: of one such request at a time the limit is still kept.
        """
        if wanted <= 0:
            return 0
        burst, apart = _pace(per_minute)
        # Whoever comes every fifth of a second comes late; that is made up for, or it would cost a part of the rate.
        late = min(_TICK_S, apart / 2) if per_minute >= _FAST else 0.0
        with self._database.write() as connection:
            row = lock_key(connection, upstream, key)
            spent = max(row["spent_until"], now - apart * burst - late)
            if spent > now + _LONGEST_DEBT_S:
                spent = now
            # Seconds since 1970 in a double are good to a quarter of a microsecond, an interval may be milliseconds.
            granted = wanted if owed else max(0, min(wanted, int((now - spent) / apart + 1e-4)))
            if granted or spent == now:
                connection.execute(
                    sa.update(upstream_keys).where(*_is(upstream, key)).values(spent_until=spent + granted * apart)
                )
            return granted

    def next_request_at(self, upstream: str, key: str, *, per_minute: int, now: float) -> float:
        """Return when the key's rate grants the next request: `now`, or later where it is used up."""
        with self._database.read() as connection:
            spent = connection.scalar(sa.select(upstream_keys.c.spent_until).where(*_is(upstream, key)))
        free_at = (spent or 0.0) + _pace(per_minute)[1]
        return now if free_at > now + _LONGEST_DEBT_S else max(now, free_at)


def _pace(per_minute: int) -> tuple[int, float]:
    """How many requests may follow each other at once, and how many seconds the others are apart.

    Far enough that those, one that is owed and one that made up for its lateness fit into a minute with all the others.
    """
    burst = max(1, per_minute // 60)
    return burst, 60.0 / max(1, per_minute - burst - (per_minute >= _FAST))


def _paused(row: RowMapping, reason: str, answer: str, now: float) -> dict[str, object]:
    if reason == OPERATOR:
        return {"pause_reason": reason, "paused_at": row["paused_at"] or now, "probe_at": None}
    heard = {"last_answer": answer[:500], "last_answer_at": now}
    if row["pause_reason"] == OPERATOR:
        return heard
    first = {"paused_at": now, "probe_at": now + delay(PROBE_DELAYS_S, 0), "probes": 1}
    return {"pause_reason": reason, **heard, **(first if row["paused_at"] is None else {})}


def _is(upstream: str, key: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (upstream_keys.c.upstream == upstream, upstream_keys.c.key == key)
