"""The broker of the selftest: the system's Mosquitto, which can be stopped and frozen; else one in the process."""

import logging
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from edge_qc.errors import SignalError
from edge_qc.selftest.judge import MeansMissingError
from edge_qc.signal.embedded import EmbeddedBroker

HOST = "127.0.0.1"
START_TIMEOUT_S = 10.0
_SYSTEM_FOLDERS = ":/usr/sbin:/usr/local/sbin"


class TestBroker(Protocol):
    """What the rows need of a broker."""

    @property
    def url(self) -> str:
        """Where it listens."""
        ...

    def start(self) -> None:
        """Starts it and waits until it listens."""
        ...

    def stop(self) -> None:
        """Stops it. Safe to call twice."""
        ...

    def process(self) -> int:
        """Its process id, for signals.

        Raises:
            MeansMissingError: if it is not ours to stop.
        """
        ...

    def subscribed(self) -> str | None:
        """The log of subscriptions; None where there is none."""
        ...


class Mosquitto:
    """A Mosquitto of our own on loopback. It keeps sessions over a restart, so that a lost record is ours.

    Args:
        folder: where its files go.
        environment: variables on top of ours.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._program = find_mosquitto()
        self._port = _free_port()
        self._environment = {**os.environ, **(environment or {})}
        self._log, self._config = folder / "broker.log", folder / "broker.conf"
        self._child: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self._port} {HOST}", "allow_anonymous true", "set_tcp_nodelay true", "user root",
            "persistence true", f"persistence_location {folder}/", "max_queued_messages 0",
            f"log_dest file {self._log}", "log_type subscribe", "log_type error",
        ]  # fmt: skip
        self._config.write_text("\n".join(lines) + "\n", "utf-8")

    @property
    def url(self) -> str:
        """See ``TestBroker``."""
        return f"mqtt://{HOST}:{self._port}"

    def start(self) -> None:
        """See ``TestBroker``."""
        quiet = subprocess.DEVNULL
        self._child = subprocess.Popen(  # noqa: S603 - the system's own broker
            [str(self._program), "-c", str(self._config)],
            env=self._environment,
            stdout=quiet,
            stderr=quiet,
            start_new_session=True,
        )
        end_s = time.monotonic() + START_TIMEOUT_S
        while not _answers(self._port):
            if self._child.poll() is not None or time.monotonic() > end_s:
                raise SignalError("Mosquitto does not start", expected=f"it to listen within {START_TIMEOUT_S:g} s")
            time.sleep(0.005)

    def stop(self) -> None:
        """See ``TestBroker``."""
        child, self._child = self._child, None
        if child is None:
            return
        child.send_signal(signal.SIGCONT)
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def process(self) -> int:
        """See ``TestBroker``."""
        if self._child is None:
            raise SignalError("Mosquitto does not run")
        return self._child.pid

    def subscribed(self) -> str | None:
        """See ``TestBroker``."""
        with suppress(OSError):
            return self._log.read_text("utf-8", "replace")
        return None


class InProcess:
    """amqtt in this process: it cannot be frozen, and forgets sessions when it stops."""

    def __init__(self) -> None:
        self._broker = EmbeddedBroker()

    @property
    def url(self) -> str:
        """See ``TestBroker``."""
        return self._broker.url

    def start(self) -> None:
        """See ``TestBroker``."""
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # amqtt's tasks complain of clients that were killed
        self._broker.start()

    def stop(self) -> None:
        """See ``TestBroker``."""
        self._broker.stop()

    def process(self) -> int:
        """See ``TestBroker``."""
        raise MeansMissingError("the broker in the process cannot be stopped alone: install Mosquitto")

    def subscribed(self) -> str | None:
        """See ``TestBroker``."""
        return None


class Given:
    """The real broker of a config: never stopped, and used under a topic root of our own alone."""

    def __init__(self, url: str) -> None:
        self.url = url

    def start(self) -> None:
        """See ``TestBroker``."""

    def stop(self) -> None:
        """See ``TestBroker``."""

    def process(self) -> int:
        """See ``TestBroker``."""
        raise MeansMissingError("the broker of the config is left alone")

    def subscribed(self) -> str | None:
        """See ``TestBroker``."""
        return None


def find_mosquitto() -> Path | None:
    """The system's Mosquitto; None where there is none."""
    found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + _SYSTEM_FOLDERS)
    return None if found is None else Path(found)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind((HOST, 0))
        return int(s.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex((HOST, port)) == 0
