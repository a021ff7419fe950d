"""Where the milliseconds go, on this machine: the station's own stages, a real Mosquitto, and a bare loop beside them.

In one run, by turns, so that whatever else loads the machine loads each alike: a part through the whole station, the
same picture through a bare loop (the floor), and the same through the stages one by one.
"""

import logging
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edge_qc import __version__
from edge_qc.assembly import data_dir, run_station
from edge_qc.bench_turns import END_TO_END, FLOOR, GATE, HEARD_WITHIN_S, PAUSE_S, Turns
from edge_qc.bundle import Bundle, load_bundle
from edge_qc.config import Config
from edge_qc.errors import SignalError
from edge_qc.installed import InstalledBundles
from edge_qc.sections import Broker, Line, Model, Record, Source
from edge_qc.selftest.broker import Mosquitto, find_mosquitto
from edge_qc.selftest.judge import Figure
from edge_qc.selftest.rig import Daemon

IDLE_S, SETTLED_S = 3.0, 0.5
FIRST_PART_S = 4.0  # after both of these
FULL_RATE = 60  # parts a second


@dataclass(frozen=True, slots=True)
class Spread:
    """Quantiles, milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, taken_s: Sequence[float]) -> "Spread":
        """The quantiles of durations in seconds."""
        return cls(*(round(float(value) * 1000, 4) for value in np.quantile(taken_s, (0.5, 0.95, 0.99))))


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured.

    Attributes:
        machine: what it was measured on, and how busy that was.
        model: name and version of the bundle.
        parts: how many of each.
        spreads: by stage, and of the whole and the floor.
        figures: what has an aim.
    """

    machine: str
    model: str
    parts: int
    spreads: dict[str, Spread]
    figures: tuple[Figure, ...]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return {"version": __version__, "at": at, **asdict(self)}


def bench(config: Config, parts: int) -> Measured:
    """Measures, on a broker and in a folder of its own; the config's own are left alone.

    Args:
        config: its model, gate and thresholds are used.
        parts: how many parts go through each way.

    Raises:
        SignalError: if there is no Mosquitto.
        PictureError: if the model or its gate do not take the drawn castings for parts.
        EdgeQcError: if the station does not start.
    """
    if find_mosquitto() is None:
        raise SignalError(
            "no broker to measure with",
            expected="the program mosquitto, on the PATH or in /usr/sbin",
            got="none",
            remedy="sudo apt-get install mosquitto (it need not run: the benchmark starts one of its own)",
        )
    bundle = load_bundle(config.model.bundle or InstalledBundles(data_dir(config)).current())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-qc-bench-")))
        # The daemon writes a line a part, so the station measured here does too.
        logging.basicConfig(filename=folder / "station.log", level="INFO", force=True)
        mosquitto = Mosquitto(folder)
        mosquitto.start()
        stack.callback(mosquitto.stop)
        ours = _config(config, bundle, folder / "station", mosquitto.url)
        turns = stack.enter_context(Turns(ours, bundle, parts))
        run_station(ours, once=False, source=turns)
        turns.check()
        process = _measure_process(ours, folder)
    spreads = {name: Spread.of(taken) for name, taken in turns.taken_s.items()}
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    machine = f"{platform.machine()}, {cores} cores, load {load:.1f}, Python {platform.python_version()}"
    if load > cores:
        machine += "; busy with other work, so that milliseconds say little, and the ratios to the floor more"
    figures = (*_against_the_floor(spreads), _rate(parts, turns.flat_out_s), *process)
    return Measured(machine, bundle.card.id, parts, spreads, figures)


def _config(config: Config, bundle: Bundle, folder: Path, url: str) -> Config:
    return Config(
        model=Model(bundle=bundle.path, threads=config.model.threads),
        decide=config.decide,
        quality=config.quality,
        source=Source(uri="sim:"),
        broker=Broker(url=url),
        line=Line(deadline_ms=int(HEARD_WITHIN_S * 1000)),  # a stalled machine is measured, not given up
        record=Record(data_dir=folder, free_floor_mb=0),
    )


def _measure_process(config: Config, folder: Path) -> list[Figure]:
    """A real daemon: from start to ready, CPU time while no part comes, and memory after its first part."""
    record = config.record.model_copy(update={"data_dir": folder / "daemon"})
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_copy(update={"record": record}).model_dump(mode="json")), "utf-8")
    source = f"sim:?rate={1 / FIRST_PART_S:g}"
    began_s = time.monotonic()
    daemon = Daemon(
        [sys.executable, "-m", "edge_qc", "run", "--config", str(file), "--source", source], folder / "daemon.log", {}
    )
    try:
        ready_s = time.monotonic() - began_s if daemon.wait_ready().alive else math.inf
        time.sleep(SETTLED_S)
        cpu_s, since_s = _cpu_s(daemon.pid), time.monotonic()
        time.sleep(IDLE_S)
        idle = (_cpu_s(daemon.pid) - cpu_s) / (time.monotonic() - since_s) * 100
        while "part 1:" not in daemon.said() and daemon.alive:
            time.sleep(PAUSE_S)
        resident_mb = daemon.resident_mb
    finally:
        daemon.stop()
    return [
        _at_most("memory of the daemon (RSS)", resident_mb, "MB", 130),
        _at_most("start to ready", ready_s, "s", 1.2),
        _at_most("idle CPU between parts", idle, "% of a core", 3),
    ]


def _cpu_s(pid: int) -> float:
    """CPU time of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _against_the_floor(spreads: dict[str, Spread]) -> list[Figure]:
    whole, floor = spreads[END_TO_END], spreads[FLOOR]
    return [
        _at_most("end to end, times the floor, p50", whole.p50_ms / floor.p50_ms, "", 1.3),
        _at_most("end to end, times the floor, p99", whole.p99_ms / floor.p99_ms, "", 2),
        _at_most("picture-quality gate, p50", spreads[GATE].p50_ms, "ms", 0.5),
    ]


def _rate(parts: int, took_s: float) -> Figure:
    rate = parts / took_s
    return Figure("parts a second, flat out", round(rate, 1), "", f"≥ {FULL_RATE}", rate >= FULL_RATE)


def _at_most(what: str, measured: float, unit: str, most: float) -> Figure:
    return Figure(what, round(measured, 2), unit, f"≤ {most:g}", measured <= most)


def print_tables(measured: Measured) -> None:
    """Prints what was measured, for a person."""
    from rich.console import Console  # noqa: PLC0415 - only tables need it
    from rich.table import Table  # noqa: PLC0415

    console = Console(highlight=False)
    stages = Table(title="Where the milliseconds go", title_justify="left")
    stages.add_column("stage", no_wrap=True)
    for name in ("p50 ms", "p95 ms", "p99 ms"):
        stages.add_column(name, justify="right", no_wrap=True)
    for name, spread in measured.spreads.items():
        if name == FLOOR:
            stages.add_section()
        stages.add_row(name, *(f"{value:.3f}" for value in asdict(spread).values()))
    aims = Table(title="Against the aims", title_justify="left")
    aims.add_column("figure", no_wrap=True)
    for name in ("measured", "aim"):
        aims.add_column(name, justify="right", no_wrap=True)
    aims.add_column("", no_wrap=True)
    for figure in measured.figures:
        shown = f"{figure.measured:g} {figure.unit}".strip()
        aims.add_row(figure.what, shown, figure.bound, "holds" if figure.holds else "falls short")
    console.print(f"{measured.model}, {measured.parts} drawn castings each way\n{measured.machine}\n")
    console.print(stages)
    console.print()
    console.print(aims)
