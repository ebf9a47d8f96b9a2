"""Waiting: a request that is held until its video is final, as `Prefer: wait=N` asks (RFC 7240), or the like."""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection

from gateway.clock import Clock

log = logging.getLogger(__name__)

MOST_S = 60
"""The longest that a request is held, however long it asks for."""

_LOOK_EVERY_S = 0.5
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?([0-9]{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


def wished(prefer: str) -> int:
    """Return for how many seconds a `Prefer` header asks to wait; 0 where it doesn't, or not well: it is ignored."""
    found = _WAIT.search(prefer)
    return min(int(found[1]), MOST_S) if found else 0


class Waiting:
    """The requests that are held in this process. However many they are, one thread asks the database for all.

    `finished` returns which of some videos are final or gone: nothing here cares whether it is videos that are waited
    for. A held request takes one of `places`, since it takes a thread, and somebody must be left to answer the others.
    """

    def __init__(
        self,
        *,
        finished: Callable[[Collection[str]], Collection[str]],
        places: threading.BoundedSemaphore,
        stopping: Callable[[], bool],
        monotonic: Clock,
    ) -> None:
        self._finished = finished
        self._places = places
        self._stopping = stopping
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._watched: Counter[str] = Counter()
        self._final: set[str] = set()
        self._watching = False

    def hold(self, video_id: str, seconds: float) -> bool:
        """Wait until a video is final, at most so long, or until this process is about to end; False: no place."""
        if not self._places.acquire(blocking=False):
            return False
        try:
            self._wait(video_id, self._monotonic() + seconds)
        finally:
            self._places.release()
        return True

    def _wait(self, video_id: str, until: float) -> None:
        with self._changed:
            self._watched[video_id] += 1
            try:
                self._watch()
                while video_id not in self._final and not self._stopping():
                    left_s = until - self._monotonic()
                    if left_s <= 0 or not self._changed.wait(left_s):
                        return
            finally:
                self._watched[video_id] -= 1
                if not self._watched[video_id]:
                    del self._watched[video_id]
                    self._final.discard(video_id)

    def _watch(self) -> None:
        """Begin to look, where nobody does; the lock is held."""
        if not self._watching:
            # In this order: a process may have no thread left, and who comes next has to try again.
            threading.Thread(target=self._look, name="waiting", daemon=True).start()
            self._watching = True

    def _look(self) -> None:
        pause = threading.Event()
        while wanted := self._wanted():
            final = self._ended(wanted)
            with self._changed:
                self._final |= set(final) & set(self._watched)
                if final or self._stopping():
                    self._changed.notify_all()
            pause.wait(_LOOK_EVERY_S)

    def _ended(self, wanted: Collection[str]) -> Collection[str]:
        try:
            return self._finished(wanted)
        except Exception:
            # Whatever it was, the thread must live: nobody would begin another, and all who come would wait in vain.
            log.exception("it could not be asked for whom to wake")
            return ()

    def _wanted(self) -> Collection[str]:
        with self._changed:
            # Decided within the lock: whoever comes later finds that nobody looks any more.
            self._watching = bool(self._watched)
            return list(self._watched)
