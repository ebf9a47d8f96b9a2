"""A TCP relay on loopback whose connections are cut: all at once when told to, and single ones by chance."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_BLOCK = 1 << 16
_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Stands before one server. `doom` is the share of connections that break by themselves, in either direction."""

    def __init__(self, url: str, *, chance: random.Random, doom: float) -> None:
        self._target = urlsplit(url)
        self._chance = chance
        self.doom = doom
        self.broken = 0
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._port = 0

    @property
    def url(self) -> str:
        """The URL of what stands behind, by way of this relay."""
        return urlunsplit(self._target._replace(netloc=f"127.0.0.1:{self._port}"))

    def cut(self) -> int:
        """Reset every connection; return how many that were."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(timeout=10)

    def calm(self) -> None:
        """Break nothing any more."""
        self.doom = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=256)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(timeout=10)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _cut(self) -> int:
        cut = len(self._open) // 2
        for writer in list(self._open):
            _reset(writer)
        return cut

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind, sink = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            _reset(writer)
            return
        both = (writer, sink)
        self._open |= set(both)
        limits: list[int | None] = [None, None]
        if self._chance.random() < self.doom:
            # Within the request or within the answer: what is lost then is quite different.
            limits[self._chance.randrange(2)] = self._chance.randrange(3000)
            self.broken += 1
        try:
            await asyncio.gather(self._pump(reader, sink, limits[0], both), self._pump(behind, writer, limits[1], both))
        except asyncio.CancelledError:
            """The relay closes."""
        finally:
            self._open -= set(both)
            for one in both:
                one.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        limit: int | None,
        both: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        try:
            while block := await source.read(_BLOCK):
                if limit is not None and limit < len(block):
                    sink.write(block[:limit])
                    await sink.drain()
                    for writer in both:
                        _reset(writer)
                    return
                limit = limit - len(block) if limit is not None else None
                sink.write(block)
                await sink.drain()
            sink.write_eof()
        except OSError:
            # What breaks on one side breaks on the other.
            for writer in both:
                _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
