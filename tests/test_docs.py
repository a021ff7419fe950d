"""Every command that README and docs show works as it is shown, and the PLC programs of docs/plc do as told."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from edge_qc_trainer.cli import cli as trainer
from support import Mosquitto, draw_pictures, edge_qc

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = re.compile(r"^(?: {4})?((?:/opt/edge-qc/bin/)?edge-qc(?:-train)? .*?)(?:\s{2,}#.*)?$", re.MULTILINE)


def _commands(program: str) -> list[str]:
    found = []
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        found += [command.removeprefix("/opt/edge-qc/bin/") for command in SHOWN.findall(text)]
    return sorted({command for command in found if command.split()[0] == program})


def test_there_are_commands_to_check() -> None:
    assert len(_commands("edge-qc")) >= 5
    assert len(_commands("edge-qc-train")) >= 4


@pytest.mark.parametrize("command", _commands("edge-qc"))
def test_a_device_command_runs(command: str, tmp_path: Path, broker: Mosquitto) -> None:
    draw_pictures(tmp_path / "pictures", 2)
    stand_ins = {  # what a reader has and a test has not
        "/dev/video0": "sim:?parts=2&rate=50",
        "mqtt://127.0.0.1:1883": broker.url,
        "runs/first/bundle": str(ROOT / "edge" / "edge_qc" / "models" / "casting"),
        "60": "1",
        "100": "1",
    }
    args = [stand_ins.get(word, word) for word in shlex.split(command)[1:]]
    if args[0] == "plc":
        args += [] if "--for" in args else ["--for", "1"]
    if args[0] == "history":
        edge_qc("--source", "pictures", "--once", "--broker", "none:", "--data-dir", "records", cwd=tmp_path)
    done = edge_qc(*args, cwd=tmp_path, EDGE_QC_BROKER=broker.url)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", _commands("edge-qc-train"))
def test_a_trainer_command_is_understood(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed, not run: a training takes minutes. tests/trainer runs each of them on small data."""
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    name, *args = shlex.split(command)[1:]
    (tmp_path / "model.keras").touch()
    args = [str(tmp_path / "model.keras") if word.endswith(".keras") else word for word in args]
    context = trainer.commands[name].make_context(name, args)
    assert context.params


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_files_that_a_page_leads_to_are_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


# Stands in for Node-RED's runtime: `steps` are a time in ms and a message; it prints what the function gave for each.
NODE_RED = """
const { func, steps } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const kept = {}, context = { get: (k) => kept[k], set: (k, v) => { kept[k] = v; } };
let now = 0;
const run = new Function("msg", "context", "env", "Date", func);
console.log(JSON.stringify(steps.map(([at, msg]) => {
    now = at;
    return run(msg, context, { get: () => "200" }, { now: () => now });
})));
"""


def _flow() -> list[dict[str, Any]]:
    flow: list[dict[str, Any]] = json.loads((ROOT / "docs" / "plc" / "node-red.json").read_text())
    return flow


