"""Half an hour of a station at 20 parts a second with faults at random: nothing late, doubled or lost, memory flat.

    python bench/soak.py [MINUTES] [--seed N]

One fault of a short kind after the other, 20 to 40 s apart, is injected into a real Mosquitto, a real station and a
virtual PLC. The daemon is one process all along; its memory, descriptors and threads are read every 5 s. Writes
docs/reliability-soak.md; exits with 1 if something was late, doubled or lost, or memory or descriptors grew.
"""

import argparse
import os
import platform
import random
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import numpy as np

from edge_qc import __version__
from edge_qc.selftest.judge import Figure, actuations, at_most, gaps, none_of
from edge_qc.selftest.proxy import Proxy
from edge_qc.selftest.rig import RATE, WINDOW_MS, Bench, Daemon, Rig
from edge_qc.virtual_plc import Action

PAGE = Path(__file__).parents[1] / "docs" / "reliability-soak.md"
SEED = 5
PAUSE_S = (20.0, 40.0)  # from the end of one fault to the next
SAMPLE_S = 5.0
EARLY_MIN, SETTLED_MIN = 2.0, 5.0
SMOOTHED = 12  # samples a reading is the median of: one minute
GROWTH_MB = 5.0
PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """The daemon at one moment."""

    minute: float
    parts: int
    rss_kb: float
    descriptors: int
    threads: int


@dataclass(slots=True)
class Line:
    """All that a fault is injected into, and what was seen of them."""

    rig: Rig
    proxy: Proxy
    daemon: Daemon
    actions: list[Action] = field(default_factory=list)  # of PLCs that are gone
    faults: Counter[str] = field(default_factory=Counter)
    live_s: dict[str, float] = field(default_factory=dict)  # the longest time until live again


def broker_restarted(line: Line) -> None:
    line.rig.broker.stop()
    line.rig.broker.start()


def broker_frozen(line: Line) -> None:
    broker = line.rig.broker.process()
    os.kill(broker, signal.SIGSTOP)
    time.sleep(3)
    os.kill(broker, signal.SIGCONT)


def link_cut(line: Line) -> None:
    line.proxy.cut()


def database_locked(line: Line) -> None:
    path = line.rig.data_dir / "inspections.db"
    with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        time.sleep(2)
        database.execute("ROLLBACK")


def daemon_frozen(line: Line) -> None:
    line.daemon.send(signal.SIGSTOP)
    time.sleep(1.5)
    line.daemon.send(signal.SIGCONT)


def plc_offline(line: Line) -> None:
    line.rig.plc.stop()
    line.actions += line.rig.plc.actions()
    time.sleep(3)
    line.rig.plc = line.rig.new_plc()


FAULTS: dict[str, Callable[[Line], None]] = {
    "broker restarted": broker_restarted,
    "broker frozen for 3 s (SIGSTOP)": broker_frozen,
    "link cut": link_cut,
    "database locked for 2 s": database_locked,
    "daemon frozen for 1.5 s (SIGSTOP)": daemon_frozen,
    "PLC offline for 3 s": plc_offline,
}


class Sampler:
    """Reads the daemon's figures in the background. A context manager."""

    def __init__(self, line: Line) -> None:
        self._line, self._start_s = line, time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.samples = [self._sample()]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while self._line.daemon.alive and not self._over.wait(SAMPLE_S):
            self.samples.append(self._sample())

    def _sample(self) -> Sample:
        process = Path(f"/proc/{self._line.daemon.pid}")
        uri = f"file:{self._line.rig.data_dir / 'inspections.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as database:
            parts = database.execute("SELECT MAX(rowid) FROM inspections").fetchone()[0] or 0
        return Sample(
            minute=(time.monotonic() - self._start_s) / 60,
            parts=parts,
            rss_kb=int((process / "statm").read_text("ascii").split()[1]) * PAGE_KB,
            descriptors=len(os.listdir(process / "fd")),  # noqa: PTH208 - a count
            threads=len(os.listdir(process / "task")),  # noqa: PTH208
        )


def soak(line: Line, minutes: float, dice: random.Random) -> None:
    """Injects faults until the time is over: every kind as often, in an order of chance."""
    end_s = time.monotonic() + 60 * minutes
    deck: list[str] = []
    while (due_s := time.monotonic() + dice.uniform(*PAUSE_S)) < end_s - PAUSE_S[0]:
        time.sleep(due_s - time.monotonic())
        deck = deck or dice.sample(list(FAULTS), len(FAULTS))
        name = deck.pop()
        FAULTS[name](line)
        live_s = line.rig.live_again(time.monotonic())
        line.faults[name] += 1
        line.live_s[name] = max(live_s, line.live_s.get(name, 0.0))
        print(f"{datetime.now(UTC):%H:%M:%S} {name}, live again after {live_s:.2f} s", flush=True)
    time.sleep(max(0.0, end_s - time.monotonic()))


def judge(line: Line, samples: list[Sample]) -> list[Figure]:
    """What was measured beside what must hold."""
    records, forwarded = line.rig.settle()
    actions = [*line.actions, *line.rig.plc.actions()]
    return [
        Figure("faults injected", line.faults.total()),
        Figure("parts", len(records)),
        *_renamed(actuations(records, actions, WINDOW_MS)),
        none_of("late actuations", sum(a.did in ("passed", "rejected") and a.age_ms > WINDOW_MS for a in actions)),
        Figure("came late, not acted on", sum(action.did == "late" for action in actions)),
        *(figure for figure in forwarded if figure.what != "records"),
        none_of("missing numbers on record", gaps(records)),
        none_of("faults found by integrity_check", line.rig.integrity_faults()),
        *resources(samples),
        none_of("unclean exit", line.daemon.stop()),
    ]


