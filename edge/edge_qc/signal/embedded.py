"""A broker in the process, for the demo and for tests: MQTT 3.1.1, loopback alone, open to all, nothing is kept."""

import asyncio
import logging
import threading
from functools import partial
from types import TracebackType
from typing import Any, Self

from edge_qc.errors import SignalError

HOST = "127.0.0.1"
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0
CONNECT_TIMEOUT_S = 5.0
UNSUPPORTED_PROTOCOL_VERSION = b"\x20\x03\x00\x84\x00"  # a CONNACK (MQTT 5, section 3.2)
_CONFIG = {
    "listeners": {"default": {"type": "external"}},
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}


class EmbeddedBroker:
    """An amqtt broker in a thread of its own. A context manager: ``with EmbeddedBroker() as broker: broker.url``.

    Args:
        port: TCP port on 127.0.0.1; 0 takes one that is free.
    """

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """Such as ``mqtt://127.0.0.1:40123``."""
        return f"mqtt://{HOST}:{self._port}"

    def start(self) -> str:
        """Starts it and waits until it listens.

        Returns:
            Its url.

        Raises:
            SignalError: if it does not listen within 10 s, such as on a port that is taken.
        """
        self._ready.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._run, name="embedded-broker", daemon=True)
        self._thread.start()
        failure = self._wait_ready()
        if failure is not None:
            self.stop()
            raise SignalError(
                f"the embedded broker does not start at {self.url}",
                expected="a free port on the loopback interface and the package amqtt",
                got=failure,
                remedy="Free the port, or give a broker of your own with --broker mqtt://HOST:PORT",
            )
        return self.url

    def stop(self) -> None:
        """Ends it and every connection. Safe to call twice, and without ``start``."""
        thread, self._thread = self._thread, None
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        if thread is not None:
            thread.join(STOP_TIMEOUT_S + 1)

    def __enter__(self) -> Self:
        """Starts it; see ``start``."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it."""
        self.stop()

    def _wait_ready(self) -> str | None:
        """Why it does not listen, None when it does."""
        if not self._ready.wait(START_TIMEOUT_S):
            return f"nothing within {START_TIMEOUT_S:g} s"
        return None if self._failure is None else str(self._failure)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - a thread's end: `start` raises it where somebody hears it
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        from amqtt.broker import Broker  # noqa: PLC0415 - 0.3 s of import that only a demo should pay

        # A client that goes away is an error to amqtt, with a traceback; to a demo it is the normal end.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        broker = Broker(_CONFIG)
        await broker.start()
        server = await asyncio.start_server(partial(_receive, broker), HOST, self._port)
        self._port = int(server.sockets[0].getsockname()[1])
        self._ready.set()
        await self._stop.wait()
        server.close()
        await asyncio.wait_for(broker.shutdown(), STOP_TIMEOUT_S)


class _Replay:
    """What amqtt reads from: the bytes that were read already, then the stream."""

    def __init__(self, head: bytes, stream: asyncio.StreamReader) -> None:
        self._head, self._stream = head, stream

    async def read(self, n: int = -1) -> bytes:
        """The next ``n`` bytes, or for -1 all.

        Raises:
            asyncio.IncompleteReadError: if the stream ends before.
        """
        if n < 0:
            taken, self._head = self._head, b""
            return taken + await self._stream.read()
        taken, self._head = self._head[:n], self._head[n:]
        return taken + await self._stream.readexactly(n - len(taken))

    def feed_eof(self) -> None:
        """No more is wanted."""
        self._stream.feed_eof()


async def _receive(broker: Any, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:  # noqa: ANN401 - amqtt
    """Hands a connection to amqtt, unless it speaks MQTT 5.

    amqtt answers such a one only when its CONNECT carries no Will, and else lets it wait for its keep-alive to run out.
    """
    from amqtt.adapters import StreamWriterAdapter  # noqa: PLC0415

    try:
        head = await asyncio.wait_for(_read_head(stream), CONNECT_TIMEOUT_S)
        if head.endswith(b"\x00\x04MQTT\x05"):
            writer.write(UNSUPPORTED_PROTOCOL_VERSION)
        else:
            await broker.external_connected(_Replay(head, stream), StreamWriterAdapter(writer), "default")
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        pass  # it went away, or has nothing to say
    finally:
        writer.close()


async def _read_head(stream: asyncio.StreamReader) -> bytes:
    """A CONNECT packet up to its protocol level (MQTT 3.1.1, section 3.1)."""
    head = await stream.readexactly(2)
    while head[-1] & 0x80 and len(head) < 5:  # the length: up to four bytes, seven bits each
        head += await stream.readexactly(1)
    return head + await stream.readexactly(7)
