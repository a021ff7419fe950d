"""Word to systemd, by its notification protocol (sd_notify(3)): ready, alive, stopping. Silent without systemd."""

import os
import socket
import time
from contextlib import suppress

WATCHDOG_EVERY_S = 1.0


class Notifier:
    """Talks to the socket in ``NOTIFY_SOCKET``."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._alive_s = 0.0

    def ready(self, status: str) -> None:
        """The station judges parts from now on."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self) -> None:
        """The loop has made progress; said at most once a second."""
        now_s = time.monotonic()
        if now_s - self._alive_s >= WATCHDOG_EVERY_S:
            self._alive_s = now_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The station stops by intent."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        # A supervisor that cannot be told must not cost a part its verdict: the watchdog says the rest.
        with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as notify:
            notify.connect(self._address)
            notify.sendall(text.encode())
