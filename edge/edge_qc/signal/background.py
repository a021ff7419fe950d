"""An asyncio server in a thread of its own: for the adapters that a PLC connects to."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from edge_qc.errors import SignalError

# An OPC UA server builds some thousand standard nodes first: two seconds on a PC, some more on a Raspberry Pi.
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0

Job = Callable[[], Awaitable[None]]
Inbox = asyncio.Queue[Job | None]
Serve = Callable[[Inbox, Callable[[], None]], Coroutine[Any, Any, None]]


class ServerThread:
    """Runs a server until it is stopped.

    Args:
        section: the config section that it is set up by, which is also the name of the extra that brings its library.
        address: host and port, for messages.
        serve: the server: calls its second argument once it listens, then does the jobs of its inbox until it takes a
            None. What it raises later ends the thread, and with it the station: better restarted than half dead.
    """

    def __init__(self, section: str, address: str, serve: Serve) -> None:
        self._section, self._address, self._serve = section, address, serve
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: Inbox | None = None
        self._ready = threading.Event()
        self._failure: Exception | None = None

    def start(self) -> None:
        """Starts it and waits until it listens.

        Raises:
            SignalError: if it does not, such as on a port that is taken or without its library.
        """
        self._ready.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._run, name=self._section, daemon=True)
        self._thread.start()
        failure = self._wait_ready()
        if failure is not None:
            self.stop()
            raise self._fault(failure) from failure

    def post(self, job: Job | None) -> bool:
        """Hands a job over to the server's thread, without waiting; False when there is no server."""
        loop, inbox = self._loop, self._inbox
        if loop is None or inbox is None:
            return False
        try:
            loop.call_soon_threadsafe(inbox.put_nowait, job)
        except RuntimeError:  # closed by now
            return False
        return True

    def stop(self) -> None:
        """Does the jobs that wait, and ends. Safe to call twice, and without ``start``."""
        self.post(None)
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(STOP_TIMEOUT_S)

    def _wait_ready(self) -> Exception | None:
        """Why it does not listen, None when it does."""
        if not self._ready.wait(START_TIMEOUT_S):
            return TimeoutError(f"nothing within {START_TIMEOUT_S:g} s")
        return self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:
            if self._ready.is_set():
                raise
            self._failure = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._inbox = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        await self._serve(self._inbox, self._ready.set)

    def _fault(self, failure: Exception) -> SignalError:
        missing = isinstance(failure, ModuleNotFoundError)
        return SignalError(
            f"{self._section}: no server at {self._address}",
            expected=f"the packages of the extra `{self._section}`" if missing else "a free port of this machine",
            got=f"{type(failure).__name__}: {failure}",
            remedy=f"pip install 'edge-qc[{self._section}]', or set {self._section}.enabled to false"
            if missing
            else f"Free the port, or set {self._section}.host and {self._section}.port",
        )
