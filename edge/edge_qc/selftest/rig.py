"""The bench of one fault: a broker, a virtual PLC, an auditor, and the daemon as a process of its own."""

import os
import resource
import secrets
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from edge_qc.config import Config
from edge_qc.errors import EdgeQcError, SignalError
from edge_qc.sections import Broker
from edge_qc.selftest.broker import Given, InProcess, Mosquitto, TestBroker, find_mosquitto
from edge_qc.selftest.judge import Figure, Said, key, results
from edge_qc.selftest.witness import Witness
from edge_qc.signal.link import address
from edge_qc.virtual_plc import VirtualPlc

RATE = 20.0  # parts a second
WINDOW_MS = 1000
START_TIMEOUT_S = 45.0
STOP_TIMEOUT_S = 15.0
LIVE_TIMEOUT_S = 20.0
SETTLE_TIMEOUT_S = 60.0
KEPT_ACTIONS = 200_000
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Bench:
    """What all rows have in common.

    Attributes:
        quick: the short form of each row.
        config: the real config whose station and broker are used; None for a broker of our own.
    """

    quick: bool = False
    config: Config | None = None

    @property
    def broker_name(self) -> str:
        """Which broker the station is tested with."""
        if _given(self.config):
            return "the config's"
        return "mosquitto" if find_mosquitto() else "amqtt, in the process (no mosquitto found)"

    def pick(self, full: float, quick: float) -> float:
        """A length or a count for this form."""
        return quick if self.quick else full

    def rig(self, *, environment: Mapping[str, str] | None = None) -> "Rig":
        """A bench of its own for one fault; ``environment`` is on top of ours, for broker and daemon."""
        return Rig(self.config, environment or {})


