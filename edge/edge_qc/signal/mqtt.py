"""Verdicts over MQTT (CONTRACT.md, MQTT)."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from edge_qc.domain import Inspection, Signalled, utc_text
from edge_qc.sections import Broker
from edge_qc.signal.acks import AckFollower
from edge_qc.signal.base import StationState
from edge_qc.signal.inbound import Malformed, read_object
from edge_qc.signal.link import Link, Message

log = logging.getLogger(__name__)

MAX_PAYLOAD_BYTES = 512
PLC_ACK_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of a station."""

    prefix: str

    def __call__(self, name: str) -> str:
        """Full topic of ``verdict``, ``reject`` and so on."""
        return f"{self.prefix}/{name}"


class MqttSignal:
    """See ``Signal``.

    Args:
        broker: where and as whom.
        station: the station's name, part of every topic.
        session: 8 hexadecimal digits, new at each start.
        model: name and version of the bundle, for ``state``.
        on_ack: called with the id that ``publish_result`` gave, when the broker has that record.
        on_event: called with kind and detail of what an auditor will ask about.
        listeners: by the name of a topic that is listened to, what is called with each message on it.
    """

    def __init__(
        self,
        broker: Broker,
        station: str,
        session: str,
        model: str,
        on_ack: Callable[[int], None] = lambda _: None,
        on_event: Callable[[str, str], None] = lambda _kind, _detail: None,
        listeners: Mapping[str, Callable[[Message], None]] = MappingProxyType({}),
    ) -> None:
        self._topics = Topics(f"{broker.root}/{station}")
        self._session, self._model = session, model
        self._reject_on = broker.rejected_outcomes
        self._acks = AckFollower(session, PLC_ACK_TIMEOUT_S, time.monotonic)
        self._on_event = on_event
        self._ack_level = logging.WARNING
        self._state: tuple[StationState, tuple[str, ...]] = ("offline", ("starting",))
        self._heard: dict[str, Callable[[Message], None]] = {
            self._topics("ack"): self._hear_ack,
            self._topics("state"): self._hear_state,
            **{self._topics(name): listener for name, listener in listeners.items()},
        }
        self._link = Link(
            broker,
            f"edge-qc-{station.replace('/', '-')}-{session}",
            will=lambda: self._state_message("offline", ("connection_lost",)),
            subscriptions=[(topic, 1) for topic in self._heard],
            on_up=self._say_state,
            on_message=lambda message: self._heard[message.topic](message),
            on_ack=on_ack,
            on_refused=lambda why: on_event("refused", f"the broker does not take our messages: {why}"),
        )

    def start(self) -> None:
        """See ``Signal``."""
        self._link.start()

    @property
    def connected(self) -> bool:
        """Whether a verdict sent now goes out now."""
        return self._link.connected

    def wait_connected(self, timeout_s: float) -> bool:
        """Waits for the connection, at most ``timeout_s`` seconds."""
        return self._link.wait_connected(timeout_s)

    def send(self, inspection: Inspection) -> Signalled:
        """See ``Signal``. The reject goes first: it is what moves the gate."""
        left_ns = inspection.part.deadline_ns - time.monotonic_ns()
        if left_ns <= 0:
            return "expired"
        payload = encode(inspection.payload())
        expiry_s = math.ceil(left_ns / 1e9)  # MQTT counts whole seconds; the PLC's part window is the finer guard
        names = ("reject", "verdict") if inspection.verdict.outcome in self._reject_on else ("verdict",)
        sent = [self._link.publish(Message(self._topics(name), payload, expiry_s=expiry_s)) for name in names]
        if None in sent:
            return "offline"
        self._link.let_out()
        self._acks.sent(inspection.part.seq)
        return "sent"

    def heartbeat(self, seq: int) -> None:
        """See ``Signal``."""
        beat = {"session": self._session, "seq": seq, "at": utc_text(datetime.now(UTC))}
        self._link.publish(Message(self._topics("heartbeat"), encode(beat), qos=0))
        missing = self._acks.missing()
        if missing is not None:
            self._on_event("ack_missing", f"the PLC has not acknowledged part {missing} within {PLC_ACK_TIMEOUT_S:g} s")

    def state(self, state: StationState, reasons: tuple[str, ...]) -> None:
        """See ``Signal``."""
        if (state, reasons) != self._state:
            self._state = (state, reasons)
            self._say_state()

    def model(self, model: str) -> None:
        """See ``Signal``. The Will names it from the next connection on: a broker takes one Will a connection."""
        self._model = model
        self._say_state()

    def publish_result(self, payload: str) -> int | None:
        """Hands one record of the outbox over; the id that ``on_ack`` gets, or None when there is no connection."""
        return self._link.publish(Message(self._topics("result"), payload.encode()))

    def stop(self) -> None:
        """See ``Signal``."""
        self._link.stop(self._state_message("offline", ("stopped",)))

    def respond(self, answer: dict[str, Any]) -> None:
        """Answers a command on ``response``, now or never: who misses the answer sends the command again."""
        self._link.publish(Message(self._topics("response"), encode(answer, cut="message")))

    def _hear_ack(self, message: Message) -> None:
        wrong = self._acks.heard(message.payload)
        if wrong is not None:
            # One line an outage of sense: whoever floods the topic does not flood the log.
            level, self._ack_level = self._ack_level, logging.DEBUG
            log.log(level, "a message on %s is no acknowledgement: %s", message.topic, wrong)
        else:
            self._ack_level = logging.WARNING

    def _hear_state(self, message: Message) -> None:
        """The Will of a session that died may come after we have said that we are there: then we say it again."""
        try:
            said = read_object(message.payload)
        except Malformed as wrong:
            log.debug("a message on %s is no state: %s", message.topic, wrong)
            return
        if said.get("state") == "offline" and said.get("session") != self._session:
            self._say_state()

    def _say_state(self) -> None:
        self._link.publish(self._state_message(*self._state))

    def _state_message(self, state: StationState, reasons: tuple[str, ...]) -> Message:
        said = {"state": state, "session": self._session, "reasons": list(reasons), "model": self._model}
        return Message(self._topics("state"), encode(said), retain=True)


class NoSignal:
    """``none:``: a station that tells nobody. Every verdict is ``offline``."""

    connected = False

    def start(self) -> None:
        """See ``Signal``."""

    def send(self, inspection: Inspection) -> Signalled:  # noqa: ARG002 - the port's signature
        """See ``Signal``."""
        return "offline"

    def heartbeat(self, seq: int) -> None:
        """See ``Signal``."""

    def state(self, state: StationState, reasons: tuple[str, ...]) -> None:
        """See ``Signal``."""

    def model(self, model: str) -> None:
        """See ``Signal``."""

    def stop(self) -> None:
        """See ``Signal``."""


def encode(payload: dict[str, Any], *, cut: str = "part") -> bytes:
    """Compact JSON of at most 512 bytes: PLC clients have small buffers. The text under ``cut`` gives way."""
    data = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    text = str(payload.get(cut, ""))
    while len(data) > MAX_PAYLOAD_BYTES and text:
        text = text[: len(text) // 2]
        data = json.dumps({**payload, cut: text}, separators=(",", ":"), ensure_ascii=False).encode()
    return data
