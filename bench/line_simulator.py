"""A PLC triggers 10,000 parts at 1 to 100 a second while camera, model, recorder and broker stall, one after the other.

    python bench/line_simulator.py [--triggers N] [--deadline-ms N] [--seed N]

The station is the real one, in a process of its own, on a simulated line and a real Mosquitto. Prints a table; exits
with 1 unless every trigger got its verdict: none missing, none doubled, none late, each on record once.
"""

import argparse
import json
import os
import platform
import random
import runpy
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from edge_qc.capture import simulated
from edge_qc.classify.litert import LiteRtClassifier
from edge_qc.record.store import Store
from edge_qc.selftest.judge import Figure, at_most, gaps, none_of, p99
from support import PREFIX, Mosquitto, rows, wait_until

CAMERA_RATE = 250  # pictures a second: two or three between two triggers
RATES = {100: 4.0, 50: 3.0, 20: 2.0, 10: 1.0, 5: 1.0, 2: 1.0, 1: 1.0}  # triggers a second: for so many seconds each
BURST = 10  # at once, where a rate begins
PAUSE_S = 1.2  # after a stall, so that each is seen alone
# From and to: of camera and model in deadlines, of recorder and broker in seconds. A broker that says nothing for a
# second is cut off, and what it then holds is for nobody: that fault is the selftest's.
STALLS = {"camera": (0.1, 1.5), "model": (0.1, 1.5), "recorder": (0.3, 3.0), "broker": (0.1, 0.4)}
IN_DEADLINES = {"camera", "model"}
READY_S, SETTLE_S = 30.0, 15.0


