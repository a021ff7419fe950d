"""From picture file to message received, memory at rest, and start to ready: the daemon, a real Mosquitto, loopback.

    python bench/line.py [PARTS]

Pictures are moved into a watch folder one at a time; the clock runs from the move to the arrival of `verdict` at a
subscriber in another process than the daemon's. The floor is the same without a daemon: one bare loop that reads,
preprocesses, invokes and publishes, and waits for its own message.
"""

import os
import platform
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from edge_qc.bundle import SHIPPED, load_bundle
from edge_qc.classify.litert import LiteRtClassifier
from edge_qc.domain import Frame
from edge_qc.picture import read_picture
from edge_qc.sections import Broker
from edge_qc.signal.link import Link, Message
from support import PREFIX, Daemon, Listener, Mosquitto, draw_pictures, free_port

AT_REST_S = 2.0
Milliseconds = npt.NDArray[np.float64]


class Stopwatch:
    """Tells when the message of one part arrived."""

    def __init__(self, listener: Listener) -> None:
        self._arrived = threading.Event()
        keep = listener._client.on_message  # noqa: SLF001
        self.at_s = 0.0

        def on_message(client: object, data: object, message: object) -> None:
            if message.topic == PREFIX + "verdict":  # type: ignore[attr-defined]
                self.at_s = time.perf_counter()
                self._arrived.set()
            keep(client, data, message)  # type: ignore[misc, arg-type]

        listener._client.on_message = on_message  # type: ignore[assignment]  # noqa: SLF001

    def wait(self) -> float:
        """Seconds on the performance counter at which it arrived."""
        if not self._arrived.wait(5):
            raise TimeoutError("no verdict within 5 s")
        self._arrived.clear()
        return self.at_s


def measure_daemon(pictures: list[Path], folder: Path, broker: Mosquitto) -> tuple[Milliseconds, float, float]:
    """Milliseconds of each part, RSS at rest in MB, seconds from start to ready."""
    watched = folder / "in"
    watched.mkdir()
    took = []
    with Listener(broker.port) as listener:
        watch = Stopwatch(listener)
        began_s = time.perf_counter()
        args = ("--source", watched, "--broker", broker.url, "--data-dir", folder / "data")
        with Daemon(folder / "log", *args) as daemon:
            daemon.wait_ready()
            ready_s = time.perf_counter() - began_s
            time.sleep(AT_REST_S)
            rss_mb = _rss_mb(daemon.process.pid)
            for picture in pictures:
                target = watched / picture.name
                began_s = time.perf_counter()
                picture.rename(target)
                took.append((watch.wait() - began_s) * 1000)
            daemon.stop()
    return np.array(took), rss_mb, ready_s


def measure_floor(pictures: list[Path], broker: Mosquitto) -> Milliseconds:
    """The same work in one bare loop: nothing checked, nothing recorded."""
    classifier = LiteRtClassifier(load_bundle(SHIPPED))
    took = []
    with Listener(broker.port) as listener:
        watch = Stopwatch(listener)
        link = Link(Broker(url=broker.url), f"floor-{free_port()}")
        link.start()
        link.wait_connected(5)
        for seq, picture in enumerate(pictures, 1):
            began_s = time.perf_counter()
            classifier.classify(Frame(read_picture(picture), seq, 0, datetime.now(UTC), "bench"))
            link.publish(Message(PREFIX + "verdict", b"{}"))
            took.append((watch.wait() - began_s) * 1000)
        link.stop()
    return np.array(took)


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Prints the table."""
    parts = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as name, Mosquitto(Path(name), "allow_anonymous true") as broker:
        folder = Path(name)
        pictures = draw_pictures(folder / "drawn", parts)
        floor = measure_floor(pictures, broker)
        daemon, rss_mb, ready_s = measure_daemon(pictures, folder, broker)
    print(f"{parts} drawn castings, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for what, ms in (("picture file to message received", daemon), ("the same in a bare loop (floor)", floor)):
        print(f"{what:34} p50 {np.median(ms):6.2f} ms   p99 {np.quantile(ms, 0.99):6.2f} ms")
    print(f"{'ratio to the floor':34} p50 {np.median(daemon) / np.median(floor):6.2f}")
    print(f"{'memory at rest (RSS)':34}     {rss_mb:6.1f} MB")
    print(f"{'start to ready':34}     {ready_s:6.2f} s")


if __name__ == "__main__":
    main()