def _renamed(figures: list[Figure]) -> list[Figure]:
    names = {"parts acted on": "verdicts acted on", "acted on twice": "doubled actuations"}
    return [Figure(names.get(f.what, f.what), f.measured, f.unit, f.bound, f.holds) for f in figures]


def resources(samples: list[Sample]) -> list[Figure]:
    """Memory, descriptors and threads. Readings of memory are medians of a minute: one sample is a matter of luck."""
    minutes = samples[-1].minute
    early_min, settled_min = (min(at, at * minutes / 30) for at in (EARLY_MIN, SETTLED_MIN))
    settled = [sample for sample in samples if sample.minute >= settled_min]
    start_mb, end_mb = _median_mb(settled[:SMOOTHED]), _median_mb(settled[-SMOOTHED:])
    early_mb = _median_mb([sample for sample in samples if sample.minute >= early_min][:SMOOTHED])
    slope_kb = np.polyfit([s.parts for s in settled], [s.rss_kb for s in settled], 1)[0] * 10_000
    descriptors, threads = [s.descriptors for s in samples], [s.threads for s in samples]
    before, after = max(descriptors[:3]), min(descriptors[-3:])  # a connection may just be made or lost
    return [
        Figure(f"RSS at {early_min:.2g} min", round(early_mb, 2), "MB"),
        Figure("RSS at the end", round(end_mb, 2), "MB"),
        at_most(f"RSS grew after {settled_min:.2g} min by", end_mb - start_mb, GROWTH_MB, "MB"),
        Figure("slope of RSS by least squares after that", round(float(slope_kb), 1), "KB per 10,000 parts"),
        Figure("descriptors at first", descriptors[0]),
        Figure("descriptors at most", max(descriptors)),
        at_most("descriptors at last", after, before, digits=0),
        Figure("threads at first", threads[0]),
        Figure("threads at most", max(threads)),
        Figure("threads at last", threads[-1]),
    ]


def _median_mb(samples: list[Sample]) -> float:
    return float(np.median([sample.rss_kb for sample in samples])) / 1000


HEAD = """# Half an hour of faults at random

The command `python bench/soak.py` runs a real Mosquitto, a station on simulated parts at {rate:g} a second and a
virtual PLC, and injects a fault of a short kind {pause[0]:g} to {pause[1]:g} s after the last one was over
(seed {seed}). The daemon is one process all along; it is read every {sample:g} s. The command makes this page, and
exits with 1 if something does not hold.

{minutes:.3g} minutes, {at}, on {machine}; edge-qc {version}.

| | measured | must be | |
| --- | ---: | --- | --- |
"""
MIDDLE = """
| fault | times | live again after, at most |
| --- | ---: | ---: |
"""
CURVE = """
| minute | parts | RSS, MB | descriptors | threads |
| ---: | ---: | ---: | ---: | ---: |
"""
FOOT = """
How to read it:

- *live again*: from the end of the fault to the first part, captured after it, that the PLC acts on in time.
- *verdicts acted on* are fewer than the parts: a verdict that falls into a fault is late or not sent at all, and the
  PLC treats its part as it treats one without a verdict. Its record is kept, and comes as a `result`.
- *late actuations*: parts acted on later than the part window of {window:g} ms after their capture.
- *lost in result*: records in the database that no `result` message brought to a subscriber that the broker keeps a
  session for.
- A reading of memory is the median of {smoothed} samples.
"""


def page(line: Line, figures: list[Figure], samples: list[Sample], seed: int) -> str:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    head = HEAD.format(
        rate=RATE, pause=PAUSE_S, seed=seed, sample=SAMPLE_S, minutes=samples[-1].minute,
        at=datetime.now(UTC).isoformat(timespec="minutes"), machine=machine, version=__version__,
    )  # fmt: skip
    rows = "".join(map(Figure.row, figures))
    faults = "".join(f"| {name} | {n} | {line.live_s[name]:.2f} s |\n" for name, n in sorted(line.faults.items()))
    step = max(1, len(samples) // 10)
    curve = "".join(
        f"| {s.minute:.1f} | {s.parts} | {s.rss_kb / 1000:.2f} | {s.descriptors} | {s.threads} |\n"
        for s in [*samples[:-1:step], samples[-1]]
    )
    return head + rows + MIDDLE + faults + CURVE + curve + FOOT.format(window=WINDOW_MS, smoothed=SMOOTHED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", type=float, nargs="?", default=30.0)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    dice = random.Random(options.seed)  # noqa: S311 - which fault comes when is no secret
    with Bench().rig() as rig, Proxy(*rig.address()) as proxy:
        line = Line(rig, proxy, rig.daemon(url=proxy.url).wait_ready())
        rig.steady()
        with Sampler(line) as sampler:
            soak(line, options.minutes, dice)
            line.rig.live_again(time.monotonic())
        figures = judge(line, sampler.samples)
    for figure in figures:
        print(f"{'' if figure.holds else 'SHORT ':6}{figure}")
    PAGE.write_text(page(line, figures, sampler.samples, options.seed), "utf-8")
    sys.exit(not all(figure.holds for figure in figures))


if __name__ == "__main__":
    main()
