"""The books at the end of a chaos run: what clients were told against database, upstream, bucket and receiver."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa

from gateway.db.tables import deliveries, history, jobs, metadata, objects, submissions, upstream_keys
from gateway.demo.simulator import Simulator
from tests.chaos.clients import Accepted, Book, Client
from tests.chaos.receiver import Seen
from tests.s3 import Store

_FINAL = ("completed", "failed", "cancelled")
_TYPES = {"completed": "video.completed", "failed": "video.failed", "cancelled": "video.cancelled"}
_SIGNED = re.compile(r"X-Amz-Signature=[0-9a-f]{8}")


@dataclass(kw_only=True, slots=True)
class Findings:
    """What does not balance, by kind, and what is only to be known."""

    lost: list[str] = field(default_factory=list)
    """Accepted, and not in the one final state that its story allows."""
    paid_twice: list[str] = field(default_factory=list)
    unowned: list[str] = field(default_factory=list)
    """Made upstream, and no submission of ours knows it, nor is its job one whose answer may be unknown."""
    callbacks_missing: list[str] = field(default_factory=list)
    callbacks_wrong: list[str] = field(default_factory=list)
    broken_objects: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    slots_held: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    answers_wrong: list[str] = field(default_factory=list)
    known: Counter[str] = field(default_factory=Counter)
    """Final states and their codes."""

    def wrong(self) -> Iterator[tuple[str, Sequence[str]]]:
        for name in self.__dataclass_fields__:
            found = getattr(self, name)
            if isinstance(found, list):
                yield name.replace("_", " "), found


class Audit:
    """Looks at everything once nothing moves any more."""

    def __init__(self, *, database_url: str, simulator: Simulator, store: Store, prefix: str, book: Book) -> None:
        self._engine = sa.create_engine(database_url, poolclass=sa.NullPool)
        self._simulator = simulator
        self._store = store
        self._prefix = prefix
        self._book = book
        self._accepted: Sequence[Accepted] = ()
        self.findings = Findings()

    def unsettled(self, *, leftovers: bool) -> dict[str, int]:
        """Return how much is still to be done, by kind; with `leftovers` the bucket's too."""
        slots = submissions.c.slot_released_at.is_(None)
        asked = {
            "unfinished videos": sa.select(sa.func.count()).where(jobs.c.status.not_in(_FINAL)),
            "pending deliveries": sa.select(sa.func.count()).where(deliveries.c.status == "pending"),
            "slots": sa.select(sa.func.count()).select_from(submissions).where(slots),
        }
        if leftovers:
            # A picture whose post never got through may lie for an hour; a swept key is looked at again after one.
            asked["leftovers"] = sa.select(sa.func.count()).where(
                objects.c.state != "kept", objects.c.sweeps == 0, objects.c.key.not_like("%/reference.%")
            )
        with self._engine.connect() as connection:
            counts = {name: int(connection.scalar(statement) or 0) for name, statement in asked.items()}
        return {name: count for name, count in counts.items() if count}

    def look(
        self,
        *,
        seen: Sequence[Seen],
        clients: Sequence[Client],
        url: str,
        logs: Sequence[Path],
        secrets: Mapping[str, str],
    ) -> Findings:
        """Return everything that was found."""
        self._accepted = self._book.accepted
        self.findings.answers_wrong += self._book.wrong
        rows = self._rows()
        self._finals(rows)
        self._payments(rows)
        self._callbacks(rows, seen)
        self._objects(rows)
        self._visible(rows, clients, url)
        self._secrets(logs, secrets)
        held = sa.select(submissions.c.job_id).where(submissions.c.slot_released_at.is_(None))
        with self._engine.connect() as connection:
            self.findings.slots_held += connection.scalars(held).all()
        return self.findings

    def _rows(self) -> dict[str, Any]:
        with self._engine.connect() as connection:
            return {row.id: row for row in connection.execute(sa.select(jobs))}

    def _finals(self, rows: Mapping[str, Any]) -> None:
        lost = self.findings.lost
        for one in self._accepted:
            row = rows.get(one.id)
            self.findings.known[f"{row.status} {row.error_code or ''}".strip() if row else "vanished"] += 1
            if row is None:
                lost.append(f"{one.id} is not in the database")
            elif (wrong := self._wrong_end(one, row)) is not None:
                lost.append(f"{one.id} {wrong}: {one.prompt} {self._story(one.id)}")
        for stranger in rows.keys() - {one.id for one in self._accepted}:
            lost.append(f"{stranger} was accepted by nobody's knowledge: {rows[stranger].prompt}")

    def _wrong_end(self, one: Accepted, row: Any) -> str | None:
        ends, plan = row.status, one.plan
        if ends == "completed" and plan.may_complete and not one.cancelled:
            return None
        if ends == "cancelled" and (one.cancelled or one.deleted):
            return None
        if ends == "failed" and row.error_code in plan.may_fail_as and not one.cancelled:
            return None
        if ends == "failed" and row.error_code == "submission_unknown" and "list_unanswered" in self._story(one.id):
            return None
        return f"is {ends} {row.error_code or ''}{self._waits_for(row) if ends not in _FINAL else ''}"

    def _waits_for(self, row: Any) -> str:
        """Tell why an unfinished video stands still: who has it, until when, what came of it, and how the keys are."""
        past = sa.select(history.c.at, history.c.event, history.c.detail).where(history.c.job_id == row.id)
        with self._engine.connect() as connection:
            keys = [dict(state) for state in connection.execute(sa.select(upstream_keys)).mappings()]
            story = [tuple(event) for event in connection.execute(past.order_by(history.c.id))]
        return (
            f"(due at {row.due_at}, claimed by {row.claimed_by} at {row.claimed_at}, now {time.time()}, "
            f"keys {keys}, story {story})"
        )

    def _story(self, video_id: str) -> list[str]:
        told = sa.select(history.c.event).where(history.c.job_id == video_id).order_by(history.c.id)
        with self._engine.connect() as connection:
            return list(connection.scalars(told))

    def _payments(self, rows: Mapping[str, Any]) -> None:
        made: dict[str, list[str]] = defaultdict(list)
        for entry in self._simulator.books().videos:
            made[entry.prompt].append(entry.id)
        id_of = {one.prompt: one.id for one in self._accepted}
        with self._engine.connect() as connection:
            owned = set(connection.scalars(sa.select(submissions.c.upstream_job_id)))
        for prompt, ids in made.items():
            video_id = id_of.get(prompt, "")
            if len(ids) > 1:
                self.findings.paid_twice.append(f"{video_id} {prompt}: {ids} {self._story(video_id)}")
            row = rows.get(video_id)
            excused = row is not None and (row.status == "cancelled" or row.error_code == "submission_unknown")
            if not excused and not owned.issuperset(ids):
                self.findings.unowned.append(f"{video_id} {prompt}: {ids} {self._story(video_id)}")
        self.findings.known["made upstream"] = sum(map(len, made.values()))

    def _callbacks(self, rows: Mapping[str, Any], seen: Sequence[Seen]) -> None:
        came: dict[str, list[Seen]] = defaultdict(list)
        for callback in seen:
            came[callback.video_id].append(callback)
        self.findings.known["callbacks"] = len(seen)
        for one in self._accepted:
            mine = came.pop(one.id, [])
            row = rows.get(one.id)
            wanted = _TYPES.get(row.status) if row is not None and one.events and not one.deleted else None
            # One that was refused has not arrived: it has to come again.
            if wanted is not None and wanted not in {callback.type for callback in mine if callback.answered == 200}:
                self.findings.callbacks_missing.append(f"{one.id} {wanted}: {self._deliveries(one.id)}")
            self.findings.callbacks_wrong += self._wrong_callbacks(one, row, mine)
        self.findings.callbacks_wrong += [f"of nobody's video: {video_id}" for video_id in came]

    def _wrong_callbacks(self, one: Accepted, row: Any, mine: Sequence[Seen]) -> Iterator[str]:
        if len({callback.webhook_id for callback in mine}) > 1:
            yield f"{one.id} has several webhook-ids"
        for callback in mine:
            # Whoever deletes a video may find the link of a callback dead that was on its way.
            if callback.problem and not (one.deleted and "its link" in callback.problem):
                yield f"{one.id} {callback.problem}"
            if row is not None and callback.type != _TYPES.get(row.status):
                yield f"{one.id} is {row.status} but was told of as {callback.type}"
            if callback.type != _TYPES.get(callback.status):
                yield f"{one.id} {callback.type} says {callback.status}"

    def _deliveries(self, video_id: str) -> str:
        told = sa.select(deliveries.c.status, deliveries.c.attempts, deliveries.c.tries).where(
            deliveries.c.job_id == video_id
        )
        with self._engine.connect() as connection:
            return str([tuple(row) for row in connection.execute(told)])

    def _objects(self, rows: Mapping[str, Any]) -> None:
        client = self._store.client()
        # Before the bucket is listed: the sweep goes on, and what it removes meanwhile was to be removed.
        swept_soon = sa.select(objects.c.key).where(objects.c.state != "kept", objects.c.sweeps == 0)
        with self._engine.connect() as connection:
            due = set(connection.scalars(swept_soon))
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self._store.bucket, Prefix=f"{self._prefix}/")
        there = {
            str(entry["Key"]).removeprefix(f"{self._prefix}/") for page in pages for entry in page.get("Contents", [])
        }
        kept = {row.object_key: row for row in rows.values() if row.object_key and row.removed_at is None}
        for key, row in kept.items():
            if key not in there:
                self.findings.broken_objects.append(f"{row.id} has no object {key}")
                continue
            body = client.get_object(Bucket=self._store.bucket, Key=f"{self._prefix}/{key}")["Body"].read()
            film = self._simulator.content_of(row.upstream_job_id)
            found = hashlib.sha256(body).hexdigest()
            if film is None or not found == film.sha256() == row.object_sha256:
                self.findings.broken_objects.append(f"{row.id} is not what was made")
        beside = self._beside(rows, client)
        self.findings.known["whole objects"] = len(kept) - len(self.findings.broken_objects)
        self.findings.known["objects still to be swept"] = len(there & due)
        self.findings.leftovers += sorted(there - kept.keys() - beside - due)

    def _beside(self, rows: Mapping[str, Any], client: Any) -> set[str]:
        """The keys of what lies beside the videos, each of which is looked at."""
        there = [row.variants for row in rows.values() if row.variants and row.removed_at is None]
        keys = {one["object_key"]: one["sha256"] for variants in there for one in variants.values()}
        for key, sha256 in keys.items():
            body = client.get_object(Bucket=self._store.bucket, Key=f"{self._prefix}/{key}")["Body"].read()
            if hashlib.sha256(body).hexdigest() != sha256:
                self.findings.broken_objects.append(f"{key} is not what was stored")
        return set(keys)

    def _visible(self, rows: Mapping[str, Any], clients: Sequence[Client], url: str) -> None:
        for client in clients:
            shown = dict(_listed(client, url))
            told = {one.id: rows[one.id].status for one in self._accepted
                    if one.client is client and not one.deleted and one.id in rows}  # fmt: skip
            if shown != told:
                differing = sorted(shown.items() ^ told.items())
                self.findings.answers_wrong.append(f"{client.name} is shown other videos: {differing[:6]}")

    def _secrets(self, logs: Sequence[Path], secrets: Mapping[str, str]) -> None:
        for log in logs:
            self._search(log.name, log.read_text(errors="replace"), secrets)
        with self._engine.connect() as connection:
            for table in metadata.sorted_tables:
                text = "\n".join(str(tuple(row)) for row in connection.execute(sa.select(table)))
                self._search(f"table {table.name}", text, secrets)

    def _search(self, where: str, text: str, secrets: Mapping[str, str]) -> None:
        found = [kind for kind, secret in secrets.items() if secret in text]
        if _SIGNED.search(text):
            found.append("presigned link")
        self.findings.secrets += [f"{kind} in {where}" for kind in found]


def _listed(client: Client, url: str) -> Iterator[tuple[str, str]]:
    after: dict[str, str] = {}
    with requests.Session() as http:
        http.trust_env = False
        http.headers["Authorization"] = f"Bearer {client.key}"
        while True:
            page = http.get(f"{url}/v1/videos", params={"limit": "100", **after}, timeout=30).json()
            for video in page["data"]:
                yield video["id"], video["status"]
            if not page["has_more"]:
                return
            after = {"after": page["last_id"]}