def station(arguments: Sequence[str]) -> None:
    """Runs the daemon; a line such as `model 0.4` on standard input makes the model's next call take so much longer."""
    stalls: dict[str, float] = {}

    def listen() -> None:
        for line in sys.stdin:
            kind, seconds = line.split()
            stalls[kind] = float(seconds)

    def stalling(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def stalled(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the call takes and gives
            time.sleep(stalls.pop(kind, 0.0))
            return call(*args, **named)

        return stalled

    dice = np.random.default_rng(1)
    drawn = cycle([simulated.draw_part(dice, defective) for defective in (False, True, False)])  # drawing takes long
    simulated.draw_part = lambda *_: next(drawn)
    simulated.SimulatedCamera.read = stalling("camera", simulated.SimulatedCamera.read)  # type: ignore[method-assign]
    LiteRtClassifier.classify = stalling("model", LiteRtClassifier.classify)  # type: ignore[method-assign]
    Store.write = stalling("recorder", Store.write)  # type: ignore[method-assign]
    threading.Thread(target=listen, daemon=True).start()
    sys.argv = ["edge-qc", *arguments]
    runpy.run_module("edge_qc", run_name="__main__")


@dataclass(slots=True)
class Run:
    """What was done, and what came of it."""

    deadline_ms: int
    triggered: int = 0
    took_s: float = 0.0
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    ages_ms: list[float] = field(default_factory=list)  # of each verdict where it arrived
    stalls: Counter[str] = field(default_factory=Counter)
    stalled_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    records: list[dict[str, Any]] = field(default_factory=list)
    status: int = -1
    lost: int = 0  # connections to the broker: a trigger that comes meanwhile is heard by nobody
    cpu_s: float = 0.0  # of the station
    starved_s: float = 0.0  # that its threads were ready to run and had no core


class Plc:
    """Triggers parts, and notes each verdict with the age that it has on arrival, by the clock shared with the station.

    A context manager.
    """

    def __init__(self, port: int, run: Run) -> None:
        self._run, self._ready = run, threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = lambda client, *_: client.subscribe(PREFIX + "verdict", 1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, message: self._hear(bytes(message.payload))
        self._client.connect("127.0.0.1", port)

    def trigger(self) -> None:
        self._run.triggered += 1
        self._client.publish(PREFIX + "trigger", json.dumps({"part": f"A-{self._run.triggered}"}), 1)

    def _hear(self, payload: bytes) -> None:
        verdict = json.loads(payload)
        age = datetime.now(UTC) - datetime.fromisoformat(verdict["captured_at"])
        self._run.ages_ms.append(age.total_seconds() * 1000)
        self._run.verdicts.append(verdict)

    def __enter__(self) -> Self:
        self._client.loop_start()
        self._ready.wait(READY_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def due_s() -> Iterator[float]:
    """When each part is triggered, seconds from the start: the rates in turn, the highest with a burst at its begin."""
    begin_s = 0.0
    while True:
        yield from [begin_s] * BURST
        for rate, for_s in RATES.items():
            yield from (begin_s + i / rate for i in range(int(rate * for_s)))
            begin_s += for_s


class Staller:
    """Makes one thing after the other stall, each kind as often, until it is stopped."""

    def __init__(self, run: Run, daemon: "subprocess.Popen[str]", broker: Mosquitto, dice: random.Random) -> None:
        self._run, self._daemon, self._broker, self._dice = run, daemon, broker, dice
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._stall_all)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _stall_all(self) -> None:
        for kind in cycle(self._dice.sample(list(STALLS), len(STALLS))):
            if self._over.wait(PAUSE_S):
                return
            scale = self._run.deadline_ms / 1000 if kind in IN_DEADLINES else 1.0
            seconds = self._dice.uniform(*STALLS[kind]) * scale
            self._run.stalls[kind] += 1
            self._run.stalled_s[kind] += seconds
            self._stall(kind, seconds)

    def _stall(self, kind: str, seconds: float) -> None:
        if kind != "broker":
            assert self._daemon.stdin is not None
            print(kind, f"{seconds:.3f}", file=self._daemon.stdin, flush=True)
            time.sleep(seconds)
            return
        self._broker.freeze()
        time.sleep(seconds)
        self._broker.thaw()


def simulate(folder: Path, triggers: int, deadline_ms: int, seed: int) -> Run:
    """Runs the line."""
    run, config, data = Run(deadline_ms), folder / "config.yaml", folder / "data"
    config.write_text(f"trigger: {{kind: mqtt}}\nline: {{deadline_ms: {deadline_ms}}}\n")
    with Mosquitto(folder, "allow_anonymous true") as broker, Plc(broker.port, run) as plc:
        command = [sys.executable, __file__, "--station", "--config", str(config), "--data-dir", str(data)]
        command += ["--source", f"sim:?rate={CAMERA_RATE}", "--broker", broker.url]
        with running(command, folder / "log") as daemon:
            staller = Staller(run, daemon, broker, random.Random(seed))  # noqa: S311 - which stalls is no secret
            began_s = time.monotonic()
            for at_s in islice(due_s(), triggers):
                time.sleep(max(0.0, began_s + at_s - time.monotonic()))
                plc.trigger()
            run.took_s = time.monotonic() - began_s
            run.cpu_s, run.starved_s = scheduled_s(daemon.pid)
            staller.stop()
            settle(lambda: len(run.verdicts) >= triggers)
            settle(lambda: len(rows(data, "SELECT seq FROM inspections")) >= triggers)
            daemon.terminate()
            run.status = daemon.wait(SETTLE_S)
            run.lost = (folder / "log").read_text().count("no connection to the broker")
    run.records = rows(data)
    return run


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator["subprocess.Popen[str]"]:
    """The station, once it is ready; ended in any case."""
    with log.open("w") as errors:
        daemon = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, cwd=log.parent, text=True)
    with daemon:
        try:
            wait_until(lambda: "ready: station" in log.read_text() or daemon.poll() is not None, READY_S)
            yield daemon
        finally:
            if daemon.poll() is None:
                daemon.kill()
                print(log.read_text()[-4000:], file=sys.stderr)


def scheduled_s(pid: int) -> tuple[float, float]:
    """Seconds that a process has had a core, and that its threads have waited for one."""
    threads = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(ran) for ran, _, _ in threads) / 1e9, sum(int(waited) for _, waited, _ in threads) / 1e9


def settle(done: Callable[[], bool]) -> None:
    """Waits for what is still under way; what does not come is judged as missing."""
    try:
        wait_until(done, SETTLE_S)
    except TimeoutError:
        return


def judge(run: Run) -> list[Figure]:
    """What was measured beside what must hold."""
    numbers = [verdict["seq"] for verdict in run.verdicts]
    parts = Counter(verdict["part"] for verdict in run.verdicts)
    triggered = {f"A-{i + 1}" for i in range(run.triggered)}
    stations_ms = [record["latency_ms"] for record in run.records]
    return [
        Figure("triggers", run.triggered),
        Figure("verdicts", len(run.verdicts), bound=f"{run.triggered}", holds=len(run.verdicts) == run.triggered),
        none_of("triggers without a verdict", len(triggered - parts.keys())),
        none_of("doubled", len(numbers) - len(set(numbers)) + sum(count > 1 for count in parts.values())),
        none_of("late where they arrived", sum(age > run.deadline_ms for age in run.ages_ms)),
        none_of("late where they left, or not sent", sum(r["signalled"] != "sent" for r in run.records)),
        none_of("out of order", sum(after <= before for before, after in pairwise(numbers))),
        none_of("records missing", run.triggered - len(run.records)),
        none_of("missing numbers on record", gaps(run.records)),
        at_most("longest from trigger to verdict", max(stations_ms, default=0.0), run.deadline_ms, "ms", 1),
        Figure("longest from trigger to arrival", round(max(run.ages_ms, default=0.0), 1), "ms"),
        Figure("p50 from trigger to verdict", round(float(np.median(stations_ms or [0.0])), 1), "ms"),
        Figure("p99 from trigger to verdict", round(p99(stations_ms), 1), "ms"),
        Figure("connections to the broker lost", run.lost),
        Figure("processor time of the station", round(run.cpu_s, 1), "s"),
        Figure("its threads were ready and had no core", round(run.starved_s, 1), "s"),
        none_of("unclean exit", run.status),
    ]


def table(run: Run, figures: Sequence[Figure]) -> str:
    """Markdown."""
    said = Counter((v["verdict"], v["reason"]) for v in run.verdicts)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    stalls = ", ".join(f"{kind} {n} times ({run.stalled_s[kind]:.1f} s)" for kind, n in sorted(run.stalls.items()))
    lines = [
        f"{run.took_s:.0f} s, {machine}. Stalls: {stalls}.\n\n",
        "| | measured | must be | |\n| --- | --- | --- | --- |\n",
    ]
    lines += [figure.row() for figure in figures]
    lines += [f"| {verdict}, {reason} | {count} | | |\n" for (verdict, reason), count in said.most_common()]
    return "".join(lines)


def main() -> None:
    """Runs the line and prints what came of it."""
    if "--station" in sys.argv:
        station(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--triggers", type=int, default=10_000)
    parser.add_argument("--deadline-ms", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = simulate(Path(folder), options.triggers, options.deadline_ms, options.seed)
    figures = judge(run)
    print(table(run, figures))
    sys.exit(not all(figure.holds for figure in figures))


if __name__ == "__main__":
    main()
