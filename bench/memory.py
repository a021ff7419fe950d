"""Whether the daemon's memory stays flat: over 50,000 parts, with a real Mosquitto and a real record.

    python bench/memory.py [PARTS] [--rate PARTS_A_SECOND]

The station inspects drawn castings as fast as --rate; the record, its pictures and the outbox are those of the
defaults. Exits with 1 if memory is above 130 MB, or grows by more than 2 MB from the first fifth to the end.
"""

import argparse
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edge_qc.selftest.broker import Mosquitto
from edge_qc.selftest.rig import Daemon

MOST_MB, GROWTH_MB = 130.0, 2.0
LOOK_EVERY_S = 1.0
ROWS = 10


@contextmanager
def station(folder: Path, rate: float) -> Iterator[Daemon]:
    """A daemon that tells a broker of its own."""
    mosquitto = Mosquitto(folder)
    mosquitto.start()
    given = ["--source", f"sim:?rate={rate:g}", "--broker", mosquitto.url, "--data-dir", str(folder / "data")]
    daemon = Daemon([sys.executable, "-m", "edge_qc", "run", *given], folder / "daemon.log", {})
    try:
        yield daemon.wait_ready()
    finally:
        daemon.stop()
        mosquitto.stop()


def recorded(database: Path) -> tuple[int, int]:
    """Parts in the record, and those of them that were inspected."""
    if not database.exists():
        return 0, 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        said = "SELECT count(*), count(*) FILTER (WHERE verdict != 'not_inspected') FROM inspections"
        total, inspected = db.execute(said).fetchone()
    return int(total), int(inspected)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=int, nargs="?", default=50_000)
    parser.add_argument("--rate", type=float, default=60.0)
    options = parser.parse_args()
    resident_mb: list[float] = []
    with tempfile.TemporaryDirectory(prefix="edge-qc-bench-") as name, station(Path(name), options.rate) as daemon:
        began_s, step = time.monotonic(), options.parts / ROWS
        total = inspected = 0
        while total < options.parts and daemon.alive:
            time.sleep(LOOK_EVERY_S)
            total, inspected = recorded(Path(name) / "data" / "inspections.db")
            while daemon.alive and len(resident_mb) < min(ROWS, total // step):
                resident_mb.append(daemon.resident_mb)
        took_s = time.monotonic() - began_s
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%Y-%m-%d}"
    )
    print(f"{total:,} parts, {inspected:,} inspected, in {took_s / 60:.0f} min; {machine}")
    table = Table()
    table.add_column("parts", justify="right")
    table.add_column("resident memory, MB", justify="right")
    for row, megabytes in enumerate(resident_mb, 1):
        table.add_row(f"{round(row * step):,}", f"{megabytes:.1f}")
    Console(highlight=False).print(table)
    if len(resident_mb) < ROWS:
        sys.exit(f"the daemon ended after {total:,} parts: falls short")
    growth_mb = resident_mb[-1] - resident_mb[1]
    holds = growth_mb <= GROWTH_MB and max(resident_mb) <= MOST_MB
    print(
        f"from the first fifth to the end {growth_mb:+.1f} MB (at most {GROWTH_MB:g} wanted), "
        f"{max(resident_mb):.1f} MB at most ({MOST_MB:g} wanted): {'holds' if holds else 'falls short'}"
    )
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
