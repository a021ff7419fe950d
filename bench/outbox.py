"""A broker that was away for a week: what draining 600,000 records costs the live verdicts, memory and time.

    python bench/outbox.py [RECORDS] [--after SECONDS]

Fills the outbox of a data folder, then starts a real Mosquitto, a virtual PLC, a subscriber of `result` in a process of
its own, and the real station on simulated parts at 20 a second. The age of each verdict at the PLC while the outbox
drains is set beside that of the same run afterwards. Writes docs/reliability-outbox.md; exits with 1 if a record is
missing, out of order or changed, or a verdict was late.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edge_qc import __version__
from edge_qc.config import Config
from edge_qc.domain import utc_text
from edge_qc.record.store import COLUMNS, DATABASE_FILE, open_database
from edge_qc.sections import Broker
from edge_qc.selftest.broker import Mosquitto
from edge_qc.selftest.judge import Figure, at_most, gaps, none_of, p99, some
from edge_qc.selftest.rig import WINDOW_MS, Daemon
from edge_qc.signal.link import Link
from edge_qc.virtual_plc import Action, VirtualPlc

PAGE = Path(__file__).parents[1] / "docs" / "reliability-outbox.md"
WEEK = 600_000  # records of a week at 60 parts a minute, rounded
RATE = 20
SESSION = "0badf00d"  # of the records that wait
ENDS = 1000  # so many of the first and of the last are compared byte by byte
WARM_UP = 20  # the first parts of a process are slower, with an outbox or without
UNAFFECTED = 1.5  # times the p99 without draining
UNAFFECTED_MS = 20.0  # under this a p99 says more about the machine's other work than about the outbox
GROWTH_MB = 10.0
POLL_S = 0.5
TIMEOUT_S = 1800.0
STATION = Config().station
PREFIX = f"{Broker().root}/{STATION}/"


def records(count: int) -> Iterator[dict[str, Any]]:
    """What a station would have recorded, a part a second until now."""
    start = datetime.now(UTC) - timedelta(seconds=count)
    for seq in range(1, count + 1):
        bad, at = seq % 10 == 0, start + timedelta(seconds=seq)
        row = {
            "session": SESSION, "seq": seq, "part": str(seq), "source": "sim:?rate=1",
            "captured_at": utc_text(at), "decided_at": utc_text(at + timedelta(milliseconds=9)),
            "verdict": "reject" if bad else "ok", "reason": "model", "label": "def_front" if bad else "ok_front",
            "score": 0.99609375 if bad else 0.00390625, "latency_ms": 9.123, "model": "casting-0.1.0",
            "signalled": "offline", "picture": None, "heatmap": None,
        }  # fmt: skip
        yield row


def fill(folder: Path, count: int) -> None:
    """Writes the records, and puts each into the outbox, as the station does."""
    marks = ", ".join(f":{name}" for name in COLUMNS)
    with closing(open_database(folder)) as database, database:
        for row in records(count):
            database.execute(f"INSERT INTO inspections VALUES ({marks})", row)  # noqa: S608 - our own constants
            database.execute("INSERT INTO outbox (payload) VALUES (?)", (text_of(row),))


def text_of(row: dict[str, Any]) -> str:
    """The payload of a record, as the station writes it."""
    return json.dumps(row, separators=(",", ":"), ensure_ascii=False)


@dataclass(slots=True)
class Audit:
    """What came on `result`. Every message is looked at; the ends of the old session are kept."""

    old: int
    next_old: int = 1
    next_live: int = 1
    again: int = 0
    skipped: int = 0
    early: int = 0  # live records before the last old one
    last_old_s: float = 0.0
    first: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)

    def hear(self, payload: bytes) -> None:
        text = payload.decode()
        said = json.loads(text)
        is_old = said["session"] == SESSION
        due = self.next_old if is_old else self.next_live
        if said["seq"] < due:
            self.again += 1
            return
        if not is_old:
            self.early += self.next_old <= self.old
            self.next_live = said["seq"] + 1
            return
        self.skipped += said["seq"] - due
        self.next_old, self.last_old_s = said["seq"] + 1, time.monotonic()
        if said["seq"] <= ENDS:
            self.first.append(text)
        if said["seq"] > self.old - ENDS:
            self.last.append(text)


def listen(url: str, old: int, pipe: Connection) -> None:
    """The subscriber's process: any word on the pipe asks for the audit so far."""
    audit = Audit(old)
    link = Link(
        Broker(url=url),
        "outbox-auditor",
        subscriptions=[(PREFIX + "result", 1)],
        on_message=lambda message: audit.hear(message.payload),
    )
    link.start()
    pipe.send(link.wait_connected(10))
    with suppress(EOFError):
        while pipe.recv():
            pipe.send(audit)
    link.stop()


