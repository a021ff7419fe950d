"""What every way to the PLC and its fake must do."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edge_qc.domain import Inspection, Outcome, Verdict
from edge_qc.sections import Broker, Modbus, OpcUa
from edge_qc.signal.base import Signal
from edge_qc.signal.fanout import FanOut
from edge_qc.signal.modbus import ModbusSignal
from edge_qc.signal.mqtt import MqttSignal, NoSignal
from edge_qc.signal.opcua import OpcUaSignal
from edge_qc.signal.sparkplug import SparkplugSignal
from fakes import FakeSignal, part
from support import Listener, Mosquitto, free_port, wait_until


def _inspection(deadline_ms: float = 1000, outcome: Outcome = Outcome.REJECT, seq: int = 1) -> Inspection:
    p = part(seq, deadline_ms=deadline_ms)
    return Inspection(
        "abcd1234",
        p,
        Verdict(outcome, "defect", "def_front", 0.9),
        None,
        time.monotonic_ns(),
        datetime.now(UTC),
        "m-1.0.0",
    )


REJECTED = Broker().rejected_outcomes


def _modbus() -> ModbusSignal:
    return ModbusSignal(Modbus(port=free_port()), "abcd1234", REJECTED)


def _opcua() -> OpcUaSignal:
    return OpcUaSignal(OpcUa(port=free_port()), "line1/cam1", "abcd1234", "m-1.0.0", REJECTED)


def _sparkplug(broker: Mosquitto) -> SparkplugSignal:
    return SparkplugSignal(Broker(url=broker.url, payload="sparkplug_b"), "line1/cam1", "abcd1234", "m-1.0.0")


def _mqtt(broker: Broker) -> MqttSignal:
    return MqttSignal(broker, "line1/cam1", "abcd1234", "m-1.0.0")


@pytest.fixture(scope="module")
def opcua() -> Iterator[OpcUaSignal]:
    """One for all tests: it takes seconds to start."""
    made = _opcua()
    made.start()
    yield made
    made.stop()


@pytest.fixture(params=["fake", "none", "mqtt", "sparkplug", "modbus", "opcua", "fanout"])
def signal(request: pytest.FixtureRequest, broker: Mosquitto) -> Iterator[Signal]:
    if request.param == "opcua":
        yield request.getfixturevalue("opcua")
        return
    made: Signal
    match request.param:
        case "mqtt":
            made = _mqtt(Broker(url=broker.url))
        case "sparkplug":
            made = _sparkplug(broker)
        case "modbus":
            made = _modbus()
        case "fanout":
            made = FanOut([_mqtt(Broker(url=broker.url)), _modbus(), FakeSignal()])
        case "fake":
            made = FakeSignal()
        case _:
            made = NoSignal()
    made.start()
    if isinstance(made, MqttSignal | SparkplugSignal):
        assert made.wait_connected(5)
    yield made
    made.stop()


def test_a_part_past_its_deadline_is_never_sent(signal: Signal) -> None:
    assert signal.send(_inspection(deadline_ms=-1)) in {"expired", "offline"}


def test_what_is_said_of_a_part_is_one_of_three_words(signal: Signal) -> None:
    assert signal.send(_inspection()) in {"sent", "offline"}


def test_it_may_be_stopped_twice_and_without_having_been_started(broker: Mosquitto) -> None:
    mqtt, modbus = _mqtt(Broker(url=broker.url)), _modbus()
    made: Signal
    for made in (FakeSignal(), NoSignal(), mqtt, _sparkplug(broker), modbus, _opcua(), FanOut([mqtt, modbus])):
        made.stop()
        made.stop()


def test_heartbeats_states_and_models_never_raise(signal: Signal) -> None:
    signal.heartbeat(1)
    signal.state("degraded", ("record_fault",))
    signal.model("m-2.0.0")
    signal.state("online", ())
    signal.model("m-1.0.0")


def test_nothing_of_the_time_without_a_broker_is_sent_later(broker: Mosquitto) -> None:
    broker.stop()
    signal = _mqtt(Broker(url=broker.url))
    signal.start()
    assert [signal.send(_inspection(60_000, seq=seq)) for seq in (1, 2)] == ["offline", "offline"]
    broker.start()
    with Listener(broker.port) as plc:
        assert signal.wait_connected(5)
        assert signal.send(_inspection(seq=3)) == "sent"
        wait_until(lambda: plc.of("verdict"))
        signal.stop()
    assert [v["seq"] for v in plc.of("verdict")] == [3]


def test_it_is_live_again_within_two_seconds_of_the_brokers_return(broker: Mosquitto) -> None:
    signal = _mqtt(Broker(url=broker.url))
    signal.start()
    assert signal.wait_connected(5)
    broker.stop()
    wait_until(lambda: not signal.connected)
    broker.start()
    began_s = time.monotonic()
    assert signal.wait_connected(5)
    assert time.monotonic() - began_s < 2
    signal.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_exception_in_a_callback_ends_the_connection_and_it_is_made_anew(broker: Mosquitto) -> None:
    signal = _mqtt(Broker(url=broker.url))
    failures = [ValueError("a fault in our own callback")]

    def fail_once(_: int) -> None:
        if failures:
            raise failures.pop()

    signal._link._on_ack = fail_once
    signal.start()
    assert signal.wait_connected(5)
    signal.send(_inspection())
    wait_until(lambda: not failures)
    wait_until(lambda: not signal.connected)
    assert signal.wait_connected(5)
    assert signal.send(_inspection(seq=2)) == "sent"
    signal.stop()


@pytest.mark.parametrize(
    ("reject_on", "expected"),
    [(("reject",), [2]), (("reject", "unsure", "not_inspected"), [2, 3, 4]), ((), [])],
)
def test_the_config_says_which_verdicts_also_go_out_as_rejects(
    broker: Mosquitto, reject_on: tuple[str, ...], expected: list[int]
) -> None:
    signal = _mqtt(Broker.model_validate({"url": broker.url, "reject_on": reject_on}))
    with Listener(broker.port) as plc:
        signal.start()
        assert signal.wait_connected(5)
        for seq, outcome in enumerate(Outcome, 1):
            signal.send(_inspection(outcome=outcome, seq=seq))
        wait_until(lambda: len(plc.of("verdict")) == 4)
        signal.stop()
    assert [v["seq"] for v in plc.of("reject")] == expected


def test_a_payload_stays_within_512_bytes_whatever_the_part_is_called(broker: Mosquitto) -> None:
    signal, inspection = _mqtt(Broker(url=broker.url)), _inspection()
    long = replace(inspection, part=replace(inspection.part, id="Ä" * 400))
    with Listener(broker.port) as plc:
        signal.start()
        assert signal.wait_connected(5)
        signal.send(long)
        wait_until(lambda: plc.of("verdict"))
        signal.stop()
    assert all(len(payload) <= 512 for _, payload, _, _ in plc.heard)
    assert plc.of("verdict")[0]["part"].startswith("ÄÄÄ")


def test_a_broker_that_freezes_gets_nothing_more_and_is_live_again_when_it_thaws(broker: Mosquitto) -> None:
    sender = _mqtt(Broker(url=broker.url))
    sender.start()
    assert sender.wait_connected(5)
    broker.freeze()
    assert sender.send(_inspection()) == "sent"  # nobody can know yet
    wait_until(lambda: not sender.connected, 3)
    assert sender.send(_inspection(seq=2)) == "offline"
    broker.thaw()
    began_s = time.monotonic()
    assert sender.wait_connected(5)
    assert time.monotonic() - began_s < 4
    sender.stop()


def test_the_state_names_the_model_that_judges_now(broker: Mosquitto) -> None:
    sender = _mqtt(Broker(url=broker.url))
    with Listener(broker.port) as plc:
        sender.start()
        assert sender.wait_connected(5)
        sender.state("online", ())
        sender.model("m-2.0.0")
        wait_until(lambda: plc.of("state") and plc.of("state")[-1]["model"] == "m-2.0.0")
        sender.stop()
        wait_until(lambda: [s["state"] for s in plc.of("state")][-1:] == ["offline"])
    assert [s["model"] for s in plc.of("state")][-1] == "m-2.0.0"
