"""Verdicts over OPC UA, read by a real client."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.sync import Client
from pymodbus.client import ModbusTcpClient

from edge_qc.domain import Outcome
from edge_qc.errors import SignalError
from edge_qc.sections import Broker, OpcUa
from edge_qc.signal.opcua import NAMESPACE, RESULT, STATION, VARIABLES, OpcUaSignal
from fakes import inspection
from support import Daemon, Listener, Mosquitto, free_port, rows, wait_until

WHERE = {name: folder for folder, name, _, _ in VARIABLES}


class Plc:
    """An OPC UA client that reads, and notes what it is told of a subscription."""

    def __init__(self, port: int, user: str | None = None) -> None:
        self.client = Client(f"opc.tcp://127.0.0.1:{port}")
        if user:
            self.client.set_user(user)
        try:
            self.client.connect()
        except ua.UaError:
            self.client.tloop.stop()  # its thread outlives a connection that fails
            raise
        self.told: list[tuple[str, Any]] = []
        self._space = self.client.get_namespace_index(NAMESPACE)

    def node(self, name: str) -> Any:
        return self.client.get_node(f"ns={self._space};s=VisionSystem.{WHERE[name]}.{name}")

    def read(self, *names: str) -> dict[str, Any]:
        return {name: self.node(name).read_value() for name in names}

    def subscribe(self, *names: str) -> None:
        subscription = self.client.create_subscription(10, self)
        for name in names:
            subscription.subscribe_data_change(self.node(name), queuesize=100)
        wait_until(lambda: {name for name, _ in self.told} == set(names))
        self.told.clear()  # the values that were there already

    def datachange_notification(self, node: Any, value: Any, _data: object) -> None:
        self.told.append((node.nodeid.Identifier.split(".")[-1], value))

    def close(self) -> None:
        self.client.disconnect()


def _signal(port: int, pulse_ms: int = 60_000) -> OpcUaSignal:
    settings = OpcUa(port=port, pulse_ms=pulse_ms)
    return OpcUaSignal(settings, "line1/cam1", "abcd1234", "m-1.0.0", Broker().rejected_outcomes)


@pytest.fixture(scope="module")
def signal() -> Iterator[OpcUaSignal]:
    """One for all tests: it takes seconds to start."""
    made = _signal(free_port())
    made.start()
    yield made
    made.stop()


@pytest.fixture
def plc(signal: OpcUaSignal) -> Iterator[Plc]:
    made = Plc(signal._settings.port)
    yield made
    made.close()


def _send(signal: OpcUaSignal, plc: Plc, outcome: Outcome, seq: int, part_id: str | None = None) -> None:
    assert signal.send(inspection(outcome, seq, part_id=part_id)) == "sent"
    wait_until(lambda: plc.node("ResultId").read_value() == f"abcd1234-{seq}")


def test_nobody_there_is_offline_and_nothing_is_written_for_later(signal: OpcUaSignal) -> None:
    wait_until(lambda: not signal.connected)
    assert signal.send(inspection(seq=99)) == "offline"
    plc = Plc(signal._settings.port)
    assert plc.read("ResultId")["ResultId"] != "abcd1234-99"
    plc.close()


def test_a_verdict_is_in_the_variables(signal: OpcUaSignal, plc: Plc) -> None:
    _send(signal, plc, Outcome.REJECT, 7, "A-7")
    assert plc.read("PartId", "Seq", "Verdict", "Label", "Score", "Reject", "IsPartial", "ResultState", "AgeMs") == {
        "PartId": "A-7",
        "Seq": 7,
        "Verdict": "reject",
        "Label": "def_front",
        "Score": 0.9,
        "Reject": True,
        "IsPartial": False,
        "ResultState": 1,
        "AgeMs": 8,
    }
    assert '"seq":7' in plc.read("ResultContent")["ResultContent"]
    assert plc.read("Name", "Session", "Model") == {"Name": "line1/cam1", "Session": "abcd1234", "Model": "m-1.0.0"}


def test_all_of_a_part_has_one_source_timestamp(signal: OpcUaSignal, plc: Plc) -> None:
    made = inspection(Outcome.OK, 8)
    signal.send(made)
    wait_until(lambda: plc.node("ResultId").read_value() == "abcd1234-8")
    names = [name for folder, name, _, _ in VARIABLES if folder == RESULT and name != "IsPartial"]
    stamps = {plc.node(name).read_data_value().SourceTimestamp for name in names}
    (stamp,) = stamps
    assert abs(stamp - made.decided_at) < timedelta(milliseconds=1)


def test_a_subscriber_is_told_of_each_part_and_each_reject(signal: OpcUaSignal, plc: Plc) -> None:
    _send(signal, plc, Outcome.OK, 10)
    plc.subscribe("ResultId", "Reject")
    for seq, outcome in ((11, Outcome.REJECT), (12, Outcome.REJECT), (13, Outcome.OK), (14, Outcome.NOT_INSPECTED)):
        assert signal.send(inspection(outcome, seq)) == "sent"
    wait_until(lambda: ("ResultId", "abcd1234-14") in plc.told)
    wait_until(lambda: [value for name, value in plc.told if name == "Reject"].count(True) == 3)
    assert [value for name, value in plc.told if name == "ResultId"] == [f"abcd1234-{n}" for n in (11, 12, 13, 14)]
    assert [v for n, v in plc.told if n == "Reject"] == [True, False, True, False, True], "one rise a reject"


def test_a_part_that_was_not_inspected_is_a_failed_result(signal: OpcUaSignal, plc: Plc) -> None:
    _send(signal, plc, Outcome.NOT_INSPECTED, 20)
    said = plc.read("Verdict", "Reason", "Label", "Score", "ResultState", "Reject")
    assert str(said.pop("Score")) == "nan"
    assert said == {"Verdict": "not_inspected", "Reason": "dark", "Label": "", "ResultState": 4, "Reject": True}


def test_a_late_verdict_is_never_written(signal: OpcUaSignal, plc: Plc) -> None:
    assert signal.send(inspection(seq=30, deadline_ms=-1)) == "expired"
    plc.subscribe("Seq")
    held, thawed = threading.Event(), threading.Event()

    async def hang() -> None:
        held.set()
        thawed.wait(10)

    signal._server.post(hang)
    held.wait(10)
    made = inspection(seq=31, deadline_ms=20)
    assert signal.send(made) == "sent", "nobody can know yet that the server hangs"
    wait_until(lambda: signal.send(made) == "expired")
    thawed.set()
    _send(signal, plc, Outcome.OK, 32)
    wait_until(lambda: plc.told)
    assert plc.told == [("Seq", 32)]


def test_state_and_heartbeat_are_told(signal: OpcUaSignal, plc: Plc) -> None:
    plc.subscribe("CurrentState", "State", "Heartbeat")
    signal.state("degraded", ("record_fault",))
    signal.heartbeat(1)
    signal.heartbeat(2)
    wait_until(lambda: len([1 for name, _ in plc.told if name == "Heartbeat"]) == 2)
    assert ("State", "degraded") in plc.told
    assert plc.read("CurrentState", "Reasons") == {"CurrentState": "Operational", "Reasons": "record_fault"}


@pytest.mark.parametrize("user", [None, "admin"])
def test_a_client_can_write_nothing(signal: OpcUaSignal, user: str | None) -> None:
    try:
        plc = Plc(signal._settings.port, user)
    except ua.UaError:
        assert user, "who gives no name is let in"
        return
    with pytest.raises(ua.UaError):
        plc.node("Reject").write_value(ua.Variant(Value=True, VariantType=ua.VariantType.Boolean))
    with pytest.raises(ua.UaError):
        plc.client.nodes.objects.add_object(ua.NodeId("x", 2), "2:x")
    plc.close()


def test_the_names_are_browsed(signal: OpcUaSignal, plc: Plc) -> None:
    system = plc.client.nodes.objects.get_child([f"{plc._space}:VisionSystem"])
    assert {child.read_browse_name().Name for child in system.get_children()} == {
        "VisionStateMachine",
        "ResultManagement",
        STATION,
    }


def test_a_reject_ends_by_itself_and_a_taken_port_is_said() -> None:
    port = free_port()
    signal = _signal(port, pulse_ms=50)
    signal.start()
    with pytest.raises(SignalError, match="opcua"):
        _signal(port).start()
    plc = Plc(port)
    plc.subscribe("Reject")
    signal.send(inspection(Outcome.REJECT))
    wait_until(lambda: plc.told == [("Reject", True), ("Reject", False)])
    assert plc.read("Verdict") == {"Verdict": "reject"}
    plc.close()
    signal.stop()


def test_the_daemon_tells_a_broker_a_modbus_and_an_opcua_client_the_same(broker: Mosquitto, tmp_path: Path) -> None:
    ports = {"modbus": free_port(), "opcua": free_port()}
    sections = "".join(f"{name}: {{enabled: true, port: {port}}}\n" for name, port in ports.items())
    (tmp_path / "config.yaml").write_text("source: {uri: 'sim:?rate=20&defect_rate=0.5'}\n" + sections)
    options = ("--config", tmp_path / "config.yaml", "--broker", broker.url, "--data-dir", tmp_path / "data")
    with Daemon(tmp_path / "log", *options).wait_ready() as daemon, Listener(broker.port) as listener:
        plc = Plc(ports["opcua"])
        poller = ModbusTcpClient("127.0.0.1", port=ports["modbus"])
        assert poller.connect()
        plc.subscribe("ResultContent")
        polled: dict[int, int] = {}

        def poll() -> bool:
            verdict, _, seq = poller.read_input_registers(1, count=3).registers
            polled[seq] = verdict
            return len(polled) >= 10 and len(plc.told) >= 10

        wait_until(poll)
        poller.close()
        plc.close()
        assert daemon.stop() == 0
    codes = {"ok": 1, "reject": 2, "unsure": 3, "not_inspected": 4}
    said = {verdict["seq"]: verdict for verdict in listener.of("verdict")}
    told = {verdict["seq"]: verdict for _, text in plc.told for verdict in [json.loads(text)]}
    heard_by_all = said.keys() & told.keys() & polled.keys()
    assert len(heard_by_all) >= 5
    assert {seq: told[seq] for seq in heard_by_all} == {seq: said[seq] for seq in heard_by_all}
    assert {seq: polled[seq] for seq in heard_by_all} == {seq: codes[said[seq]["verdict"]] for seq in heard_by_all}
    signalled = {row["seq"]: row["signalled"] for row in rows(tmp_path / "data")}
    assert {signalled[seq] for seq in heard_by_all} == {"sent"}


def test_a_new_model_is_named(signal: OpcUaSignal, plc: Plc) -> None:
    for model in ("m-2.0.0", "m-1.0.0"):
        signal.model(model)
        wait_until(lambda model=model: plc.read("Model") == {"Model": model})
