"""One MQTT connection, kept up. Every connection is a new client, so nothing of the last one is ever sent again."""

import logging
import random
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_qc.errors import SignalError
from edge_qc.sections import Broker

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
# A broker that has taken a message and says nothing for so long is frozen. What it holds may come out at any time
# later, so nothing more is given to it.
ACK_TIMEOUT_S = 1.0
MAX_IN_FLIGHT = 100  # more than the outbox's share, so that a live verdict never waits behind records
MAX_PACKET_BYTES = 65_536
LOOK_EVERY_S = 0.1
LET_OUT_S, LET_OUT_EVERY_S = 1e-3, 20e-6
STEADY_S = 5.0  # a connection that held for less was none: its loss is not said again
# Live again within 2 s of the broker's return (DESIGN.md): at most this between two tries, each a little off the beat
# so that a hall full of stations does not knock at once.
RETRY_S = (0.2, 1.2)
FAREWELL_TIMEOUT_S = 1.0
UNSUPPORTED_PROTOCOL_VERSION = 0x84  # MQTT 5, section 3.2.2.2


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT message.

    Attributes:
        topic: full topic.
        payload: bytes as they go out.
        qos: 0 or 1.
        retain: whether the broker keeps it for later subscribers; of one heard, whether it comes from that keeping.
        expiry_s: seconds after which the broker drops it undelivered (MQTT 5 alone); None for never.
        duplicate: of one heard, whether the broker has sent it before (the DUP flag).
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_s: int | None = None
    duplicate: bool = False


def _nothing(*_: object) -> None:
    pass


