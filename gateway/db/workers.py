"""Workers: their heartbeats, the locks that prove them alive, and what the dead held."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from gateway.db.conditions import is_pending
from gateway.db.engine import Database, insert, translated
from gateway.db.tables import deliveries, jobs, submissions, workers
from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Status

_WATCH_GAP_S = 5.0
"""Whoever did not look for so long (the database was away, this machine slept) cannot tell who was silent meanwhile."""


class SqlWorkers:
    """Who is alive. A beat says so; a lock that ends with the process proves the contrary when it is free."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._proof: _FileProof | _SessionProof = (
            _FileProof(Path(f"{database.path}.workers")) if database.sqlite else _SessionProof(database)
        )
        self._watched_since: float | None = None
        self._looked_at = 0.0

    def join(self, worker: str, *, now: float) -> None:
        """Enter a worker, and take the lock that proves it alive."""
        self._proof.hold(worker)
        self._enter(worker, now)

    def beat(self, worker: str, *, now: float) -> None:
        """Give a sign of life; entered again where another worker took this one for dead meanwhile."""
        # The sign first: where the lock can't be had back yet, being heard is what keeps this worker from being buried.
        self._enter(worker, now)
        self._proof.hold(worker)

    def _enter(self, worker: str, now: float) -> None:
        with self._database.write() as connection:
            connection.execute(
                insert(connection, workers)
                .values(id=worker, started_at=now, beat_at=now)
                .on_conflict_do_update(index_elements=["id"], set_={"beat_at": now})
            )

    def bury(self, *, silent_since: float, poll_lease_s: float, now: float) -> int:
        """Release the claims of workers without a beat since then; of `submitting` only where the owner is proven dead.

        Called every few seconds: silence only counts over a time that was watched throughout. After an outage of the
        database all were silent, and all are alive.
        """
        watched = self._watched_throughout(silent_since, now)
        with self._database.read() as connection:
            known = connection.execute(sa.select(workers.c.id, workers.c.beat_at)).all()
        return sum(
            self._bury(
                row.id, row.beat_at, silent=watched and row.beat_at < silent_since, lease_s=poll_lease_s, now=now
            )
            for row in known
        )

    def _watched_throughout(self, since: float, now: float) -> bool:
        if self._watched_since is None or now - self._looked_at > _WATCH_GAP_S:
            self._watched_since = now
        self._looked_at = now
        return self._watched_since <= since

    def _bury(self, worker: str, beat_at: float, *, silent: bool, lease_s: float, now: float) -> bool:
        dead = self._proof.shows_dead(worker, silent=silent)
        if not (dead or silent):
            return False
        with self._database.write() as connection:
            same = sa.select(workers.c.id).where(workers.c.id == worker, workers.c.beat_at == beat_at)
            # One buries at a time, and nobody who has given a sign since.
            if connection.scalar(same.with_for_update(skip_locked=True)) is None:
                return False
            _release(
                connection,
                worker,
                beat_at,
                dead=dead,
                proof_closes=self._proof.closes_sockets,
                poll_lease_s=lease_s,
                now=now,
            )
        if dead:
            self._proof.forget(worker)
        return True

    def leave(self, worker: str, *, now: float) -> None:
        """End a worker in good order: nothing of it is under way any more.

        What it claimed and could not write down, since the database was away, is due at once: nobody buries who left.
        """
        with self._database.write() as connection:
            # Its polls are done, and their `due_at` is each video's own clock.
            _release(connection, worker, now, dead=True, proof_closes=True, poll_lease_s=0.0, now=now)
        self._proof.let_go(worker)


