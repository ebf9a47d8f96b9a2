"""Serves contents: whole, in ranges, and broken as a fault asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import TYPE_CHECKING

from flask import Response, request

from gateway.demo.connection import LINGER, Drop, dropping
from gateway.demo.simulator.answers import Dropped, answer, linger
from gateway.demo.simulator.faults import Trick
from gateway.demo.simulator.films import BLOCK, Film

if TYPE_CHECKING:
    from gateway.demo.connection import Linger
    from gateway.demo.simulator.answers import Mischief
    from gateway.demo.simulator.faults import Fault

_LONG_S = 86_400.0
_STEP_S = 0.1
_NO_VIDEO = b"these bytes are no video at all\n"


class ContentServer:
    """Makes the answers to requests for content."""

    def __init__(self, *, mischief: Mischief) -> None:
        self._mischief = mischief

    def serve(self, film: Film, fault: Fault | None, *, name: str, sent: Callable[[], None], link: str) -> Response:
        """Return the answer. `sent` is called when all of the film went out; `link` is where a redirect leads."""
        trick = fault.row.act if fault else None
        if fault and not isinstance(trick, Trick):
            return self._mischief.plain(fault)
        if trick is Trick.ARRAY:
            return answer({"error": {"message": "The file could not be read.", "type": "server_error"}})
        if fault and trick is Trick.REDIRECT:
            return Response(status=302, headers={"Location": f"{fault.value or request.host_url.rstrip('/')}{link}"})
        if fault and trick is Trick.SLOW and linger(fault.number):
            return Dropped()
        if trick is Trick.WRONG:
            film = Film(head=_NO_VIDEO * (film.length // len(_NO_VIDEO) + 1), padding=0, seed="wrong")
        if trick is Trick.BLANK:
            film = Film(head=b"", padding=0, seed="blank")
        return self._ranged(film, fault, name=name, sent=sent)

    def _ranged(self, film: Film, fault: Fault | None, *, name: str, sent: Callable[[], None]) -> Response:
        asked = request.range.range_for_length(film.length) if request.range else (0, film.length)
        if asked is None:
            return Response(status=416, headers={"Content-Range": f"bytes */{film.length}"})
        start, stop = asked
        body = self._broken(film, start, stop, fault) if fault else film.blocks(start, stop)
        response = Response(_told(body, sent if stop == film.length else None), content_type=film.content_type)
        response.headers["Accept-Ranges"] = "bytes"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        response.set_etag(film.etag)
        if request.range:
            response.status_code = 206
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{film.length}"
        trick = fault.row.act if fault else None
        if trick is Trick.CLOSE:
            response.headers["Connection"] = "close"
        elif trick not in {Trick.CHUNKED, Trick.ENDLESS}:
            response.content_length = stop - start
        return response

    def _broken(self, film: Film, start: int, stop: int, fault: Fault) -> Iterator[bytes]:
        trick = fault.row.act
        # The body is made after the request is over for Flask, so what it needs of it is taken now.
        wait: Linger = request.environ[LINGER]
        if trick is Trick.DRIP:
            step = max(1, int(fault.number * _STEP_S))
            return _dripping(film, range(start, stop, step), stop, wait)
        if trick is Trick.ENDLESS:
            return _endless(film, start)
        at = int(fault.number) if fault.row.takes else 0
        middle = min(stop, start + (at or (stop - start) // 2))
        if trick in {Trick.CUT, Trick.BROKEN}:
            return _then(film.blocks(start, middle), dropping(reset=trick is Trick.BROKEN))
        if trick is Trick.STALL:
            return _then(film.blocks(start, middle), _stalling(wait))
        if trick is Trick.HOLD_BODY:
            return _then(film.blocks(start, middle), self._held(film.blocks(middle, stop), fault))
        if trick is Trick.RESET:
            return dropping(reset=True)
        return film.blocks(start, stop)

    def _held(self, rest: Iterator[bytes], fault: Fault) -> Iterator[bytes]:
        if not self._mischief.hold(fault.row.stage):
            raise Drop(reset=True)
        yield from rest


def _told(blocks: Iterator[bytes], sent: Callable[[], None] | None) -> Iterator[bytes]:
    yield from blocks
    if sent is not None:
        sent()


def _then(blocks: Iterator[bytes], end: Iterator[bytes]) -> Iterator[bytes]:
    yield from blocks
    yield from end


def _stalling(wait: Linger) -> Iterator[bytes]:
    wait(_LONG_S)
    yield from dropping(reset=False)


def _dripping(film: Film, starts: range, stop: int, wait: Linger) -> Iterator[bytes]:
    for at in starts:
        yield from film.blocks(at, min(stop, at + starts.step))
        # Not after the last byte: what may arrive then is the client's next request.
        if at + starts.step < stop and wait(_STEP_S):
            raise Drop(reset=True)


def _endless(film: Film, start: int) -> Iterator[bytes]:
    yield from film.blocks(start, film.length)
    for number in count():
        yield number.to_bytes(8, "big") * (BLOCK // 8)