class Link:
    """Keeps one connection to a broker up, in a thread of its own.

    Args:
        broker: where and as whom; ``url`` is mqtt:// or mqtts://.
        client_id: unique in the broker.
        will: what the broker says for us when we are gone; a function makes one for each connection.
        subscriptions: topic and QoS of each.
        on_up: called when connected and subscribed.
        on_message: called with each message heard.
        on_down: called with the reason when the connection is lost.
        on_ack: called with the id that ``publish`` gave, when the broker has the message.
        on_refused: called with the reason when the broker does not take a message (MQTT 5).

    The callbacks run in the network thread; an exception in one ends the connection, which is then made anew.
    """

    def __init__(  # noqa: PLR0913 - all but two are named at the call
        self,
        broker: Broker,
        client_id: str,
        *,
        will: Message | Callable[[], Message] | None = None,
        subscriptions: Sequence[tuple[str, int]] = (),
        on_up: Callable[[], None] = _nothing,
        on_message: Callable[[Message], None] = _nothing,
        on_down: Callable[[str], None] = _nothing,
        on_ack: Callable[[int], None] = _nothing,
        on_refused: Callable[[str], None] = _nothing,
    ) -> None:
        self._broker, self._client_id, self._will = broker, client_id, will
        self._subscriptions = list(subscriptions)
        self._on_up, self._on_message, self._on_down = on_up, on_message, on_down
        self._on_ack, self._on_refused = on_ack, on_refused
        self._version = MQTTProtocolVersion.MQTTv5
        self._up = threading.Event()
        self._stopping = threading.Event()
        self._client: mqtt.Client | None = None
        self._thread: threading.Thread | None = None
        self._why_down = ""
        self._retry_at_once = False
        self._has_spoken_5 = False
        self._refusal = self._not_taken = ""
        self._connections = 0
        self._in_flight: deque[tuple[float, mqtt.MQTTMessageInfo]] = deque()

    @property
    def connected(self) -> bool:
        """Whether a message handed over now goes out now."""
        return self._up.is_set()

    @property
    def why_down(self) -> str:
        """What the last try failed of."""
        return self._why_down

    def start(self) -> None:
        """Begins to connect, in the background.

        Raises:
            SignalError: if the TLS files or the password file cannot be used.
        """
        self._new_client()  # says now what would fail at every try
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._thread.start()

    def wait_connected(self, timeout_s: float) -> bool:
        """Waits for the connection and its subscriptions, at most ``timeout_s`` seconds."""
        return self._up.wait(timeout_s)

    def need_connected(self, timeout_s: float) -> None:
        """Waits for the connection, for a command that can do nothing without it.

        Raises:
            SignalError: if there is none within ``timeout_s`` seconds.
        """
        if not self.wait_connected(timeout_s):
            raise SignalError(
                f"no connection to {self._broker.url}",
                expected=f"one within {timeout_s:g} s",
                got=self.why_down or "no answer",
                remedy="Check that the broker runs (systemctl status mosquitto), its address, and the user's password",
            )

    def publish(self, message: Message) -> int | None:
        """Hands a message over if, and only if, the connection is up.

        Returns:
            The message's id, which ``on_ack`` gets later (QoS 1); None when there is no connection.
        """
        client = self._client
        if client is None or not self._up.is_set():
            return None
        info = client.publish(
            message.topic, message.payload, message.qos, message.retain, self._publish_properties(message)
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return None
        if message.qos:
            self._in_flight.append((time.monotonic(), info))
        return _unique(self._connections, info.mid)

    def let_out(self) -> None:
        """Lets the network thread write what was handed over, for some 1 ms at most.

        It needs the interpreter, which the calling thread would otherwise keep for whatever it does next.
        """
        client, end_s = self._client, time.monotonic() + LET_OUT_S
        while client is not None and client.want_write() and time.monotonic() < end_s:
            time.sleep(LET_OUT_EVERY_S)

    def stop(self, farewell: Message | None = None) -> None:
        """Says a last message, waits for it to arrive (1 s at most), and disconnects."""
        client = self._client
        if farewell is not None and client is not None and self._up.is_set():
            info = client.publish(farewell.topic, farewell.payload, farewell.qos, farewell.retain)
            try:
                info.wait_for_publish(FAREWELL_TIMEOUT_S)
            except (RuntimeError, ValueError):
                log.warning("the broker did not take the farewell on %s", farewell.topic)
        self._stopping.set()
        self._up.clear()
        if client is not None:
            client.disconnect()
        if self._thread is not None:
            self._thread.join(2 * CONNECT_TIMEOUT_S)
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._serve()
            # Refused, unreachable, TLS, a password file that is gone: it may come back.
            except (OSError, ValueError, SignalError) as error:
                self._note_down(f"{type(error).__name__}: {error}")
            if not self._retry_at_once:
                self._stopping.wait(random.uniform(*RETRY_S))  # noqa: S311 - jitter is no secret
            self._retry_at_once = False

    def _serve(self) -> None:
        """One connection, from CONNECT to its end."""
        client = self._new_client()
        will = self._will() if callable(self._will) else self._will
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        host, port, _ = address(self._broker)
        client.connect(host, port, self._broker.keepalive_s, properties=self._connect_properties())
        self._client = client
        client.loop_start()
        name = f"paho-mqtt-client-{self._client_id}"
        network = next((t for t in threading.enumerate() if t.name == name), None)
        # With reconnect_on_failure off the network thread ends with the connection, also when a callback has raised,
        # which `is_connected()` would not tell.
        began_s, fault = time.monotonic(), None
        while network is not None and network.is_alive() and not (fault or self._stopping.is_set()):
            network.join(LOOK_EVERY_S)
            fault = self._fault(began_s)
        why = fault or self._refusal or ("connection lost" if self._up.is_set() else "connection refused")
        if self._up.is_set() and time.monotonic() - began_s > STEADY_S:
            self._why_down = ""
        self._up.clear()
        self._client = None
        if network is not None:
            if fault:
                _cut(client)
            network.join(CONNECT_TIMEOUT_S)
        self._in_flight.clear()
        if not self._stopping.is_set() and not self._retry_at_once:
            self._note_down(why)

    def _fault(self, began_s: float) -> str | None:
        """What is wrong with a connection that still stands: no CONNACK in time, or a message that nobody takes."""
        now_s = time.monotonic()
        if not self._up.is_set():
            if now_s - began_s <= CONNECT_TIMEOUT_S:
                return None
            # Some brokers of 3.1.1 say nothing at all to a client of MQTT 5. One that has spoken it is only frozen.
            if not self._has_spoken_5:
                five = self._version == MQTTProtocolVersion.MQTTv5
                self._version = MQTTProtocolVersion.MQTTv311 if five else MQTTProtocolVersion.MQTTv5
            return f"no answer to CONNECT within {CONNECT_TIMEOUT_S:g} s"
        while self._in_flight and self._in_flight[0][1].is_published():
            self._in_flight.popleft()
        if self._in_flight and now_s - self._in_flight[0][0] > ACK_TIMEOUT_S:
            return f"a message was not acknowledged within {ACK_TIMEOUT_S:g} s"
        return None

    def _note_down(self, why: str) -> None:
        if why != self._why_down:  # one line an outage, not one a try
            log.warning("no connection to the broker at %s: %s", self._broker.url, why)
            self._why_down = why
            self._on_down(why)

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            clean_session=None if self._version == MQTTProtocolVersion.MQTTv5 else True,
            protocol=self._version,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        set_credentials(client, self._broker)
        client.on_socket_open = _no_delay
        client.on_connect = self._connected
        client.on_subscribe = lambda *_: self._came_up()
        client.on_message = lambda _c, _u, m: self._on_message(
            Message(m.topic, bytes(m.payload), m.qos, m.retain, duplicate=m.dup)
        )
        self._connections += 1
        client.on_publish = partial(self._published, self._connections)
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        return client

    def _connected(self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            if reason.value == UNSUPPORTED_PROTOCOL_VERSION and self._version == MQTTProtocolVersion.MQTTv5:
                log.info("%s does not speak MQTT 5: falling back to 3.1.1", self._broker.url)
                self._version = MQTTProtocolVersion.MQTTv311
                self._retry_at_once = True
            else:
                self._refusal = f"the broker refuses: {reason}"
            client.disconnect()
        elif self._subscriptions:
            client.subscribe(self._subscriptions)
        else:
            self._came_up()

    def _came_up(self) -> None:
        self._refusal = ""
        self._has_spoken_5 = self._has_spoken_5 or self._version == MQTTProtocolVersion.MQTTv5
        log.info("connected to %s (MQTT %s)", self._broker.url, "5" if self._version == 5 else "3.1.1")
        self._up.set()
        self._on_up()

    def _published(
        self, connection: int, _client: mqtt.Client, _data: object, mid: int, reason: ReasonCode, _props: object
    ) -> None:
        if not reason.is_failure:
            self._on_ack(_unique(connection, mid))
        elif str(reason) != self._not_taken:  # an ACL that forbids a topic: said once, not once a part
            self._not_taken = str(reason)
            log.error("the broker does not take our messages: %s. Check its access list and our user", reason)
            self._on_refused(str(reason))

    def _connect_properties(self) -> Properties | None:
        """A broker of MQTT 5 drops what is too large for us instead of filling our memory with it."""
        if self._version != MQTTProtocolVersion.MQTTv5:
            return None
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        return properties

    def _publish_properties(self, message: Message) -> Properties | None:
        if message.expiry_s is None or self._version != MQTTProtocolVersion.MQTTv5:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.MessageExpiryInterval = message.expiry_s
        return properties


def _unique(connection: int, mid: int) -> int:
    """A message's id over all connections: the client of each counts from 1 to 65535 anew."""
    return connection << 16 | mid


def _cut(client: mqtt.Client) -> None:
    """Ends a connection whatever its other end does."""
    sock: Any = client.socket()  # paho's type for it knows no shutdown
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _no_delay(_client: mqtt.Client, _data: Any, sock: Any) -> None:  # noqa: ANN401
    """Nagle's algorithm would hold a reject back until the broker has acknowledged the verdict before it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def address(broker: Broker) -> tuple[str, int, str | None]:
    """Host, port and user name of a broker; the port defaults to 1883, with TLS 8883."""
    parts = urlsplit(broker.url)
    secure = parts.scheme == "mqtts"
    user = unquote(parts.username) if parts.username else broker.username
    return parts.hostname or "127.0.0.1", parts.port or (8883 if secure else 1883), user


def set_credentials(client: mqtt.Client, broker: Broker) -> None:
    """Gives a client the user, the password and the certificates of the config.

    Raises:
        SignalError: if a file of them cannot be used.
    """
    _, _, user = address(broker)
    if user is not None:
        client.username_pw_set(user, _password(broker.password_file))
    if urlsplit(broker.url).scheme != "mqtts":
        return
    files = {"ca_file": broker.ca_file, "certificate_file": broker.certificate_file, "key_file": broker.key_file}
    try:
        context = ssl.create_default_context(cafile=None if broker.ca_file is None else str(broker.ca_file))
        if broker.certificate_file is not None:
            context.load_cert_chain(broker.certificate_file, broker.key_file)
    except (OSError, ssl.SSLError) as error:
        raise SignalError(
            "TLS to the broker cannot be set up",
            expected="PEM files that can be read: "
            + ", ".join(f"broker.{name} {path}" for name, path in files.items() if path is not None),
            got=str(error),
            remedy="Check the paths, their permissions, and that the key belongs to the certificate",
        ) from error
    client.tls_set_context(context)


def _password(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text("utf-8").splitlines()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise SignalError(
            f"broker.password_file {file} cannot be used",
            expected="a file whose first line is the password",
            got=str(error),
            remedy="Write the password into it and let the user of edge-qc read it",
        ) from error