def _release(
    connection: Connection,
    worker: str,
    beat_at: float,
    *,
    dead: bool,
    proof_closes: bool,
    poll_lease_s: float,
    now: float,
) -> None:
    """Make due at once what a silent worker had in hand.

    Of `rendering` only what it claimed within the time a poll can last: older claims are polls long done, whose
    `due_at` is the video's own clock. A slow submitter is not a dead one, so `submitting` needs the proof.
    """
    statuses = [Status.QUEUED.value, Status.STORING.value, *([Status.SUBMITTING.value] if dead else [])]
    in_hand = sa.or_(
        jobs.c.status.in_(statuses),
        sa.and_(jobs.c.status == Status.RENDERING.value, jobs.c.claimed_at >= beat_at - poll_lease_s),
    )
    # The end of a database session does not close the sockets of its process, whose own deadline does so later.
    closed = {row.id: now if proof_closes else max(now, row.due_at) for row in _submitting(connection, worker)}
    released = connection.execute(
        sa.update(jobs)
        .where(jobs.c.claimed_by == worker, in_hand)
        .values(due_at=now, claimed_by=None, claim_token=jobs.c.claim_token + 1)
        .returning(jobs.c.id, jobs.c.status)
    )
    submitting = [row.id for row in released if row.status == Status.SUBMITTING.value]
    if submitting:
        # From then on the proof of absence may count.
        for job_id in submitting:
            unclosed = (submissions.c.job_id == job_id, submissions.c.closed_at.is_(None))
            connection.execute(sa.update(submissions).where(*unclosed).values(closed_at=closed[job_id]))
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.claimed_by == worker, is_pending())
        .values(due_at=now, claimed_by=None, claim_token=deliveries.c.claim_token + 1)
    )
    if dead:
        connection.execute(sa.delete(workers).where(workers.c.id == worker))


def _submitting(connection: Connection, worker: str) -> Sequence[sa.Row[Any, Any]]:
    in_hand = sa.select(jobs.c.id, jobs.c.due_at).where(
        jobs.c.claimed_by == worker, jobs.c.status == Status.SUBMITTING.value
    )
    return list(connection.execute(in_hand.with_for_update()))


class _FileProof:
    """Locks on files beside a SQLite database: the kernel lets them go with the process, however it ends."""

    closes_sockets = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    def hold(self, worker: str) -> None:
        if worker in self._held:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path(worker), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._held[worker] = descriptor

    def shows_dead(self, worker: str, *, silent: bool) -> bool:
        """Whether the lock is free. It proves death by itself; where its file is gone, only silence does."""
        if worker in self._held:
            return False
        try:
            descriptor = os.open(self._path(worker), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return silent
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def forget(self, worker: str) -> None:
        """Remove what a dead worker left."""
        self._path(worker).unlink(missing_ok=True)

    def let_go(self, worker: str) -> None:
        descriptor = self._held.pop(worker, None)
        if descriptor is not None:
            self.forget(worker)
            os.close(descriptor)

    def _path(self, worker: str) -> Path:
        return self._folder / f"{worker}.lock"


class _SessionProof:
    """Advisory locks held by one session of each worker: PostgreSQL lets them go when the connection ends."""

    closes_sockets = False

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[str, Connection] = {}
        self._guard = threading.Lock()

    def hold(self, worker: str) -> None:
        with self._guard, translated():
            session = self._held.get(worker)
            if session is not None and _still_open(session):
                return
            self._held.pop(worker, None)
            # Kept out of the pool for as long as the worker lives: its end is the message.
            session = self._database.engine.connect()
            if not session.scalar(sa.select(sa.func.pg_try_advisory_lock(_lock_number(worker)))):
                session.close()
                # Perhaps by this worker's own lost connection, of which the server has not heard yet.
                raise Unavailable("The lock of this worker is held.", code="unavailable")
            self._held[worker] = session

    def shows_dead(self, worker: str, *, silent: bool) -> bool:
        """Whether the lock is free and its owner silent: a connection that merely broke frees it for a moment, too."""
        if not silent or worker in self._held:
            return False
        # Shared with others who look: two of them must not take each other for the owner.
        with self._database.write() as connection:
            return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock_shared(_lock_number(worker)))))

    def forget(self, worker: str) -> None:
        """Nothing is left of a session that ended."""

    def let_go(self, worker: str) -> None:
        with self._guard:
            session = self._held.pop(worker, None)
            if session is None:
                return
            with suppress(SQLAlchemyError):
                session.scalar(sa.select(sa.func.pg_advisory_unlock(_lock_number(worker))))
            _end(session)


def _still_open(session: Connection) -> bool:
    try:
        session.scalar(sa.select(1))
    except SQLAlchemyError:
        _end(session)
        return False
    return True


def _end(session: Connection) -> None:
    # Not given back to the pool: the lock would live on there.
    with suppress(SQLAlchemyError):
        session.invalidate()
        session.close()


def _lock_number(worker: str) -> int:
    return int.from_bytes(hashlib.sha256(worker.encode()).digest()[:8], "big", signed=True)
