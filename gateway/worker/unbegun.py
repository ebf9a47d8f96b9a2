"""Unbegun claims: what a worker took and could not begin, since its database failed in between, is given back.

The worker is alive, so nobody else does it, and the lease of a transfer lasts for minutes. Submits that are under way
or looked for are left to theirs: their claim is what tells others that somebody may still be sending.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from gateway.jobs.errors import Unavailable
from gateway.worker.moment import Moment

log = logging.getLogger(__name__)


class Release(Protocol):
    """As `Claims.release_unbegun`."""

    def __call__(self, worker: str, *, since: float, until: float, due_at: float) -> tuple[int, int]:
        """Return how many claims were given back, and how many are left for now; raises Unavailable."""


@dataclass(kw_only=True, slots=True)
class Unbegun:
    """The spans of time in which one worker's claims failed. Of its ticking thread alone."""

    worker: str
    release: Release
    _spans: list[tuple[float, float]] = field(default_factory=list, init=False)

    @contextmanager
    def noted(self, moment: Moment) -> Iterator[None]:
        """Around the claiming of one step: where the database fails within, nothing of what was claimed is begun.

        A span of time and not a list of jobs: a claim may be committed though its answer was lost.
        """
        since = moment()
        try:
            yield
        except Unavailable:
            self._spans.append((since, moment()))
            raise

    def give_back(self, moment: Moment) -> None:
        """Make due what was claimed and not begun; raises Unavailable, and then remembers it.

        Before the next claims: what those begin must not lie within a span that is still to be given back. Where a
        clock was set back it may all the same; then a transfer or a poll is made twice, and one of them is heard.
        """
        # Taken out first: a fault of ours here must not end every tick there will be.
        spans, self._spans = self._spans, []
        while spans:
            since, until = spans[-1]
            try:
                count, left = self.release(self.worker, since=since, until=until, due_at=moment())
            except Unavailable:
                self._spans += spans
                raise
            spans.pop()
            if left:
                self._spans.append((since, until))
            if count:
                log.info("%d claims that could not be begun are given back.", count)