@dataclass(slots=True)
class Run:
    """What one run has shown."""

    old: int
    filled_mb: float = 0.0
    drain_s: float = 0.0
    draining: Sequence[Action] = ()
    after: Sequence[Action] = ()
    peak_mb: dict[str, float] = field(default_factory=dict)
    memory: list[tuple[float, int, float]] = field(default_factory=list)  # second, records left, RSS in MB
    audit: Audit = field(default_factory=lambda: Audit(0))
    first: list[str] = field(default_factory=list)  # what the ends of the outbox should have been
    last: list[str] = field(default_factory=list)
    live: list[dict[str, Any]] = field(default_factory=list)
    lost: int = 0  # live records that neither came nor wait
    status: int = 0


def drain(count: int, after_s: float) -> Run:
    """Fills, starts, drains, goes on for a while, stops."""
    run = Run(count)
    with ExitStack() as stages:
        folder = Path(stages.enter_context(tempfile.TemporaryDirectory(prefix="edge-qc-outbox-")))
        data = folder / "data"
        fill(data, count)
        run.filled_mb = (data / DATABASE_FILE).stat().st_size / 1e6
        broker = Mosquitto(folder)
        broker.start()
        stages.callback(broker.stop)
        pipe = _listener(stages, broker.url, count)
        plc = stages.enter_context(VirtualPlc(Broker(url=broker.url), STATION, window_ms=WINDOW_MS, keep=200_000))
        assert plc.wait_connected(10)
        daemon = _start(folder, data, broker.url)
        stages.callback(daemon.stop)
        reader = stages.enter_context(closing(_open(data)))
        start_s = time.monotonic()
        while left := _left(reader, count):
            run.memory.append((time.monotonic() - start_s, left, daemon.resident_mb))
            if not daemon.alive or time.monotonic() - start_s > TIMEOUT_S:
                raise SystemExit(f"{left} records still wait after {TIMEOUT_S:g} s:\n{daemon.said()[-2000:]}")
            time.sleep(POLL_S)
        run.drain_s = time.monotonic() - start_s
        drained = len(plc.actions())
        run.memory.append((run.drain_s, 0, daemon.resident_mb))
        run.peak_mb["draining"] = _peak_mb(daemon.pid)
        time.sleep(after_s)
        run.peak_mb["run"], run.peak_mb["after"] = _peak_mb(daemon.pid), daemon.resident_mb
        actions = plc.actions()
        run.draining, run.after = actions[WARM_UP:drained], actions[drained:]
        run.status = daemon.stop()
        time.sleep(1.0)
        pipe.send("say")
        run.audit = pipe.recv()
        run.first, run.last = _ends(reader, 1, ENDS), _ends(reader, count - ENDS + 1, count)
        run.live = [dict(row) for row in reader.execute("SELECT * FROM inspections WHERE session <> ?", (SESSION,))]
        waiting = [json.loads(row["payload"])["seq"] for row in reader.execute("SELECT payload FROM outbox")]
        run.lost = sum(row["seq"] >= run.audit.next_live and row["seq"] not in waiting for row in run.live)
    return run


def _listener(stages: ExitStack, url: str, count: int) -> Connection:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=listen, args=(url, count, theirs), daemon=True)
    child.start()
    stages.callback(child.terminate)
    assert ours.recv(), "the subscriber does not reach the broker"
    return ours


def _start(folder: Path, data: Path, url: str) -> Daemon:
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"station": STATION, "broker": {"url": url}, "record": {"free_floor_mb": 0}}))
    command = [sys.executable, "-m", "edge_qc", "run", "--config", str(config), "--data-dir", str(data)]
    return Daemon([*command, "--source", f"sim:?rate={RATE}"], folder / "daemon.log", {}).wait_ready()


def _open(data: Path) -> sqlite3.Connection:
    database = sqlite3.connect(f"file:{data / DATABASE_FILE}?mode=ro", uri=True, timeout=10)
    database.row_factory = sqlite3.Row
    return database


def _left(reader: sqlite3.Connection, count: int) -> int:
    """How many of the old records still wait. They leave in order, so the oldest tells."""
    oldest = reader.execute("SELECT MIN(id) FROM outbox").fetchone()[0]
    return 0 if oldest is None else max(0, count + 1 - int(oldest))


def _ends(reader: sqlite3.Connection, lowest: int, highest: int) -> list[str]:
    query = "SELECT * FROM inspections WHERE session = ? AND seq BETWEEN ? AND ? ORDER BY seq"
    return [text_of(dict(row)) for row in reader.execute(query, (SESSION, lowest, highest))]


