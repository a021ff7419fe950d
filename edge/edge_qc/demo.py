"""The demo: a simulated line, an embedded broker, a virtual PLC, and the real daemon between them."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_qc.errors import EdgeQcError, SignalError
from edge_qc.sections import Broker
from edge_qc.signal.embedded import EmbeddedBroker
from edge_qc.virtual_plc import Action, PlcCounts, VirtualPlc

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

STATION = "line1/cam1"
LIVE_RATE, HEADLESS_RATE = 5.0, 20.0
CONNECT_TIMEOUT_S = 10.0
START_TIMEOUT_S = 45.0
SETTLE_TIMEOUT_S = 2.0
KILL_TIMEOUT_S = 5.0
SHOWN_PARTS = 12
SHOWN_LOG_LINES = 20
_WORDS = ("verdict", "reason", "label")
_COLOURS = {"ok": "green", "reject": "red", "unsure": "yellow", "not_inspected": "magenta"}
_DID = {"passed": "let pass", "rejected": "gate fired", "let_through": "no reject", "late": "too late"}


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo can be asked for.

    Attributes:
        parts: how many parts come.
        headless: no live table; the summary alone, on standard output.
        rate: parts a second; None takes 5, or 20 when headless.
        defect_rate: share of defective parts, 0 to 1.
        seed: the same seed gives the same parts.
        model: bundle folder; None takes the daemon's default.
    """

    parts: int = 20
    headless: bool = False
    rate: float | None = None
    defect_rate: float = 0.2
    seed: int = 1
    model: Path | None = None

    @property
    def source(self) -> str:
        """The daemon's ``--source``."""
        return f"sim:?parts={self.parts}&rate={self.pace:g}&defect_rate={self.defect_rate:g}&seed={self.seed}"

    @property
    def pace(self) -> float:
        """Parts a second."""
        return self.rate or (HEADLESS_RATE if self.headless else LIVE_RATE)


