"""A line to a real server that can be frozen, cut, slowed down and made to flap: a TCP proxy on a thread of its own.

with Line(redis.port) as line:
    settings = ... redis_url=line.url ...
    line.freeze()       what is on its way stays there; connections stand, new ones are taken
    line.cut()          connections are reset, new ones at once
    line.slow(latency_s=0.05, bytes_per_s=50_000)       each way, all connections together
    line.flap(0.2)      cut and whole in turn, each for so long
    line.heal()         as if nothing had ever been
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

_CHUNK = 4096
# Chunks on their way of one connection and direction, as a router's buffer holds them.
_ON_THE_WAY = 64


class _Lane:
    """One direction of the line: who may send when."""

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.bytes_per_s = 0.0
        self._free_at = 0.0

    def arrival(self, size: int) -> float:
        """When bytes that are sent now will be there; instants of `time.monotonic`."""
        if not self.bytes_per_s:
            return time.monotonic() + self.latency_s
        self._free_at = max(self._free_at, time.monotonic()) + size / self.bytes_per_s
        return self._free_at + self.latency_s


class Line:
    """Forwards connections to 127.0.0.1:upstream until it is told to do worse."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._flowing = asyncio.Event()
        self._whole = True
        self._there, self._back = _Lane(), _Lane()
        self._open: set[asyncio.StreamWriter] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._flapping: asyncio.Task[None] | None = None
        self.connections = 0

    def __enter__(self) -> Self:
        """Listen, on `url`."""
        self._flowing.set()
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._accepted, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        self.heal()
        self._do(self._closed())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        """Where a Redis behind it seems to be."""
        return f"redis://127.0.0.1:{self.port}/0"

    def heal(self) -> None:
        """Forward as ever."""
        self._call(self._heal)

    def freeze(self) -> None:
        """Forward nothing, lose nothing."""
        self._call(self._flowing.clear)

    def cut(self) -> None:
        """Reset every connection, and each new one."""
        self._call(self._cut)

    def slow(self, *, latency_s: float, bytes_per_s: float) -> None:
        """Forward late, and no more than so much, each way."""

        def slowed() -> None:
            for lane in (self._there, self._back):
                lane.latency_s, lane.bytes_per_s = latency_s, bytes_per_s

        self._call(slowed)

    def flap(self, period_s: float) -> None:
        """Be cut and whole in turn."""

        async def flapping() -> None:
            while True:
                self._cut()
                await asyncio.sleep(period_s)
                self._whole = True
                await asyncio.sleep(period_s)

        def begin() -> None:
            self._flapping = self._loop.create_task(flapping())

        self._call(begin)

    def _call(self, change: Callable[[], Any]) -> None:
        async def changed() -> None:
            change()

        self._do(changed())

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    def _heal(self) -> None:
        if self._flapping is not None:
            self._flapping.cancel()
            self._flapping = None
        self._there.latency_s = self._back.latency_s = 0.0
        self._there.bytes_per_s = self._back.bytes_per_s = 0.0
        self._whole = True
        self._flowing.set()

    def _cut(self) -> None:
        self._whole = False
        for writer in list(self._open):
            _reset(writer)

    async def _closed(self) -> None:
        self._server.close()
        self._cut()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if not self._whole:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:  # nobody listens there
            _reset(writer)
            return
        self._open |= {writer, far_writer}
        for source, lane, sink in ((reader, self._there, far_writer), (far_reader, self._back, writer)):
            task = self._loop.create_task(self._forward(source, lane, sink))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _forward(self, source: asyncio.StreamReader, lane: _Lane, sink: asyncio.StreamWriter) -> None:
        way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_ON_THE_WAY)

        async def arrive() -> None:
            while True:
                at, data = await way.get()
                await asyncio.sleep(max(at - time.monotonic(), 0.0))
                await self._flowing.wait()
                if not data:
                    return
                sink.write(data)
                await sink.drain()

        arriving = self._loop.create_task(arrive())
        try:
            with suppress(OSError):
                while data := await source.read(_CHUNK):
                    await way.put((lane.arrival(len(data)), data))
            await way.put((lane.arrival(0), b""))
            with suppress(OSError):
                await arriving
        finally:
            arriving.cancel()
            self._open.discard(sink)
            sink.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a router that has forgotten the connection."""
    held = writer.get_extra_info("socket")
    with suppress(OSError):
        held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