def _peak_mb(pid: int) -> float:
    """The most that was ever resident, 10^6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def judge(run: Run) -> list[Figure]:
    """What was measured beside what must hold."""
    audit, rate = run.audit, run.old / run.drain_s
    calm = p99(action.age_ms for action in run.after)
    lived = [*run.draining, *run.after]
    return [
        Figure("records in the outbox at the start", run.old),
        Figure("database at the start", round(run.filled_mb), "MB"),
        Figure("drained in", round(run.drain_s, 1), "s"),
        Figure("drain rate", round(rate), "records/s"),
        Figure(f"a week ({WEEK} records) at this rate", round(WEEK / rate / 60, 1), "min"),
        some("live verdicts while draining", len(run.draining)),
        Figure("age at the PLC while draining, p50", _p50(run.draining), "ms"),
        at_most(
            "age at the PLC while draining, p99",
            p99(action.age_ms for action in run.draining),
            round(max(UNAFFECTED * calm, UNAFFECTED_MS), 1),
            "ms",
        ),
        Figure("age at the PLC while draining, at most", _oldest(run.draining), "ms"),
        some("live verdicts afterwards", len(run.after)),
        Figure("age at the PLC afterwards, p50", _p50(run.after), "ms"),
        Figure("age at the PLC afterwards, p99", round(calm, 2), "ms"),
        Figure("age at the PLC afterwards, at most", _oldest(run.after), "ms"),
        none_of("live verdicts late", sum(action.did in ("late", "let_through") for action in lived)),
        none_of("live verdicts not sent", sum(row["signalled"] != "sent" for row in run.live)),
        Figure("RSS at most while draining", round(run.peak_mb["draining"], 1), "MB"),
        Figure("RSS afterwards", round(run.peak_mb["after"], 1), "MB"),
        at_most("RSS at most above that", run.peak_mb["run"] - run.peak_mb["after"], GROWTH_MB, "MB", 1),
        none_of("old records that did not come", run.old + 1 - audit.next_old + audit.skipped),
        none_of(f"first {ENDS} changed or out of order", _unlike(run.first, audit.first)),
        none_of(f"last {ENDS} changed or out of order", _unlike(run.last, audit.last)),
        none_of("live records before the last old one", audit.early),
        Figure("records that came again", audit.again),
        none_of("live records that neither came nor wait", run.lost),
        none_of("missing numbers on record", gaps(run.live)),
        none_of("bad parts without their picture", sum(r["verdict"] != "ok" and not r["picture"] for r in run.live)),
        none_of("unclean exit", run.status),
    ]


def _p50(actions: Sequence[Action]) -> float:
    return round(float(np.median([action.age_ms for action in actions])), 2) if actions else 0.0


def _oldest(actions: Sequence[Action]) -> float:
    return round(max((action.age_ms for action in actions), default=0.0), 2)


def _unlike(wanted: list[str], came: list[str]) -> int:
    """How many differ from what should stand at their place, byte by byte."""
    return sum(a != b for a, b in zip(wanted, came, strict=False)) + abs(len(wanted) - len(came))


HEAD = """# A broker that was away for a week

The command `python bench/outbox.py` fills the outbox of a data folder, starts a real Mosquitto, a virtual PLC, a
subscriber of `result` in a process of its own, and the station on simulated parts at {rate} a second. The outbox drains
while the line runs; then the line runs on for {after:g} s. The command makes this page, and exits with 1 if something
does not hold.

{at}, on {machine}, load {load:.1f} at the end; edge-qc {version}.

| | measured | must be | |
| --- | ---: | --- | --- |
"""
CURVE = """
| second | records left | RSS, MB |
| ---: | ---: | ---: |
"""
FOOT = """
How to read it:

- {week} records are a week at 60 parts a minute.{extrapolated}
- *drained in*: from the moment the station is ready until the last old record is struck off, which is when the broker
  has acknowledged it and the strike is on disk.
- *age at the PLC*: from the capture to the moment the PLC hears of the part. The bound of the p99 is {times:g} times
  that afterwards, and at least {ms:g} ms, as in the page on reliability. Broker, PLC, subscriber and station share the
  cores of this machine, so draining costs the live lane the broker's and the subscriber's work too.
- *RSS at most*: the kernel's high-water mark of the process.
- All records are checked for order and completeness; the first and the last {ends} byte by byte.
"""


def page(run: Run, figures: list[Figure], after_s: float) -> str:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    head = HEAD.format(
        rate=RATE, after=after_s, at=datetime.now(UTC).isoformat(timespec="minutes"), machine=machine,
        load=os.getloadavg()[0], version=__version__,
    )  # fmt: skip
    step = max(1, len(run.memory) // 10)
    curve = [*run.memory[:-1:step], run.memory[-1]]
    less = f" This run had {run.old}: the figure for a week is their rate extrapolated." * (run.old < WEEK)
    foot = FOOT.format(week=WEEK, extrapolated=less, times=UNAFFECTED, ms=UNAFFECTED_MS, ends=ENDS)
    rows = "".join(f"| {second:.1f} | {left} | {rss_mb:.1f} |\n" for second, left, rss_mb in curve)
    return head + "".join(map(Figure.row, figures)) + CURVE + rows + foot


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=int, nargs="?", default=WEEK)
    parser.add_argument("--after", type=float, default=60.0, metavar="SECONDS")
    options = parser.parse_args()
    run = drain(options.records, options.after)
    figures = judge(run)
    for figure in figures:
        print(f"{'' if figure.holds else 'SHORT ':6}{figure}")
    PAGE.write_text(page(run, figures, options.after), "utf-8")
    sys.exit(not all(figure.holds for figure in figures))


if __name__ == "__main__":
    main()
