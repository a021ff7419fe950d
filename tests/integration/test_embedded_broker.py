"""The embedded broker, met by a real client."""

import queue
import socket

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_qc.errors import SignalError
from edge_qc.signal.embedded import EmbeddedBroker

WAIT_S = 10.0
UNSUPPORTED_PROTOCOL_VERSION = 0x84


def test_a_message_makes_the_round_trip() -> None:
    subscribed: queue.Queue[object] = queue.Queue()
    received: queue.Queue[tuple[str, bytes]] = queue.Queue()
    with EmbeddedBroker() as broker:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, "round-trip", protocol=MQTTProtocolVersion.MQTTv311)
        client.on_connect = lambda c, *_: c.subscribe("a/b", 1)
        client.on_subscribe = lambda *_: subscribed.put(True)
        client.on_message = lambda _c, _u, m: received.put((m.topic, bytes(m.payload)))
        client.connect("127.0.0.1", int(broker.url.rpartition(":")[2]))
        client.loop_start()
        try:
            subscribed.get(timeout=WAIT_S)
            client.publish("a/b", b"hello", 1)
            assert received.get(timeout=WAIT_S) == ("a/b", b"hello")
        finally:
            client.disconnect()
            client.loop_stop()


@pytest.mark.parametrize("will", [False, True])
def test_a_client_of_mqtt_5_is_refused_at_once(*, will: bool) -> None:
    answered: queue.Queue[int] = queue.Queue()
    with EmbeddedBroker() as broker:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, "five", protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
        )
        if will:
            client.will_set("a/state", b"gone", 1, retain=True)
        client.on_connect = lambda _c, _u, _f, reason, _p: answered.put(reason.value)
        client.connect("127.0.0.1", int(broker.url.rpartition(":")[2]))
        client.loop_start()
        try:
            assert answered.get(timeout=3) == UNSUPPORTED_PROTOCOL_VERSION
        finally:
            client.disconnect()
            client.loop_stop()


def test_noise_does_not_bring_it_down() -> None:
    with EmbeddedBroker() as broker:
        address = ("127.0.0.1", int(broker.url.rpartition(":")[2]))
        for noise in (b"", b"\x10", b"GET / HTTP/1.1\r\n\r\n", b"\x10\xff\xff\xff\xff\xff" * 9):
            with socket.create_connection(address, WAIT_S) as stranger:
                stranger.sendall(noise)
        with socket.create_connection(address, WAIT_S) as client:
            client.settimeout(WAIT_S)
            client.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")  # CONNECT of 3.1.1 by client "a"
            assert client.recv(4) == b"\x20\x02\x00\x00"


def test_it_listens_on_the_given_port_and_starts_again_after_a_stop() -> None:
    broker = EmbeddedBroker()
    url = broker.start()
    broker.stop()
    broker.stop()
    assert broker.start() == url
    broker.stop()


def test_a_taken_port_is_an_error_that_names_it() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(SignalError, match=f"127.0.0.1:{port}"):
            EmbeddedBroker(port).start()


def test_stop_without_start_does_nothing() -> None:
    EmbeddedBroker().stop()
