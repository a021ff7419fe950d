"""The reference PLC: acts on edge-qc's messages over MQTT, once each and in time, acknowledges, and counts."""

import json
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from edge_qc.errors import SignalError
from edge_qc.sections import Broker
from edge_qc.signal.link import Link, Message
from edge_qc.virtual_plc_logic import Action, OnFault, PlcCounts, PlcLogic

__all__ = ["Action", "OnFault", "PlcCounts", "PlcLogic", "VirtualPlc", "run_plc"]

WINDOW_MS = 1000
TICK_S = 0.1
HEARD = {"verdict": 1, "reject": 1, "state": 1, "heartbeat": 0}


class VirtualPlc:
    """``PlcLogic`` on a real broker. A context manager.

    Args:
        broker: where the station sends; ``url`` is mqtt:// or mqtts://.
        station: the station's name, such as ``line1/cam1``.
        window_ms: the part window, from the payload's ``captured_at`` on this host's clock, milliseconds. A wired PLC
            starts it at its own trigger.
        keep: how many of the last actions to keep.
        on_fault: see ``PlcLogic``.

    Raises:
        SignalError: if the broker's url is not one that two programs can meet at.
    """

    def __init__(
        self, broker: Broker, station: str, *, window_ms: int = WINDOW_MS, keep: int = 20, on_fault: OnFault = "count"
    ) -> None:
        if not broker.url.startswith(("mqtt://", "mqtts://")):
            raise SignalError(
                "the virtual PLC needs a broker to meet the station at",
                expected="mqtt://host[:port] or mqtts://host[:port]",
                got=broker.url,
                remedy="Give it with --broker, or run `edge-qc demo`, which brings its own",
            )
        self._prefix = f"{broker.root}/{station}/"
        self._changed = threading.Condition()
        self._logic = PlcLogic(
            window_ms=window_ms,
            utc=lambda: datetime.now(UTC),
            monotonic_s=time.monotonic,
            keep=keep,
            on_fault=on_fault,
        )
        self._link = Link(
            broker,
            f"edge-qc-plc-{secrets.token_hex(4)}",
            subscriptions=[(self._prefix + name, qos) for name, qos in HEARD.items()],
            on_message=self._on_message,
        )

    def start(self) -> None:
        """Begins to connect, in the background.

        Raises:
            SignalError: if the broker's TLS or password files cannot be used.
        """
        self._link.start()

    def stop(self) -> None:
        """Disconnects."""
        self._link.stop()

    def __enter__(self) -> Self:
        """Starts it; see ``start``."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it."""
        self.stop()

    def wait_connected(self, timeout_s: float) -> bool:
        """Waits until it hears the station, at most ``timeout_s`` seconds."""
        return self._link.wait_connected(timeout_s)

    def counts(self) -> PlcCounts:
        """The counters now."""
        with self._changed:
            self._logic.tick()
            return self._logic.counts()

    def actions(self) -> tuple[Action, ...]:
        """The last actions, oldest first."""
        with self._changed:
            return tuple(self._logic.actions)

    def wait_for(self, enough: Callable[[PlcCounts], bool], timeout_s: float) -> bool:
        """Waits until the counters are such, at most ``timeout_s`` seconds; keeps the clock ticking meanwhile."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                self._logic.tick()
                if enough(self._logic.counts()):
                    return True
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._changed.wait(min(TICK_S, left_s))

    def _on_message(self, message: Message) -> None:
        name = message.topic.removeprefix(self._prefix)
        with self._changed:
            action = self._hear(name, message.payload)
            self._changed.notify_all()
        if action is not None and action.did in ("passed", "rejected"):
            ack = {"session": action.session, "seq": action.seq}
            self._link.publish(Message(self._prefix + "ack", json.dumps(ack, separators=(",", ":")).encode()))

    def _hear(self, name: str, payload: bytes) -> Action | None:
        match name:
            case "reject":
                return self._logic.on_reject(payload)
            case "verdict":
                return self._logic.on_verdict(payload)
            case "heartbeat":
                self._logic.on_heartbeat(payload)
            case "state":
                self._logic.on_state(payload)
        return None


def run_plc(
    broker: Broker,
    station: str,
    *,
    window_ms: int = WINDOW_MS,
    on_fault: OnFault = "count",
    parts: int | None = None,
    seconds: float | None = None,
    stop_event: threading.Event | None = None,
) -> PlcCounts:
    """Runs a virtual PLC until it has settled ``parts`` parts, for ``seconds``, or until ``stop_event`` is set.

    Returns:
        What it has seen.

    Raises:
        SignalError: if the broker's settings cannot work.
    """
    stop = stop_event or threading.Event()
    end_s = None if seconds is None else time.monotonic() + seconds

    def done(counts: PlcCounts) -> bool:
        enough = parts is not None and counts.settled >= parts
        return enough or stop.is_set() or (end_s is not None and time.monotonic() >= end_s)

    with VirtualPlc(broker, station, window_ms=window_ms, on_fault=on_fault) as plc:
        while not plc.wait_for(done, 1.0):
            pass
        return plc.counts()