def _gateway(*steps: tuple[int, str] | tuple[int, str, dict[str, Any]]) -> list[list[Any]]:
    """Runs the flow's function; returns all that it sent: gate as (remove, why), ack as seq, faults."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("needs node")
    (func,) = (node["func"] for node in _flow() if node["type"] == "function")
    messages = [(at, {"topic": f"edge-qc/line1/cam1/{name}", "payload": (*rest, {})[0]}) for at, name, *rest in steps]
    given = json.dumps({"func": func, "steps": messages})
    done = subprocess.run([program, "-e", NODE_RED], input=given, capture_output=True, text=True, check=True)
    gate, ack, fault = zip(*json.loads(done.stdout), strict=True)
    return [
        [(said["payload"], said["why"]) for out in gate for said in out],
        [said["payload"]["seq"] for out in ack for said in out],
        [said["payload"] for out in fault for said in out],
    ]


def _said(seq: int, verdict: str = "ok", session: str = "9f3a21c4") -> dict[str, Any]:
    return {"session": session, "seq": seq, "part": str(seq), "verdict": verdict, "age_ms": 20}


def test_the_gateways_flow_is_whole() -> None:
    flow = _flow()
    ids = [node["id"] for node in flow]
    assert len(ids) == len(set(ids))
    assert {to for node in flow for out in node.get("wires", []) for to in out} <= set(ids)
    topics = {node["type"]: node["topic"] for node in flow if node["type"].startswith("mqtt ")}
    assert topics == {"mqtt in": "edge-qc/line1/cam1/heartbeat", "mqtt out": "edge-qc/line1/cam1/ack"}
    assert {node["broker"] for node in flow if node["type"].startswith("mqtt ")} <= set(ids)


def test_the_gateway_acts_once_a_part_and_acknowledges() -> None:
    steps = [(0, "heartbeat"), (10, "sensor"), (40, "verdict", _said(7)), (50, "verdict", _said(7))]
    steps += [
        (510, "sensor"),
        (540, "verdict", _said(8, "reject")),
        (545, "verdict", _said(8, "reject")),
        (800, "tick"),
    ]
    assert _gateway(*steps) == [[(False, "ok"), (True, "reject")], [7, 8], []]


def test_the_gateway_removes_what_has_no_timely_verdict_and_never_takes_one_for_the_next_part() -> None:
    """The verdict of part 2 comes while part 3 stands in the window: it must not let 3 pass."""
    steps = [(0, "heartbeat"), (10, "sensor"), (40, "verdict", _said(1)), (300, "sensor"), (550, "tick")]
    steps += [(600, "sensor"), (620, "verdict", _said(2)), (630, "verdict", _said(3, "reject"))]
    steps += [(900, "sensor"), (930, "verdict", _said(4))]
    gate, ack, fault = _gateway(*steps)
    assert gate == [(False, "ok"), (True, "no verdict"), (True, "reject"), (False, "ok")]
    assert ack == [1, 3, 4]
    assert fault == ["no verdict", "late"]


def test_the_gateway_flags_a_gap_and_finds_back() -> None:
    steps = [(0, "heartbeat"), (10, "sensor"), (40, "verdict", _said(1)), (300, "sensor"), (330, "verdict", _said(4))]
    steps += [(550, "tick"), (600, "sensor"), (630, "verdict", _said(5))]
    gate, ack, fault = _gateway(*steps)
    assert gate == [(False, "ok"), (True, "no verdict"), (False, "ok")]
    assert ack == [1, 5]
    assert fault == ["gap: 2 parts that the sensor did not see", "no verdict"]


def test_the_gateway_finds_back_after_an_edge_without_a_part() -> None:
    steps = [(0, "heartbeat"), (10, "sensor"), (40, "verdict", _said(1)), (200, "sensor"), (420, "tick")]
    steps += [(900, "heartbeat")]
    for seq in (2, 3):
        steps += [(500 + 300 * seq, "heartbeat"), (500 + 300 * seq, "sensor"), (530 + 300 * seq, "verdict", _said(seq))]
    gate, _, fault = _gateway(*steps, (2000, "tick"))
    assert gate == [(False, "ok"), (True, "no verdict"), (True, "no verdict"), (False, "ok")]
    assert fault[:2] == ["no verdict", "late"]


@pytest.mark.parametrize("beats", [[], [(0, "heartbeat")]], ids=["before the first", "silent"])
def test_the_gateway_removes_ok_parts_without_a_heartbeat(beats: list[tuple[int, str]]) -> None:
    gate, ack, fault = _gateway(*beats, (1500, "sensor"), (1530, "verdict", _said(1)))
    assert gate == [(True, "no heartbeat")]
    assert ack == []
    assert fault == ["no heartbeat"] * len(beats)


def test_the_gateway_starts_anew_with_a_new_session() -> None:
    steps = [(0, "heartbeat"), (10, "sensor"), (40, "verdict", _said(9)), (300, "sensor")]
    steps += [(330, "verdict", _said(1, session="00000002"))]
    assert _gateway(*steps) == [[(False, "ok"), (False, "ok")], [9, 1], []]


@pytest.mark.parametrize("payload", ["{", "null", '{"session":1,"seq":1}', '{"session":"a","seq":0}', "[]"])
def test_the_gateway_survives_what_is_no_verdict(payload: str) -> None:
    gate, _, fault = _gateway((0, "heartbeat"), (10, "sensor"), (20, "verdict", payload), (300, "tick"))  # type: ignore[arg-type]
    assert gate == [(True, "no verdict")]
    assert fault == ["malformed", "no verdict"]


class _Trigger:
    """IEC 61131-3's R_TRIG."""

    Q = was = False

    def __call__(self, *, CLK: bool, now_ms: int) -> None:  # noqa: N803
        self.Q, self.was = CLK and not self.was, CLK