class Daemon:
    """The daemon as a process.

    Args:
        command: its command line.
        log: where its standard error goes.
        environment: variables on top of ours; those of edge-qc itself are left out.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self._log, self._from = log, log.stat().st_size if log.exists() else 0
        clean = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_QC_")}
        with log.open("ab") as stream:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                env=clean | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._child.poll() is None

    @property
    def resident_mb(self) -> float:
        """Its resident memory, 10^6 bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize() / 1e6

    def said(self) -> str:
        """Its log."""
        with self._log.open("rb") as stream:
            stream.seek(self._from)
            return stream.read().decode("utf-8", "replace")

    def wait_ready(self) -> Self:
        """Waits until it inspects.

        Raises:
            EdgeQcError: if it does not, with its last words.
        """
        end_s = time.monotonic() + START_TIMEOUT_S
        while "ready: station" not in self.said():
            if not self.alive or time.monotonic() > end_s:
                raise EdgeQcError("the daemon does not start", got=" / ".join(self.said().splitlines()[-3:]))
            time.sleep(POLL_S)
        return self

    def send(self, number: signal.Signals) -> None:
        """A signal to it."""
        self._child.send_signal(number)

    def kill(self) -> None:
        """As if the plug was pulled."""
        self._child.kill()
        self._child.wait()

    def stop(self) -> int:
        """Ends it by intent; its exit status, or -9 where it had to be killed."""
        self._child.send_signal(signal.SIGCONT)
        self._child.terminate()
        try:
            return self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9

    def limit_files(self, size_bytes: int) -> None:
        """No file of its may grow beyond this; -1 for no limit."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


class Rig:
    """One fault's bench. A context manager: broker, witness and PLC run, and are gone afterwards.

    Args:
        config: the real config; None for a broker of our own.
        environment: for broker and daemon.
    """

    def __init__(self, config: Config | None, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._stages = ExitStack()
        self.folder = Path(self._stages.enter_context(tempfile.TemporaryDirectory(prefix="edge-qc-selftest-")))
        self.data_dir = self.folder / "data"
        self.sabotage = self.folder / "sabotage"
        self.sabotage.mkdir()
        self.broker = _make(config, self.folder, environment)
        self._config = config or Config()
        self.root = f"edge-qc-selftest-{secrets.token_hex(4)}"
        self._record: dict[str, Any] = {"free_floor_mb": 0}

    def __enter__(self) -> Self:
        """Starts broker, witness and PLC."""
        with ExitStack() as stages:
            stages.push(self._stages)
            self.broker.start()
            self._stages.callback(self.broker.stop)
            self.witness = self._stages.enter_context(Witness(self.settings(), self.prefix))
            self.plc = self.new_plc()
            self._stages.callback(lambda: self.plc.stop())  # noqa: PLW0108 - a row may put another in its place
            stages.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops all of it, the daemon first."""
        self._stages.__exit__(kind, error, trace)

    @property
    def prefix(self) -> str:
        """The station's topics, with the last slash."""
        return f"{self.root}/{self._config.station}/"

    def settings(self, url: str | None = None) -> Broker:
        """The broker's settings, under a topic root of our own."""
        return self._config.broker.model_copy(update={"url": url or self.broker.url, "root": self.root})

    def address(self) -> tuple[str, int]:
        """Host and port of the broker, for a proxy."""
        host, port, _ = address(self.settings())
        return host, port

    def new_plc(self) -> VirtualPlc:
        """A virtual PLC, waited for."""
        plc = VirtualPlc(self.settings(), self._config.station, window_ms=WINDOW_MS, keep=KEPT_ACTIONS)
        plc.start()
        if not plc.wait_connected(LIVE_TIMEOUT_S):
            plc.stop()
            raise SignalError("the virtual PLC does not reach the broker", expected=self.broker.url)
        return plc

    def daemon(self, source: str = "", *options: str, url: str | None = None, sabotaged: bool = False) -> Daemon:
        """Starts the daemon, on simulated parts without end unless told otherwise; it ends with the rig."""
        config = self.folder / "config.yaml"
        broker = self.settings(url).model_dump(mode="json")
        tree = {"station": self._config.station, "broker": broker, "record": self._record}
        config.write_text(yaml.safe_dump(tree), "utf-8")
        program = ["edge_qc.selftest.sabotage", str(self.sabotage)] if sabotaged else ["edge_qc"]
        command = [sys.executable, "-m", *program, "run", "--config", str(config), "--data-dir", str(self.data_dir)]
        source = source or f"sim:?rate={RATE:g}"
        daemon = Daemon([*command, "--source", source, *options], self.folder / "daemon.log", self._environment)
        self._stages.callback(_end, daemon)
        return daemon

    def on_exit(self, action: Callable[[], object]) -> None:
        """Does something when the rig ends, before what was set up earlier ends."""
        self._stages.callback(action)

    def records(self) -> list[dict[str, Any]]:
        """Every inspection on record, in order."""
        return self._query("SELECT * FROM inspections ORDER BY rowid")

    def integrity_faults(self) -> int:
        """What SQLite's own check finds wrong with the database."""
        found = self._query("PRAGMA integrity_check")
        return 0 if [row["integrity_check"] for row in found] == ["ok"] else len(found)

    def _query(self, query: str) -> list[dict[str, Any]]:
        uri = f"file:{self.data_dir / 'inspections.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query)]

    def steady(self, seconds: float = 1.5) -> None:
        """Waits until the PLC acts on parts, and a while longer.

        Raises:
            SignalError: if it does not.
        """
        self.live_again(time.monotonic())
        time.sleep(seconds)

    def live_again(self, since_s: float) -> float:
        """Seconds from a monotonic time until the PLC acts, in time, on a part that was captured after it.

        Raises:
            SignalError: if that takes longer than 20 s.
        """
        while (now_s := time.monotonic()) < since_s + LIVE_TIMEOUT_S:
            before = self.plc.counts().acted
            if self.plc.wait_for(lambda counts, before=before: counts.acted > before, 0.1):  # type: ignore[misc]
                now_s = time.monotonic()
                last = self.plc.actions()[-1]
                if last.did in ("passed", "rejected") and now_s - last.age_ms / 1000 >= since_s:
                    return now_s - since_s
        raise SignalError("the PLC acts on no part", expected=f"a verdict within {LIVE_TIMEOUT_S:g} s")

    def settle(self) -> tuple[list[Said], list[Figure]]:
        """Waits until what is on record now was forwarded; the records, and how that went."""
        records: list[Said] = list(self.records())
        wanted, start_s = {key(record) for record in records}, time.monotonic()
        while not wanted <= {key(said) for said in self.witness.said("result")}:
            if time.monotonic() - start_s > SETTLE_TIMEOUT_S:
                break
            time.sleep(0.1)
        forwarded = [said for said in self.witness.said("result") if key(said) in wanted]
        return records, [*results(records, forwarded), _told("caught up in", time.monotonic() - start_s, "s")]


def _end(daemon: Daemon) -> None:
    with suppress(ProcessLookupError):
        daemon.stop()


def _told(what: str, value: float, unit: str) -> Figure:
    return Figure(what, round(value, 2), unit)


def _given(config: Config | None) -> str | None:
    """The url of a real broker; None where the config has none, or one of its own making."""
    url = "" if config is None else config.broker.url
    return url if url.startswith("mqtt") else None


def _make(config: Config | None, folder: Path, environment: Mapping[str, str]) -> TestBroker:
    if (url := _given(config)) is not None:
        return Given(url)
    return Mosquitto(folder, environment) if find_mosquitto() else InProcess()
