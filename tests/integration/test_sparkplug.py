"""Verdicts as Sparkplug B, on a real Mosquitto."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_qc.domain import Outcome
from edge_qc.sections import Broker
from edge_qc.signal.link import _cut
from edge_qc.signal.sparkplug import REBIRTH, SparkplugSignal
from edge_qc.signal.sparkplug_payload import Metric, decode, encode
from fakes import inspection
from support import Daemon, Mosquitto, rows, wait_until

AT_MS = 1_700_000_000_000
# Made with pysparkplug 0.6.1, whose code protoc generated from the published schema.
FOREIGN = bytes.fromhex(
    "0880d095ffbc3112210a144e6f646520436f6e74726f6c2f526562697274681880d095ffbc31200b7001121e0a0a506172742f53636f7265"
    "1880d095ffbc31200a69386744696ff0ef3f12170a0a506172742f4c6162656c1880d095ffbc31200c380112190a08506172742f53657118"
    "80d095ffbc3120075080d0acf30e12120a0562645365711880d095ffbc31200458031807"
)
SAID = [
    Metric(REBIRTH, "Boolean", value=True),
    Metric("Part/Score", "Double", 0.9981),
    Metric("Part/Label", "String", None),
    Metric("Part/Seq", "UInt32", 4_000_000_000),
    Metric("bdSeq", "Int64", 3),
]


class Host:
    """A Sparkplug host application: hears all of a group, and may command."""

    def __init__(self, port: int, topic: str = "spBv1.0/edge-qc/#") -> None:
        self.heard: list[tuple[str, dict[str, Any], int | None, int, bool]] = []
        self._subscribed = False
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.on_connect = lambda c, *_: c.subscribe(topic, 1)
        self.client.on_subscribe = self._note_subscribed
        self.client.on_message = self._hear
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_until(lambda: self._subscribed)

    def _note_subscribed(self, *_: object) -> None:
        self._subscribed = True

    def _hear(self, _c: object, _u: object, m: mqtt.MQTTMessage) -> None:
        kind = m.topic.split("/")[2]
        if kind != "NCMD":
            assert m.topic == f"spBv1.0/edge-qc/{kind}/line1-cam1"
            self.heard.append((kind, *decode(m.payload), m.qos, m.retain))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [metrics for k, metrics, _, _, _ in list(self.heard) if k == kind]

    def command(self, payload: bytes) -> None:
        self.client.publish("spBv1.0/edge-qc/NCMD/line1-cam1", payload, 1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def _signal(broker: Mosquitto) -> SparkplugSignal:
    made = SparkplugSignal(Broker(url=broker.url, payload="sparkplug_b"), "line1/cam1", "abcd1234", "m-1.0.0")
    made.start()
    assert made.wait_connected(5)
    return made


@pytest.fixture
def host(broker: Mosquitto) -> Iterator[Host]:
    made = Host(broker.port)
    yield made
    made.close()


def test_a_payload_is_what_another_implementation_of_the_schema_makes() -> None:
    assert encode(SAID, AT_MS, 7) == FOREIGN
    assert decode(FOREIGN) == ({m.name: m.value for m in SAID}, 7)


@pytest.mark.parametrize("junk", [b"\xff" * 20, b"\x12\x7f", b"{}"])
def test_a_payload_that_is_none_is_said(junk: bytes) -> None:
    with pytest.raises(ValueError, match="Sparkplug B"):
        decode(junk)


def test_it_is_born_speaks_and_dies(broker: Mosquitto, host: Host) -> None:
    signal = _signal(broker)
    signal.state("online", ())
    assert signal.send(inspection(Outcome.REJECT, 7, part_id="A-7")) == "sent"
    signal.heartbeat(7)
    wait_until(lambda: len(host.of("NDATA")) == 3)
    signal.stop()
    wait_until(lambda: host.of("NDEATH"))
    assert [(kind, seq, retain) for kind, _, seq, _, retain in host.heard] == [
        ("NBIRTH", 0, False),
        ("NDATA", 1, False),
        ("NDATA", 2, False),
        ("NDATA", 3, False),
        ("NDEATH", None, False),
    ]
    assert [qos for kind, _, _, qos, _ in host.heard if kind != "NDEATH"] == [0, 0, 0, 0]
    (birth,), (death,) = host.of("NBIRTH"), host.of("NDEATH")
    state, part, beat = host.of("NDATA")
    assert birth[REBIRTH] is False
    assert {**state, **part, **beat}.keys() < birth.keys(), "what data tells, birth has announced"
    assert [v for k, v in birth.items() if k.startswith("Part/")] == [None] * 10, "no old verdict is said again"
    assert death == {"bdSeq": birth["bdSeq"]}
    assert state == {"Station/State": "online", "Station/Reasons": ""}
    assert beat == {"Station/Heartbeat": 1}
    assert (part["Part/Seq"], part["Part/Id"], part["Part/Verdict"], part["Part/Reject"]) == (7, "A-7", "reject", True)


def test_the_number_of_messages_wraps_after_255(broker: Mosquitto, host: Host) -> None:
    signal = _signal(broker)
    for seq in range(1, 301):
        assert signal.send(inspection(Outcome.OK, seq)) == "sent"
    wait_until(lambda: len(host.of("NDATA")) == 300)
    signal.stop()
    numbers = [seq for kind, _, seq, _, _ in host.heard if kind != "NDEATH"]
    assert numbers == [i % 256 for i in range(301)]


def test_each_connection_has_a_death_and_a_birth_of_its_own(broker: Mosquitto) -> None:
    signal = _signal(broker)
    numbers = [0]
    for _ in range(2):
        broker.stop()
        wait_until(lambda: not signal.connected)
        assert signal.send(inspection()) == "offline"
        broker.start()
        host = Host(broker.port)
        assert signal.wait_connected(5)
        # Nothing of the time without a broker comes; a birth that was said before we listened can be had again.
        host.command(encode([Metric(REBIRTH, "Boolean", value=True)], AT_MS, None))
        wait_until(lambda host=host: host.of("NBIRTH"))
        (number,) = {b["bdSeq"] for b in host.of("NBIRTH")}
        assert number > numbers[-1]
        numbers.append(number)
        assert host.of("NDATA") == []
        host.close()
    signal.stop()


def test_the_broker_says_the_death_of_a_connection_that_breaks(broker: Mosquitto, host: Host) -> None:
    signal = _signal(broker)
    wait_until(lambda: host.of("NBIRTH"))
    client = signal._link._client
    assert client is not None
    _cut(client)
    wait_until(lambda: len(host.of("NBIRTH")) == 2)
    assert host.of("NDEATH") == [{"bdSeq": 0}]
    assert [b["bdSeq"] for b in host.of("NBIRTH")] == [0, 1]
    signal.stop()


def test_a_host_can_ask_for_a_birth_and_for_nothing_else(broker: Mosquitto, host: Host) -> None:
    signal = _signal(broker)
    for junk in (b"", b"\xff" * 30, b"x" * 5000, encode([Metric(REBIRTH, "Boolean", value=False)], AT_MS, None)):
        host.command(junk)
    host.command(encode([Metric("Part/Verdict", "String", "ok")], AT_MS, None))
    host.command(encode([Metric(REBIRTH, "Boolean", value=True)], AT_MS, None))
    wait_until(lambda: len(host.of("NBIRTH")) == 2)
    signal.send(inspection())
    wait_until(lambda: host.of("NDATA"))
    assert [(kind, seq) for kind, _, seq, _, _ in host.heard] == [("NBIRTH", 0), ("NBIRTH", 0), ("NDATA", 1)]
    signal.stop()


def test_a_late_verdict_never_leaves(broker: Mosquitto, host: Host) -> None:
    signal = _signal(broker)
    assert signal.send(inspection(deadline_ms=-1)) == "expired"
    signal.stop()
    wait_until(lambda: host.of("NDEATH"))
    assert host.of("NDATA") == []


def test_the_daemon_speaks_sparkplug_and_its_records_stay_json(broker: Mosquitto, host: Host, tmp_path: Path) -> None:
    text = "source: {uri: 'sim:?parts=5&rate=20'}\nbroker: {payload: sparkplug_b}\n"
    (tmp_path / "config.yaml").write_text(text)
    options = ("--config", tmp_path / "config.yaml", "--broker", broker.url, "--data-dir", tmp_path / "data", "--once")
    with Daemon(tmp_path / "log", *options) as daemon:
        assert daemon.process.wait(20) == 0, daemon.said
    wait_until(lambda: host.of("NDEATH"))
    kept = rows(tmp_path / "data")
    said = [d for d in host.of("NDATA") if "Part/Seq" in d]
    assert [(d["Part/Seq"], d["Part/Verdict"]) for d in said] == [(r["seq"], r["verdict"]) for r in kept]
    assert {r["signalled"] for r in kept} == {"sent"}
    assert rows(tmp_path / "data", "SELECT * FROM outbox") == [], "every record was taken by the broker"


def test_a_record_that_the_broker_refuses_is_told(tmp_path: Path) -> None:
    rules, told = tmp_path / "acl", list[tuple[str, str]]()
    rules.write_text("topic readwrite spBv1.0/#\n")
    rules.chmod(0o600)
    with Mosquitto(tmp_path, "allow_anonymous true", f"acl_file {rules}") as broker:
        settings = Broker(url=broker.url, payload="sparkplug_b")
        signal = SparkplugSignal(
            settings, "line1/cam1", "abcd1234", "m-1.0.0", on_event=lambda kind, detail: told.append((kind, detail))
        )
        signal.start()
        assert signal.wait_connected(5)
        signal.publish_result("{}")
        wait_until(lambda: told)
        signal.stop()
    assert told[0][0] == "refused"


def test_a_new_model_is_data_and_part_of_the_next_birth(broker: Mosquitto, host: Host) -> None:
    signal = _signal(broker)
    signal.model("m-2.0.0")
    wait_until(lambda: {"Station/Model": "m-2.0.0"} in host.of("NDATA"))
    host.command(encode([Metric(REBIRTH, "Boolean", value=True)], AT_MS, None))
    wait_until(lambda: len(host.of("NBIRTH")) == 2)
    signal.stop()
    assert [birth["Station/Model"] for birth in host.of("NBIRTH")] == ["m-1.0.0", "m-2.0.0"]
