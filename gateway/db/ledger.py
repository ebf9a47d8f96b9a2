"""The ledger of objects: each is noted before its first byte, so what no job names is known without a listing."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from gateway.db.engine import Database, insert
from gateway.db.record import discard
from gateway.db.rows import job_of
from gateway.db.tables import jobs, objects
from gateway.jobs.ports import Leftover

_SECOND_SWEEP_S = 3600.0
"""A presigned upload that was under way when its object was removed has landed or died by then."""


class SqlLedger:
    """Objects being written, kept, or to be swept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, key: str, *, until: float, now: float) -> None:
        """Note an object about to be written; not named by a job at `until`, it is garbage."""
        with self._database.write() as connection:
            # A commit can succeed although its answer is lost; whoever then repeats it means the same object.
            connection.execute(
                insert(connection, objects)
                .values(key=key, state="writing", due_at=until, created_at=now)
                .on_conflict_do_update(
                    index_elements=["key"], set_={"due_at": until}, where=objects.c.state == "writing"
                )
            )

    def extend(self, key: str, *, until: float) -> bool:
        """The writing goes on; False where the sweep has taken it."""
        with self._database.write() as connection:
            mine = (objects.c.key == key, objects.c.state == "writing")
            return connection.execute(sa.update(objects).where(*mine).values(due_at=until)).rowcount == 1

    def discard(self, key: str, *, now: float) -> None:
        """The try is lost: sweep it. What a job names already is left alone.

        A commit can succeed although its answer is lost; whoever then believes to have lost must not remove the video.
        """
        lost = sa.update(objects).where(objects.c.key == key, objects.c.state == "writing")
        with self._database.write() as connection:
            connection.execute(lost.values(state="garbage", due_at=now))

    def leftovers(self, *, limit: int, lease_s: float, now: float) -> Sequence[Leftover]:
        """Claim objects to be removed. From here on no writer can keep them any more."""
        # Spelled out for PostgreSQL, which else expects a third of all objects to be due and reads from the start.
        due = sa.and_(objects.c.due_at.is_not(None), objects.c.due_at <= now)
        with self._database.read() as connection:
            if connection.scalar(sa.select(objects.c.key).where(due).limit(1)) is None:
                return []
        picked = (
            sa.select(objects.c.key)
            .where(due)
            .order_by(objects.c.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("picked")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        claim = (
            sa.update(objects)
            .where(objects.c.key.in_(sa.select(picked.c.key)))
            .values(state="garbage", due_at=now + lease_s)
            .returning(objects.c.key, objects.c.sweeps)
        )
        with self._database.write() as connection:
            return [Leftover(key=row.key, sweeps=row.sweeps) for row in connection.execute(claim)]

    def swept(self, leftover: Leftover, *, now: float) -> None:
        """It was removed; looked at once more later, since an upload under way may land after its removal."""
        # Handed in again meanwhile, it is due two more looks.
        mine = sa.and_(objects.c.key == leftover.key, objects.c.state == "garbage", objects.c.sweeps == leftover.sweeps)
        with self._database.write() as connection:
            if leftover.sweeps:
                connection.execute(sa.delete(objects).where(mine))
            else:
                connection.execute(sa.update(objects).where(mine).values(sweeps=1, due_at=now + _SECOND_SWEEP_S))

    def retire(self, *, before: float, limit: int, now: float) -> int:
        """Hand the objects of videos that finished before an instant to the sweep and forget their prompts."""
        old = (jobs.c.finished_at < before, jobs.c.finished_at.is_not(None), jobs.c.removed_at.is_(None))
        with self._database.read() as connection:
            if connection.scalar(sa.select(jobs.c.id).where(*old).limit(1)) is None:
                return 0
        with self._database.write() as connection:
            rows = connection.execute(
                sa.select(jobs).where(*old).order_by(jobs.c.finished_at).limit(limit).with_for_update(skip_locked=True)
            ).mappings()
            retired = [job_of(row) for row in rows]
            for job in retired:
                connection.execute(
                    sa.update(jobs)
                    .where(jobs.c.id == job.id)
                    .values(removed_at=now, prompt=None, reference=None, version=jobs.c.version + 1)
                )
                for key in job.objects:
                    discard(connection, key, now)
            return len(retired)
