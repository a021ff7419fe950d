"""A TCP proxy that cuts: what a bad cable, a switch or a radio does to a connection."""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536


class Proxy:
    """Forwards connections to a server until it cuts them, at once and without a farewell. A context manager.

    Args:
        host: the server's host.
        port: the server's port.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server_at = (host, port)
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self._stop: asyncio.Event | None = None
        self._cut_every_s: float | None = None
        self.port = 0
        self.cuts = 0

    @property
    def url(self) -> str:
        """Such as ``mqtt://127.0.0.1:40123``."""
        return f"mqtt://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        """Starts it and waits until it listens."""
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it and cuts what is open."""
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    def cut(self) -> None:
        """Cuts every connection now."""
        self._loop.call_soon_threadsafe(self._cut)

    def cut_every(self, seconds: float | None) -> None:
        """Cuts every connection so often; None for no more."""
        self._cut_every_s = seconds
        if seconds is not None:
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, self._cut_again)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._forward, HOST, 0)
        self.port = int(server.sockets[0].getsockname()[1])
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._cut()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._server_at)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, there_writer}
        try:
            await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        finally:
            for side in (writer, there_writer):
                self._open.discard(side)
                side.transport.abort()

    def _cut(self) -> None:
        if self._open:
            self.cuts += 1
        for writer in self._open:
            writer.transport.abort()

    def _cut_again(self) -> None:
        if self._cut_every_s is not None:
            self._cut()
            self._loop.call_later(self._cut_every_s, self._cut_again)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies one direction; its end ends the other too."""
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
