"""Workers: their heartbeats, the locks that prove them alive, and what the dead held."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gateway.db.engine import Database
from gateway.db.tables import deliveries, jobs, submissions, workers
from gateway.jobs.errors import Unavailable
from gateway.jobs.job import Status


class SqlWorkers:
    """Who is alive. A beat says so; a lock that ends with the process proves the contrary when it is free."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._proof = _file_proof(database) if database.sqlite else _SessionProof(database)

    def join(self, worker: str, *, now: float) -> None:
        """Enter a worker, and take the lock that proves it alive."""
        self._proof.hold(worker)
        with self._database.write() as connection:
            connection.execute(sa.insert(workers).values(id=worker, started_at=now, beat_at=now))

    def beat(self, worker: str, *, now: float) -> None:
        """Give a sign of life; entered again where another worker took this one for dead meanwhile."""
        self._proof.hold(worker)
        with self._database.write() as connection:
            done = connection.execute(sa.update(workers).where(workers.c.id == worker).values(beat_at=now))
            if done.rowcount == 0:
                connection.execute(sa.insert(workers).values(id=worker, started_at=now, beat_at=now))

    def bury(self, *, silent_since: float, poll_lease_s: float, now: float) -> int:
        """Release the claims of workers without a beat since then; of `submitting` only where the owner is proven dead."""
        with self._database.read() as connection:
            known = connection.execute(sa.select(workers.c.id, workers.c.beat_at)).all()
        buried = 0
        for row in known:
            silent = row.beat_at < silent_since
            # A session lock is also free for a moment when the connection broke, so there silence must join it.
            dead = (silent or self._proof.certain) and self._proof.is_free(row.id)
            if dead or silent:
                with self._database.write() as connection:
                    _release(connection, row.id, row.beat_at, dead=dead, poll_lease_s=poll_lease_s, now=now)
                buried += 1
        return buried

    def leave(self, worker: str) -> None:
        """End a worker in good order: it has finished or released what it held."""
        with self._database.write() as connection:
            connection.execute(sa.delete(workers).where(workers.c.id == worker))
        self._proof.let_go(worker)


def _release(
    connection: Connection, worker: str, beat_at: float, *, dead: bool, poll_lease_s: float, now: float
) -> None:
    """Make due at once what a silent worker had in hand.

    Of `rendering` only what it claimed within the time a poll can last: older claims are polls long done, whose
    `due_at` is the video's own clock. A slow submitter is not a dead one, so `submitting` needs the proof.
    """
    statuses = [Status.QUEUED.value, Status.STORING.value]
    if dead:
        statuses.append(Status.SUBMITTING.value)
        # Its sockets closed with it: from here on the proof of absence may count.
        open_ones = sa.select(jobs.c.id).where(jobs.c.claimed_by == worker, jobs.c.status == Status.SUBMITTING.value)
        connection.execute(
            sa.update(submissions)
            .where(submissions.c.job_id.in_(open_ones), submissions.c.closed_at.is_(None))
            .values(closed_at=now)
        )
    in_hand = sa.or_(
        jobs.c.status.in_(statuses),
        sa.and_(jobs.c.status == Status.RENDERING.value, jobs.c.claimed_at >= beat_at - poll_lease_s),
    )
    connection.execute(
        sa.update(jobs)
        .where(jobs.c.claimed_by == worker, in_hand)
        .values(due_at=now, claimed_by=None, claim_token=jobs.c.claim_token + 1)
    )
    connection.execute(
        sa.update(deliveries)
        .where(deliveries.c.claimed_by == worker, deliveries.c.status == "pending")
        .values(due_at=now, claimed_by=None, claim_token=deliveries.c.claim_token + 1)
    )
    if dead:
        connection.execute(sa.delete(workers).where(workers.c.id == worker))


class _FileProof:
    """Locks on files beside a SQLite database: the kernel lets them go with the process, however it ends."""

    certain = True

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

    def is_free(self, worker: str) -> bool:
        if worker in self._held:
            return False
        try:
            descriptor = os.open(self._path(worker), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            with suppress(FileNotFoundError):
                self._path(worker).unlink()
            return True
        finally:
            os.close(descriptor)

    def let_go(self, worker: str) -> None:
        descriptor = self._held.pop(worker, None)
        if descriptor is not None:
            with suppress(FileNotFoundError):
                self._path(worker).unlink()
            os.close(descriptor)

    def _path(self, worker: str) -> Path:
        return self._folder / f"{worker}.lock"


class _SessionProof:
    """Advisory locks held by one session of each worker: PostgreSQL lets them go when the connection ends."""

    certain = False

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[str, Connection] = {}
        self._guard = threading.Lock()

    def hold(self, worker: str) -> None:
        with self._guard:
            session = self._held.get(worker)
            if session is not None and self._still_open(session):
                return
            # A session of its own, outside the pool's care: its end is the message.
            session = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            if not session.scalar(sa.select(sa.func.pg_try_advisory_lock(_lock_number(worker)))):
                session.close()
                message = "The lock of this worker is held by somebody else."
                raise Unavailable(message, code="unavailable")
            self._held[worker] = session

    @staticmethod
    def _still_open(session: Connection) -> bool:
        try:
            session.scalar(sa.text("SELECT 1"))
        except sa.exc.SQLAlchemyError:
            with suppress(sa.exc.SQLAlchemyError):
                session.invalidate()
                session.close()
            return False
        return True

    def is_free(self, worker: str) -> bool:
        if worker in self._held:
            return False
        with self._database.write() as connection:
            return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_lock_number(worker)))))

    def let_go(self, worker: str) -> None:
        with self._guard:
            session = self._held.pop(worker, None)
            if session is not None:
                with suppress(sa.exc.SQLAlchemyError):
                    session.invalidate()
                    session.close()


def _file_proof(database: Database) -> _FileProof:
    path = database.path
    return _FileProof(Path(f"{path}.workers"))


def _lock_number(worker: str) -> int:
    return int.from_bytes(hashlib.sha256(worker.encode()).digest()[:8], "big", signed=True)