class _Timer:
    """IEC 61131-3's TON."""

    Q, ET = False, 0
    since_ms: int | None = None

    def __call__(self, *, IN: bool, PT: int, now_ms: int) -> None:  # noqa: N803
        self.since_ms = (now_ms if self.since_ms is None else self.since_ms) if IN else None
        self.ET = 0 if self.since_ms is None else min(now_ms - self.since_ms, PT)
        self.Q = self.since_ms is not None and now_ms - self.since_ms >= PT


class _Gate:
    """docs/plc/gate.st, translated into Python: it uses no more of the language than this knows. A scan takes 10 ms."""

    TYPES: ClassVar[dict[str, Any]] = {"R_TRIG": _Trigger, "TON": _Timer, "BOOL": bool, "UDINT": int, "TIME": int}
    WORDS = (
        ("<>", "!="),
        (" MOD ", " % "),
        ("T#1S", "1000"),
        ("UDINT_TO_TIME", ""),
        ("TRUE", "True"),
        ("FALSE", "False"),
    )

    def __init__(self, **inputs: object) -> None:
        text = re.sub(r"\(\*.*?\*\)", "", (ROOT / "docs" / "plc" / "gate.st").read_text(), flags=re.DOTALL)
        head, _, body = text.rpartition("END_VAR")
        self.values: dict[str, Any] = {}
        for names, kind, first in re.findall(r"([\w, ]+?)\s*:\s*([^;:]+?)\s*(?::=\s*([^;]+))?;", head):
            for name in names.replace(" ", "").split(","):
                new = [False] * 64 if kind.startswith("ARRAY") else self.TYPES[kind]()
                number = re.search(r"\d+", first)
                self.values[name] = int(number[0]) if number else first == "TRUE" or new
        self.values |= inputs
        self._program = compile(self._python(body), "gate.st", "exec")
        self.at_gate: list[bool] = []
        self.acknowledged: list[int] = []

    def _expression(self, text: str) -> str:
        for st, python in self.WORDS:
            text = text.replace(st, python)
        text = re.sub(r"(?<![<>!=])=", "==", text)
        return re.sub(r"\b(AND|OR|NOT)\b", lambda word: word[0].lower(), text)

    def _python(self, body: str) -> str:
        lines, depth = [], 0
        whole = r"\s*(ELSIF\b.*?\bTHEN\b|IF\b.*?\bTHEN\b|ELSE\b|END_IF|END_FUNCTION_BLOCK|[^;]+?;)"
        for statement in re.findall(whole, body, flags=re.DOTALL):
            said = " ".join(statement.split()).rstrip(";")
            depth -= said.startswith(("ELS", "END_IF"))
            call = re.match(r"(\w+)\((.*)\)$", said)
            if said.startswith(("IF", "ELS")):
                line = self._expression(said.removesuffix(" THEN")).replace("ELSIF", "elif").replace("IF", "if", 1)
                lines.append("    " * depth + line.replace("ELSE", "else") + ":")
                depth += 1
            elif call:
                given = [self._expression(argument).replace(":==", "=") for argument in call[2].split(", ")]
                lines.append("    " * depth + f"{call[1]}({', '.join(given)}, now_ms=now_ms)")
            elif not said.startswith("END_"):
                target, _, value = said.partition(" := ")
                lines.append("    " * depth + f"{self._expression(target)} = {self._expression(value)}")
        return "\n".join(lines)

    def play(self, until_ms: int, *events: tuple[int, dict[str, Any]]) -> Self:
        quiet = dict.fromkeys(("newVerdict", "beat", "cameraSensor", "gateSensor", "reset"), False)
        waiting = sorted(events, key=lambda event: event[0])
        for now_ms in range(0, until_ms, 10):
            self.values |= quiet | {"now_ms": now_ms}
            while waiting and waiting[0][0] <= now_ms:
                self.values |= waiting.pop(0)[1]
            exec(self._program, self.values)  # noqa: S102 - our own example
            self.at_gate += [self.values["gate"]] * self.values["gateEdge"].Q
            self.acknowledged += [self.values["seq"]] * self.values["ackNow"]
        return self


