"""What the simulator knows: its videos, its books and how far its faults were counted."""

from __future__ import annotations

import base64
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING

from gateway.demo.simulator.books import Books, Entry, Submission
from gateway.demo.simulator.language import in_prompt, parse, trait
from gateway.demo.simulator.strikes import SERVER, Strikes
from gateway.demo.simulator.video import Video

if TYPE_CHECKING:
    from gateway.clock import Clock
    from gateway.demo.simulator.faults import Fault, Stage
    from gateway.demo.simulator.films import Films
    from gateway.demo.simulator.journal import Journal
    from gateway.demo.simulator.protocol import Order, Seen
    from gateway.demo.simulator.settings import SimulatorSettings


class Ledger:
    """Everything that changes, behind one lock; whoever waits for a change is woken."""

    def __init__(self, *, settings: SimulatorSettings, journal: Journal, wall: Clock, monotonic: Clock) -> None:
        self._settings = settings
        self._journal = journal
        self._wall = wall
        self._monotonic = monotonic
        self._changed = threading.Condition(threading.RLock())
        self._videos: dict[str, Video] = {}
        self._submissions: list[Submission] = []
        self._counts: Counter[str] = Counter()
        self._strikes = Strikes(journal=journal)
        self._most: dict[str, int] = {}
        self._server_plan: tuple[Fault, ...] = tuple(parse(word) for word in settings.faults)
        self._habits: tuple[Fault, ...] = ()
        self.holding: Callable[[], Sequence[str]] = tuple
        self._restore()

    # -- videos ----------------------------------------------------------------------------------------------------

    def adopt(self, *, films: Films, habits: Sequence[str]) -> None:
        """Give every video the dialect's own faults, and the films the pictures that an earlier run kept."""
        self._habits = tuple(parse(word) for word in habits)
        for name, entry in self._journal.all("picture"):
            films.restore_picture(name, base64.b64decode(entry["jpeg"]))

    def keep_picture(self, films: Films, picture: bytes, size: str) -> str:
        """Keep a reference picture for the film; return its SHA-256."""
        name, kept = films.keep_picture(picture, size)
        with self._changed:
            self._journal.put("picture", name, {"jpeg": base64.b64encode(kept).decode()})
        return name

    def accept(self, order: Order, *, owner: str, video_id: str, picture: str) -> Video | None:
        """Make a video, or return None where the key has as many in progress as it may."""
        with self._change():
            limit = self._settings.max_concurrent
            running = self._running(owner)
            if limit and running >= limit:
                self._counts["refused_concurrency"] += 1
                return None
            video = self._new(order, owner=owner, video_id=video_id, picture=picture)
            self._videos[video_id] = video
            self._most[owner] = max(running + 1, self._most.get(owner, 0))
            self._counts["accepted"] += 1
            self._save(video)
            return video

    def find(self, video_id: str, owner: str) -> Video | None:
        """Return the video of that key, unless it was deleted."""
        video = self._videos.get(video_id)
        return video if video and video.owner == owner and video.deleted_at is None else None

    def any(self, video_id: str) -> Video | None:
        """Return the video of whatever key, deleted or not."""
        return self._videos.get(video_id)

    def length_of(self, video: Video) -> int | None:
        """Return how many bytes its content shall have."""
        own = trait("bytes", self.plan_of(video))
        return int(own.number) if own else self._settings.video_bytes

    def listed(self, owner: str) -> list[Video]:
        """Return the videos of that key that its list shows, the newest first."""
        now = self._wall()
        with self._changed:
            mine = [video for video in self._videos.values() if video.owner == owner and video.deleted_at is None]
        return [video for video in reversed(mine) if not self._hidden(video, now)]

    def seen(self, video: Video) -> Seen:
        """Return what the video looks like now."""
        plan = self.plan_of(video)
        return video.seen(monotonic=self._monotonic(), ttl_s=self._settings.content_ttl_s, plan=plan)

    def delete(self, video: Video) -> None:
        """Delete the video; one in progress is cancelled and gives its slot back."""
        with self._change():
            video.cancelled = self._in_progress(video)
            video.deleted_at = self._wall()
            self._counts["deletes"] += 1
            self._counts["cancels"] += video.cancelled
            self._save(video)

    def render(self, video_id: str | None, progress: float) -> int:
        """Bring one video, or all in progress, to that many percent; return how many that were."""
        with self._change():
            chosen = [video for video in self._videos.values() if video_id in {None, video.id}]
            chosen = [video for video in chosen if self._in_progress(video)]
            for video in chosen:
                video.forced = max(video.forced, progress / 100)
                video.finished_at = self._wall() if video.forced >= 1 else None
                self._save(video)
            return len(chosen)

    def tally(self, video: Video, *, polls: int = 0, contents: int = 0, variants: int = 0, downloads: int = 0) -> None:
        """Count what a video was asked for."""
        with self._change():
            video.polls += polls
            video.content_requests += contents
            video.downloads += downloads
            self._counts.update(polls=polls, contents=contents, variants=variants, downloads=downloads)
            self._save(video)

    # -- faults ----------------------------------------------------------------------------------------------------

    def own_plan(self, video: Video) -> Sequence[Fault]:
        """Return the faults of a video and of its dialect."""
        return (*video.plan, *self._habits)

    def plan_of(self, video: Video) -> Sequence[Fault]:
        """Return all faults that a video meets, those of the server last."""
        return (*video.plan, *self._habits, *self._server_plan)

    def faults_in(self, prompt: str) -> Sequence[Fault]:
        """Return the faults that a prompt, or else the dialect, asks for."""
        return (*in_prompt(prompt), *self._habits)

    def server_trait(self, name: str) -> Fault | None:
        """Return a lasting fault of the whole server."""
        return trait(name, self._server_plan)

    def set_faults(self, words: Sequence[str]) -> None:
        """Replace the faults of the server, all uncounted. Raises FaultError and then changes nothing."""
        plan = tuple(parse(word) for word in words)
        with self._change():
            self._server_plan = plan
            self._strikes.forget(SERVER)

    def strike(self, stage: Stage, *, scope: str, plan: Sequence[Fault]) -> Fault | None:
        """Count a request of that stage and return the fault that it meets, if any: its own before the server's."""
        with self._change():
            own = self._strikes.next(stage, scope=scope, plan=plan)
            fault = own or self._strikes.next(stage, scope=SERVER, plan=self._server_plan)
            self._counts["faults"] += fault is not None
            return fault

    # -- books -----------------------------------------------------------------------------------------------------

    def submission(self, *, key: str, prompt: str, idempotency_key: str) -> Submission:
        """Note a POST that came in."""
        with self._change():
            number = len(self._submissions) + 1
            note = Submission(
                number=number,
                key=key,
                prompt=prompt,
                received_at=self._wall(),
                idempotency_key=idempotency_key,
            )
            self._submissions.append(note)
            self._counts["submissions"] += 1
            return note

    def answered(self, note: Submission) -> None:
        """Keep what became of a POST."""
        with self._change():
            self._journal.put("submission", str(note.number), asdict(note))

    def count(self, name: str) -> None:
        """Count something that happened."""
        with self._change():
            self._counts[name] += 1

    def held(self, *, more: bool) -> None:
        """Note that an answer is held back, or no more."""
        with self._change():
            self._counts["held"] += more

    def books(self) -> Books:
        """Return the books as of now."""
        with self._changed:
            return self._whole(self._books())

    def wait_for(self, wanted: Callable[[Books], bool], timeout_s: float) -> Books | None:
        """Wait until the books are as wanted and return them; None where they did not become so in time."""
        with self._changed:
            met = self._changed.wait_for(lambda: wanted(self._books()), timeout_s)
            return self._whole(self._books()) if met else None

    # -- the inside ------------------------------------------------------------------------------------------------

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._changed:
            yield
            self._changed.notify_all()

    def _books(self) -> Books:
        return Books(
            counts={name: count for name, count in self._counts.items() if count},
            holding=list(self.holding()),
            most_in_progress=dict(self._most),
            submissions=lambda: [replace(note) for note in self._submissions],
            videos=lambda: [self._entry(video) for video in self._videos.values()],
        )

    def _whole(self, books: Books) -> Books:
        """Return the books with their lists made, while the lock is held and nothing moves."""
        _ = books.submissions, books.videos
        return books

    def _running(self, owner: str) -> int:
        return sum(video.owner == owner and self._in_progress(video) for video in self._videos.values())

    def _in_progress(self, video: Video) -> bool:
        """Return whether it holds one of its key's slots."""
        if video.deleted_at is not None:
            return False
        return video.made(self._monotonic()) < 1 or trait("stuck", self.plan_of(video)) is not None

    def _hidden(self, video: Video, now: float) -> bool:
        plan = self.plan_of(video)
        lag = trait("list-lag", plan)
        return trait("list-hide", plan) is not None or (lag is not None and now < video.created_at + lag.number)

    def _new(self, order: Order, *, owner: str, video_id: str, picture: str) -> Video:
        plan = in_prompt(order.prompt)
        render = trait("render", plan, self._server_plan)
        return Video(
            id=video_id,
            number=len(self._videos) + 1,
            owner=owner,
            model=order.model,
            prompt=order.prompt,
            size=order.size,
            seconds=order.seconds,
            created_at=self._wall(),
            began=self._monotonic(),
            render_s=render.number if render else self._settings.render_s,
            picture=picture,
            remixed_from=order.remixed_from,
            plan=plan,
        )

    def _entry(self, video: Video) -> Entry:
        seen = self.seen(video)
        kept = {field.name: getattr(video, field.name) for field in fields(video)}
        shown = {name: kept[name] for name in Entry.__dataclass_fields__ if name in kept}
        deleted = video.deleted_at is not None
        return Entry(**shown, key=video.owner, status=seen.status, progress=seen.progress, deleted=deleted)

    def _save(self, video: Video) -> None:
        entry = {field.name: getattr(video, field.name) for field in fields(video) if field.name != "plan"}
        self._journal.put("video", video.id, entry)

    def _restore(self) -> None:
        """Take up what an earlier simulator left in the journal; time went on meanwhile."""
        for _, entry in self._journal.all("video"):
            video = Video(**entry, plan=in_prompt(entry["prompt"]))
            video.began = self._monotonic() - (self._wall() - video.created_at)
            self._videos[video.id] = video
        self._videos = dict(sorted(self._videos.items(), key=lambda item: item[1].number))
        for _, entry in self._journal.all("submission"):
            self._submissions.append(Submission(**entry))
        self._submissions.sort(key=lambda note: note.number)
        self._counts.update(submissions=len(self._submissions), accepted=len(self._videos))
