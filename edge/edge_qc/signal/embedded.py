"""A broker in the process, for the demo and for tests: MQTT 3.1.1, loopback alone, open to all, nothing is kept."""

import asyncio
import logging
import socket
import threading
from types import TracebackType
from typing import Any, Self

from edge_qc.errors import SignalError

HOST = "127.0.0.1"
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0


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
        self._port = self._port or _free_port()
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
        broker = Broker(self._config())
        await broker.start()
        self._ready.set()
        await self._stop.wait()
        await asyncio.wait_for(broker.shutdown(), STOP_TIMEOUT_S)

    def _config(self) -> dict[str, Any]:
        return {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{self._port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
