"""The simulator's books: what it was asked for and what it did, for tests to audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property


@dataclass(kw_only=True, slots=True)
class Submission:
    """One POST that arrived whole and with a good key, whatever became of it."""

    number: int
    key: str
    prompt: str
    received_at: float
    idempotency_key: str = ""
    video_id: str | None = None
    """The video that was made of it, even where the answer said otherwise."""
    answer: str = "pending"
    """The status that was answered, or `dropped` for a connection that was ended."""
    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One video that was made, and paid for."""

    id: str
    key: str
    model: str
    prompt: str
    size: str
    seconds: int
    picture: str
    remixed_from: str | None
    created_at: float
    status: str
    progress: int
    cancelled: bool
    deleted: bool
    polls: int
    content_requests: int
    downloads: int


class Books:
    """All of it at one moment, the oldest first. The long lists are made only when they are looked at."""

    def __init__(
        self,
        *,
        counts: Mapping[str, int],
        holding: Sequence[str],
        most_in_progress: Mapping[str, int],
        submissions: Callable[[], Sequence[Submission]],
        videos: Callable[[], Sequence[Entry]],
    ) -> None:
        self.counts = counts
        """How often what happened since the start; a name that never did is absent. `COUNTED` explains the names."""
        self.holding = holding
        """The stage of every answer that is held back now."""
        self.most_in_progress = most_in_progress
        """Per key, the most videos that were ever in progress at once."""
        self._submissions = submissions
        self._videos = videos

    @cached_property
    def submissions(self) -> Sequence[Submission]:
        """Every POST."""
        return self._submissions()

    @cached_property
    def videos(self) -> Sequence[Entry]:
        """Every video that was made."""
        return self._videos()

    def count(self, name: str) -> int:
        """Return how often that happened."""
        return self.counts.get(name, 0)

    def as_dict(self) -> dict[str, object]:
        """Return the books as JSON."""
        return {
            "counts": dict(self.counts),
            "holding": list(self.holding),
            "most_in_progress": dict(self.most_in_progress),
            "submissions": [asdict(one) for one in self.submissions],
            "videos": [asdict(one) for one in self.videos],
        }


COUNTED: Mapping[str, str] = {
    "submissions": "POSTs with a good key",
    "accepted": "videos made",
    "polls": "GETs of one video",
    "lists": "GETs of the list",
    "contents": "GETs of a content",
    "variants": "GETs of a picture beside a content",
    "downloads": "contents that went out whole",
    "deletes": "DELETEs of a video that was there",
    "cancels": "of those, of an unfinished one",
    "faults": "answers that a fault changed",
    "refused_rate": "429s for too many requests a minute",
    "refused_concurrency": "429s for too many videos in progress",
    "refused_key": "401s for a bad key",
    "held": "answers that were ever held back",
    "files": "GETs of the path that a redirect names",
    "files_with_key": "of those, with an Authorization header, which should not be sent there",
}
"""What each name in `Books.counts` counts."""
