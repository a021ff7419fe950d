"""Verdicts over MQTT as Sparkplug B (docs/plc.md, Sparkplug B)."""

import logging
import math
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from edge_qc.domain import Inspection, Signalled
from edge_qc.errors import SignalError
from edge_qc.sections import Broker
from edge_qc.signal.base import StationState
from edge_qc.signal.inbound import MAX_PAYLOAD_BYTES
from edge_qc.signal.link import Link, Message
from edge_qc.signal.sparkplug_payload import Metric, decode, encode

log = logging.getLogger(__name__)

REBIRTH = "Node Control/Rebirth"
PART_METRICS = {
    "Part/Seq": "UInt32",
    "Part/Id": "String",
    "Part/Verdict": "String",
    "Part/Reason": "String",
    "Part/Label": "String",
    "Part/Score": "Double",
    "Part/Reject": "Boolean",
    "Part/AgeMs": "UInt32",
    "Part/CapturedAt": "DateTime",
    "Part/DecidedAt": "DateTime",
}


class SparkplugSignal:
    """See ``Signal``. The station is an edge node: born with each connection, dead by its Will, data in between.

    Args:
        broker: where and as whom.
        station: the station's name.
        session: 8 hexadecimal digits, new at each start.
        model: name and version of the bundle.
        on_ack: called with the id that ``publish_result`` gave, when the broker has that record.
        on_event: called with kind and detail of what an auditor will ask about.
    """

    def __init__(
        self,
        broker: Broker,
        station: str,
        session: str,
        model: str,
        on_ack: Callable[[int], None] = lambda _: None,
        on_event: Callable[[str, str], None] = lambda _kind, _detail: None,
    ) -> None:
        node = station.replace("/", "-")
        self._topic = f"spBv1.0/{broker.sparkplug_group}/{{}}/{node}"
        self._result_topic = f"{broker.root}/{station}/result"
        self._station, self._session, self._model = station, session, model
        self._reject_on = broker.rejected_outcomes
        self._state: tuple[StationState, tuple[str, ...]] = ("offline", ("starting",))
        self._beats = 0
        # Messages must leave in the order of their numbers: taking one and publishing is one step.
        self._lock = threading.Lock()
        self._seq, self._bd_seq, self._born = 0, -1, threading.Event()
        self._link = Link(
            broker,
            # Without the session: a broker that still holds our dead connection then ends it, and says its death,
            # before it lets the new one in. Else the old death could come after the new birth.
            f"edge-qc-{node}-sparkplug",
            will=self._new_death,
            subscriptions=[(self._topic.format("NCMD"), 1)],
            on_up=self._birth,
            on_message=self._command,
            on_ack=on_ack,
            on_refused=lambda why: on_event("refused", f"the broker does not take our messages: {why}"),
        )

    def start(self) -> None:
        """See ``Signal``.

        Raises:
            SignalError: if protobuf is not installed, or the TLS files or the password file cannot be used.
        """
        try:
            encode((), 0, 0)
        except ModuleNotFoundError as error:
            raise SignalError(
                "broker.payload sparkplug_b cannot be used",
                expected="the packages of the extra `sparkplug`",
                got=str(error),
                remedy="pip install 'edge-qc[sparkplug]', or set broker.payload to json",
            ) from error
        self._link.start()

    @property
    def connected(self) -> bool:
        """Whether a verdict sent now goes out now."""
        return self._born.is_set() and self._link.connected

    def wait_connected(self, timeout_s: float) -> bool:
        """Waits for the connection and its birth, at most ``timeout_s`` seconds."""
        return self._link.wait_connected(timeout_s) and self._born.wait(timeout_s)

    def send(self, inspection: Inspection) -> Signalled:
        """See ``Signal``. One NDATA with all of a part, also what did not change."""
        left_ns = inspection.part.deadline_ns - time.monotonic_ns()
        if left_ns <= 0:
            return "expired"
        if not self._data(self._of_part(inspection), expiry_s=math.ceil(left_ns / 1e9)):
            return "offline"
        self._link.let_out()
        return "sent"

    def heartbeat(self, seq: int) -> None:  # noqa: ARG002 - the port's signature; Part/Seq has it
        """See ``Signal``."""
        self._beats = (self._beats + 1) & 0xFFFF_FFFF
        self._data([Metric("Station/Heartbeat", "UInt32", self._beats)])

    def state(self, state: StationState, reasons: tuple[str, ...]) -> None:
        """See ``Signal``."""
        if (state, reasons) != self._state:
            self._state = (state, reasons)
            self._data(self._of_state())

    def model(self, model: str) -> None:
        """See ``Signal``."""
        self._model = model
        self._data([Metric("Station/Model", "String", model)])

    def publish_result(self, payload: str) -> int | None:
        """Hands one record of the outbox over, as JSON: the record lane is the same as without Sparkplug."""
        return self._link.publish(Message(self._result_topic, payload.encode()))

    def stop(self) -> None:
        """See ``Signal``. Its last word is its death."""
        with self._lock:
            self._born.clear()
        self._link.stop(self._death())

    def _data(self, metrics: list[Metric], expiry_s: int | None = None) -> bool:
        with self._lock:
            return self._born.is_set() and self._publish("NDATA", metrics, expiry_s)

    def _birth(self) -> None:
        """Every metric with its type. A part's are null: what was said of the last one must not be acted on again."""
        metrics = [
            self._bd_metric(),
            Metric(REBIRTH, "Boolean", value=False),
            Metric("Station/Name", "String", self._station),
            Metric("Station/Session", "String", self._session),
            Metric("Station/Model", "String", self._model),
            Metric("Station/Heartbeat", "UInt32", self._beats),
            *self._of_state(),
            *(Metric(name, kind, None) for name, kind in PART_METRICS.items()),
        ]
        with self._lock:
            self._seq = 0
            if self._publish("NBIRTH", metrics):
                self._born.set()

    def _publish(self, kind: str, metrics: list[Metric], expiry_s: int | None = None) -> bool:
        payload = encode(metrics, _now_ms(), self._seq)
        self._seq = (self._seq + 1) % 256
        message = Message(self._topic.format(kind), payload, qos=0, expiry_s=expiry_s)
        return self._link.publish(message) is not None

    def _new_death(self) -> Message:
        """The Will of a new connection, with the number that its birth will have; each try to connect takes one."""
        with self._lock:
            self._born.clear()
            self._bd_seq = (self._bd_seq + 1) % 256
        return self._death()

    def _death(self) -> Message:
        return Message(self._topic.format("NDEATH"), encode([self._bd_metric()], _now_ms(), None))

    def _bd_metric(self) -> Metric:
        return Metric("bdSeq", "Int64", max(self._bd_seq, 0))

    def _command(self, message: Message) -> None:
        size = len(message.payload)
        if size > MAX_PAYLOAD_BYTES:
            log.warning("%s: expected at most %d bytes, got %d: ignored", message.topic, MAX_PAYLOAD_BYTES, size)
            return
        try:
            metrics, _ = decode(message.payload)
        except ValueError as error:
            log.warning("%s: %s: ignored", message.topic, error)
            return
        if metrics.get(REBIRTH) is True:
            self._birth()

    def _of_state(self) -> list[Metric]:
        state, reasons = self._state
        return [Metric("Station/State", "String", state), Metric("Station/Reasons", "String", ", ".join(reasons))]

    def _of_part(self, inspection: Inspection) -> list[Metric]:
        verdict = inspection.verdict
        values: dict[str, Any] = {
            "Part/Seq": inspection.part.seq,
            "Part/Id": inspection.part.id,
            "Part/Verdict": verdict.outcome.value,
            "Part/Reason": verdict.reason,
            "Part/Label": verdict.label,
            "Part/Score": None if verdict.score is None else round(verdict.score, 4),
            "Part/Reject": verdict.outcome in self._reject_on,
            "Part/AgeMs": max(round(inspection.latency_ms), 0),
            "Part/CapturedAt": _milliseconds(inspection.part.triggered_at),
            "Part/DecidedAt": _milliseconds(inspection.decided_at),
        }
        return [Metric(name, kind, values[name]) for name, kind in PART_METRICS.items()]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
