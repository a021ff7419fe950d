"""An auditor at the broker: hears all that the station says, also what was said while it was away."""

import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edge_qc.errors import SignalError
from edge_qc.sections import Broker
from edge_qc.selftest.judge import Said, parse
from edge_qc.signal.link import address, set_credentials

TOPICS = ("verdict", "reject", "result", "state", "heartbeat")
CONNECT_TIMEOUT_S = 10.0
KEEPALIVE_S = 60  # it must not take a frozen broker for a dead one


@dataclass(frozen=True, slots=True)
class Heard:
    """One message.

    Attributes:
        at_s: monotonic seconds of its arrival.
        age_ms: from the part's capture to the arrival, by this host's clock; 0 where the payload names no capture.
        topic: its topic's last level.
        said: its payload.
    """

    at_s: float
    age_ms: float
    topic: str
    said: Said


class Witness:
    """Keeps all it hears, over a session that the broker keeps (3.1.1, which every broker speaks).

    Args:
        broker: where the station sends.
        prefix: the station's topics, with the last slash.
    """

    def __init__(self, broker: Broker, prefix: str) -> None:
        self._broker, self._prefix = broker, prefix
        self._id = f"edge-qc-witness-{secrets.token_hex(4)}"
        self._heard: dict[str, list[Heard]] = {name: [] for name in TOPICS}
        self._subscribed = threading.Event()
        self._client = self._new_client(clean=False)

    def __enter__(self) -> Self:
        """Connects and subscribes.

        Raises:
            SignalError: if the broker does not let it.
        """
        self._client.loop_start()
        if not self._subscribed.wait(CONNECT_TIMEOUT_S):
            self._client.loop_stop()
            raise SignalError(
                f"the witness cannot subscribe at {self._broker.url}",
                expected=f"a connection within {CONNECT_TIMEOUT_S:g} s that may read {self._prefix}#",
                remedy="Start the broker, or let its ACL allow topics under edge-qc-selftest-…",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnects, and leaves neither a session nor a retained state at the broker."""
        self._client.publish(self._prefix + "state", b"", qos=1, retain=True).wait_for_publish(1)
        self._client.disconnect()
        self._client.loop_stop()
        self._subscribed.clear()
        last = self._new_client(clean=True)
        last.loop_start()
        self._subscribed.wait(1)
        last.disconnect()
        last.loop_stop()

    def leave(self) -> None:
        """Goes offline; the broker keeps for it what it may."""
        self._client.disconnect()
        self._client.loop_stop()
        self._subscribed.clear()

    def come_back(self) -> None:
        """Online again, and gets what was kept."""
        self._client.reconnect()
        self._client.loop_start()
        self._subscribed.wait(CONNECT_TIMEOUT_S)

    def heard(self, topic: str, since_s: float = 0.0) -> list[Heard]:
        """What came on a topic since a monotonic time, in order of arrival."""
        return [heard for heard in list(self._heard[topic]) if heard.at_s >= since_s]

    def said(self, topic: str) -> list[Said]:
        """The payloads of a topic, in order of arrival."""
        return [heard.said for heard in self.heard(topic)]

    def publish(self, name: str, payload: bytes, qos: int) -> mqtt.MQTTMessageInfo:
        """Says something on one of the station's topics, as a PLC or an operator would."""
        return self._client.publish(self._prefix + name, payload, qos)

    def _new_client(self, *, clean: bool) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, self._id, clean_session=clean, protocol=MQTTProtocolVersion.MQTTv311
        )
        host, port, _ = address(self._broker)
        set_credentials(client, self._broker)
        client.reconnect_delay_set(0.1, 0.2)  # type: ignore[arg-type]
        client.on_connect = self._on_connect
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = self._on_message
        client.connect_async(host, port, KEEPALIVE_S)
        return client

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe([(self._prefix + name, 1) for name in TOPICS])

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        at_s, now = time.monotonic(), datetime.now(UTC)
        said = parse(message.payload)
        if said is None:
            return
        age_ms = 0.0
        if isinstance(captured_at := said.get("captured_at"), str):
            age_ms = (now - datetime.fromisoformat(captured_at)).total_seconds() * 1000
        name = message.topic.removeprefix(self._prefix)
        self._heard[name].append(Heard(at_s, age_ms, name, said))