def run_demo(options: DemoOptions) -> int:
    """Runs the demo.

    Returns:
        0 if every part got exactly one verdict and the PLC acted on each in time, else 1, said on standard error.
    """
    from rich.console import Console  # noqa: PLC0415 - the daemon never pays for it

    plain = {"no_color": True, "force_terminal": False} if options.headless else {}
    console = Console(highlight=False, **plain)  # type: ignore[arg-type]
    try:
        with tempfile.TemporaryDirectory(prefix="edge-qc-demo-") as folder, EmbeddedBroker() as broker:
            return _run(options, console, Path(folder), broker.url)
    except EdgeQcError as error:
        print(f"edge-qc demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("edge-qc demo: stopped", file=sys.stderr)
        return 1


def _run(options: DemoOptions, console: "Console", folder: Path, url: str) -> int:
    log = folder / "daemon.log"
    with VirtualPlc(Broker(url=url), STATION, keep=options.parts) as plc:
        if not plc.wait_connected(CONNECT_TIMEOUT_S):
            raise SignalError("the virtual PLC does not reach the embedded broker", expected=url, got="no connection")
        with _daemon(_command(options, folder, url), log) as daemon:
            status = _watch(options, console, plc, daemon)
        plc.wait_for(lambda counts: counts.settled >= options.parts, SETTLE_TIMEOUT_S)
        counts, actions = plc.counts(), plc.actions()
    console.print()
    console.print(_summary(counts, actions))
    faults = _faults(options.parts, counts, status)
    if not faults:
        console.print(f"Every one of {options.parts} parts got one verdict, and the PLC acted on each in time.")
        return 0
    print(f"edge-qc demo: {'; '.join(faults)}.", file=sys.stderr)
    lines = log.read_text("utf-8", "replace").splitlines()[-SHOWN_LOG_LINES:]
    print("\n".join(["The daemon's last lines:", *lines] if lines else ["The daemon said nothing."]), file=sys.stderr)
    return 1


def _command(options: DemoOptions, folder: Path, url: str) -> list[str]:
    config = folder / "config.yaml"  # keeps a config file that lies about on this machine out of the demo
    config.write_text(f"station: {STATION}\n", "utf-8")
    command = [sys.executable, "-m", "edge_qc", "run", "--once", "--config", str(config), "--source", options.source]
    command += ["--broker", url, "--data-dir", str(folder / "data")]
    return command + (["--model", str(options.model)] if options.model else [])


@contextmanager
def _daemon(command: Sequence[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The daemon as a child, in a session of its own so that Ctrl-C reaches it through us; ended in any case."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_QC_")}
    with log.open("wb") as stream:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(KILL_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _watch(options: DemoOptions, console: "Console", plc: VirtualPlc, daemon: "subprocess.Popen[bytes]") -> int | None:
    """Waits for the daemon's end, showing the parts meanwhile; its exit status, None if it did not end in time."""
    end_s = time.monotonic() + START_TIMEOUT_S + 1.5 * options.parts / options.pace
    with _live(options, console) as live:
        shown = -1
        while daemon.poll() is None and time.monotonic() < end_s:
            before = shown
            plc.wait_for(lambda counts, before=before: counts.settled != before, 0.1)  # type: ignore[misc]
            counts = plc.counts()
            shown = counts.settled
            if live is not None:
                live.update(_parts_table(options, counts, plc.actions()))
        if live is not None:
            plc.wait_for(lambda counts: counts.settled >= options.parts, SETTLE_TIMEOUT_S)
            live.update(_parts_table(options, plc.counts(), plc.actions()), refresh=True)
    return daemon.poll()


def _live(options: DemoOptions, console: "Console") -> Any:  # noqa: ANN401 - rich.live.Live, or a context of None
    if options.headless or not console.is_terminal:
        return nullcontext()
    from rich.live import Live  # noqa: PLC0415

    return Live(_parts_table(options, PlcCounts(), ()), console=console, refresh_per_second=10)


def _parts_table(options: DemoOptions, counts: PlcCounts, actions: Sequence[Action]) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    title = f"{STATION}: {counts.settled} of {options.parts} parts, {counts.ok} ok, {counts.rejected} rejected"
    table = Table(title=title if counts.parts else f"{STATION}: the daemon starts", title_justify="left", box=None)
    table.pad_edge = False
    for name, width in (("seq", 4), ("verdict", 13), ("reason", 18), ("label", 9), ("score", 5), ("age ms", 6)):
        table.add_column(name, min_width=width, justify="left" if name in _WORDS else "right", no_wrap=True)
    table.add_column("PLC", min_width=10, no_wrap=True)
    for action in actions[-SHOWN_PARTS:]:
        table.add_row(*_cells(action), style=_COLOURS[action.verdict.value])
    return table


def _cells(action: Action) -> list[str]:
    score = "" if action.score is None else f"{action.score:.3f}"
    said = [action.verdict.value, action.reason, action.label or ""]
    return [str(action.seq), *said, score, f"{action.age_ms:.0f}", _DID[action.did]]


def _summary(counts: PlcCounts, actions: Sequence[Action]) -> "Table":
    from rich.table import Table  # noqa: PLC0415

    ages = sorted(action.age_ms for action in actions)
    rows = [
        ("parts", counts.parts),
        ("ok", counts.ok),
        ("rejected", counts.rejected),
        ("late", counts.late),
        ("doubled", counts.doubled),
        ("missing", counts.missing),
        ("heartbeat faults", counts.heartbeat_faults),
        ("verdict age p50, ms", _quantile(ages, 0.5)),
        ("verdict age p99, ms", _quantile(ages, 0.99)),
    ]
    table = Table(title="What the PLC saw", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("how many", justify="right")
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def _quantile(ages: Sequence[float], share: float) -> str:
    """The nearest-rank quantile."""
    return f"{ages[min(len(ages) - 1, int(share * len(ages)))]:.0f}" if ages else "-"


def _faults(parts: int, counts: PlcCounts, status: int | None) -> list[str]:
    """Why the demo has failed, a clause each."""
    found = [
        (status is None, "the daemon did not end in time"),
        (bool(status), f"the daemon ended with exit status {status}"),
        (counts.parts != parts, f"the PLC heard of {counts.parts} parts, expected {parts}"),
        (counts.late > 0, f"{counts.late} verdicts came after their part window"),
        (counts.doubled > 0, f"{counts.doubled} messages came twice"),
        (counts.missing > 0, f"{counts.missing} parts are missing"),
        (counts.let_through > 0, f"{counts.let_through} parts got no reject signal"),
        (counts.malformed > 0, f"{counts.malformed} messages could not be understood"),
        (counts.acted != parts, f"the PLC acted on {counts.acted} of {parts} parts in time"),
    ]
    return [clause for failed, clause in found if failed]