def _verdict(seq: int, *, ok: bool = True, session: int = 7) -> dict[str, Any]:
    return {"newVerdict": True, "seq": seq, "ok": ok, "session": session, "ageMs": 20}


CAMERA, GATE, RESET = {"cameraSensor": True}, {"gateSensor": True}, {"reset": True}
BEATS = [(at, {"beat": True}) for at in range(0, 40_000, 200)]


def test_the_st_gate_removes_a_hundred_parts_as_told_and_none_twice() -> None:
    events = []
    for i in range(100):
        said = _verdict(i + 1, ok=i % 3 != 0)
        events += [(100 + 300 * i, CAMERA), (130 + 300 * i, said), (150 + 300 * i, said), (250 + 300 * i, GATE)]
    gate = _Gate().play(31_000, *BEATS, *events)
    assert gate.at_gate == [i % 3 == 0 for i in range(100)]
    assert gate.acknowledged == list(range(1, 101))
    assert not gate.values["lineStop"]


@pytest.mark.parametrize(
    ("events", "removed", "acknowledged"),
    [
        pytest.param([(300, CAMERA), (600, CAMERA), (620, _verdict(2)), (640, _verdict(3, ok=False)),
                      (900, CAMERA), (930, _verdict(4))], [True, True, False], [3, 4], id="late"),
        pytest.param([(300, CAMERA), (330, _verdict(4)), (600, CAMERA), (630, _verdict(5))],
                     [True, False], [5], id="gap"),
        pytest.param([(300, CAMERA), (700, CAMERA), (730, _verdict(2)), (1000, CAMERA), (1030, _verdict(3))],
                     [True, True, False], [3], id="edge without a part"),
        pytest.param([(300, CAMERA), (330, _verdict(1, session=8))], [False], [1], id="new session"),
    ],
)  # fmt: skip
def test_the_st_gate_removes_what_it_is_not_sure_of_and_finds_back(
    events: list[tuple[int, dict[str, Any]]], removed: list[bool], acknowledged: list[int]
) -> None:
    first = [(10, CAMERA), (40, _verdict(1))]
    at_gate = [(1500 + 50 * i, GATE) for i in range(1 + len(removed))]
    gate = _Gate().play(2000, *BEATS, *first, *events, *at_gate)
    assert gate.at_gate == [False, *removed]
    assert gate.acknowledged == [1, *acknowledged]


@pytest.mark.parametrize(("beats", "faults"), [([], 0), ([(0, {"beat": True})], 1)], ids=["before the first", "silent"])
def test_the_st_gate_removes_ok_parts_without_a_heartbeat(beats: list[tuple[int, dict[str, Any]]], faults: int) -> None:
    gate = _Gate().play(2000, *beats, (1500, CAMERA), (1530, _verdict(1)), (1700, GATE))
    assert gate.at_gate == [True]
    assert gate.acknowledged == []
    assert gate.values["heartbeatFaults"] == faults


def test_the_st_gate_stops_the_line_until_a_person_resets_it() -> None:
    first = [(5, RESET), (10, CAMERA), (40, _verdict(1)), (300, CAMERA)]
    gate = _Gate(stopOnFault=True).play(1000, *BEATS, *first)
    assert gate.values["lineStop"], "a part had no verdict"
    again = [(1100, RESET), (1200, CAMERA), (1230, _verdict(2)), (1500, GATE)]
    gate = _Gate(stopOnFault=True).play(2000, *BEATS, *first, *again)
    assert not gate.values["lineStop"]
    assert gate.at_gate == [False]
