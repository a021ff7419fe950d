"""Real components for tests: a Mosquitto, a subscriber, the daemon as a process."""

import json
import os
import queue
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_qc.capture.simulated_part import draw_part

WAIT_S = 20.0
PREFIX = "edge-qc/line1/cam1/"


def wait_until(true: Callable[[], Any], timeout_s: float = WAIT_S) -> None:
    """Waits for a condition, with a bound."""
    end_s = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not within {timeout_s:g} s: {true}")
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Mosquitto:
    """A real broker on loopback, with settings of its own."""

    def __init__(self, folder: Path, *settings: str, secure: bool = False) -> None:
        self.port = free_port()
        self.url = f"{'mqtts' if secure else 'mqtt'}://127.0.0.1:{self.port}"
        self._config = folder / f"mosquitto-{self.port}.conf"
        common = (f"listener {self.port} 127.0.0.1", "set_tcp_nodelay true", "user root", *settings)
        self._config.write_text("\n".join(common) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
        assert program, "Mosquitto is missing: `make test` installs it"
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([program, "-c", str(self._config)], stdout=quiet, stderr=quiet)
        wait_until(self._answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(5)
            self._process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Listener:
    """A subscriber that keeps what it hears of a station."""

    def __init__(self, port: int, prepare: Callable[[mqtt.Client], object] = lambda _: None) -> None:
        self.heard: list[tuple[str, bytes, bool, Any]] = []
        self._ready: queue.Queue[bool] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda c, *_: c.subscribe(PREFIX + "#", 1)
        self._client.on_subscribe = lambda *_: self._ready.put(True)
        self._client.on_message = lambda _c, _u, m: self.heard.append(
            (m.topic, bytes(m.payload), m.retain, m.properties)
        )
        prepare(self._client)
        self._client.connect("127.0.0.1", port)

    def of(self, name: str) -> list[dict[str, Any]]:
        """The payloads of one topic."""
        return [json.loads(payload) for topic, payload, _, _ in list(self.heard) if topic == PREFIX + name]

    def say(self, name: str, payload: dict[str, Any]) -> None:
        """Publishes on one topic of the station."""
        self._client.publish(PREFIX + name, json.dumps(payload), 1)

    def __enter__(self) -> Self:
        self._client.loop_start()
        self._ready.get(timeout=WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "edge_qc", *map(str, args)]


def edge_qc(*args: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of the device to its end."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_QC_")} | environment
    return subprocess.run(
        command(*args),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
    )


class Daemon:
    """The daemon as a process that goes on until it is stopped."""

    def __init__(self, log: Path, *args: object, **environment: str) -> None:
        self._log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(command(*args), stderr=errors, cwd=log.parent, env=os.environ | environment)

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait_ready(self) -> Self:
        wait_until(lambda: "ready: station" in self.said or self.process.poll() is not None)
        assert self.process.poll() is None, self.said
        return self

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(WAIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(5)


def rows(data_dir: Path, query: str = "SELECT * FROM inspections ORDER BY rowid") -> list[dict[str, Any]]:
    """Rows of the database, read from outside."""
    db = sqlite3.connect(f"file:{data_dir / 'inspections.db'}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    found = [dict(row) for row in db.execute(query)]
    db.close()
    return found


def draw_pictures(folder: Path, count: int, *, defect_every: int = 2, seed: int = 5) -> list[Path]:
    """Drawn castings as PNG files, the first good; oldest first by modification time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = []
    for i in range(count):
        path = folder / f"part-{i:04}.png"
        cv2.imwrite(str(path), draw_part(rng, defective=i % defect_every == defect_every - 1).pixels)
        os.utime(path, ns=(1_700_000_000_000_000_000 + i * 1_000_000,) * 2)
        paths.append(path)
    return paths


def huge_png() -> bytes:
    """A few hundred bytes that say they are 400 megapixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (20_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
