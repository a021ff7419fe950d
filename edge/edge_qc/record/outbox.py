"""Forwards every record as a `result` message: at least once, in order, struck off only when the broker has it."""

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge_qc.errors import RecordError
from edge_qc.record.store import Reader

log = logging.getLogger(__name__)

IN_FLIGHT = 20  # few enough that a live verdict never waits behind a long line of records
IDLE_S = 0.1
PACE_S = 0.02  # between two handfuls: flat out, draining a week of records made live verdicts wait for the interpreter
ACK_TIMEOUT_S = 10.0


class ResultLane(Protocol):
    """What the forwarder needs of the signal adapter."""

    @property
    def connected(self) -> bool:
        """Whether a record handed over now goes out now."""
        ...

    def publish_result(self, payload: str) -> int | None:
        """Hands one record over; the id that its acknowledgement will carry, None without a connection."""
        ...


class Outbox:
    """The forwarder, in a thread of its own: memory stays small however long the broker is away.

    Args:
        data_dir: folder of the database.
        strike: called with the ids that the broker has acknowledged.
    """

    def __init__(self, data_dir: Path, strike: Callable[[tuple[int, ...]], None]) -> None:
        self._data_dir, self._strike = data_dir, strike
        self._acks: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._in_flight: dict[int, int] = {}
        self._last = 0

    def acknowledged(self, message_id: int) -> None:
        """The broker has a message. Called by the network thread; other messages' ids are ignored."""
        self._acks.put(message_id)

    def start(self, lane: ResultLane) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, args=(lane,), name="outbox", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread; what is not acknowledged stays in the outbox."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self, lane: ResultLane) -> None:
        try:
            reader = Reader(self._data_dir)
        except RecordError:
            log.exception("records are not forwarded")
            return
        silent_s = 0.0
        while not self._stopping.is_set():
            if not lane.connected:
                self._forget()
            moved = self._take_acks()
            if lane.connected:
                try:
                    if self._send(reader, lane):
                        moved = True
                        self._stopping.wait(PACE_S)
                except sqlite3.Error as error:
                    log.warning("the outbox cannot be read: %s", error)
            silent_s = 0.0 if moved or not self._in_flight else silent_s + IDLE_S
            if silent_s >= ACK_TIMEOUT_S:
                self._forget()
                silent_s = 0.0
        reader.close()

    def _forget(self) -> None:
        """The connection is gone and its acknowledgements with it: begin again at the oldest record."""
        self._in_flight.clear()
        self._last = 0

    def _take_acks(self) -> bool:
        """Strikes off what was acknowledged, waiting a little for the first."""
        done: list[int] = []
        try:
            message_id = self._acks.get(timeout=IDLE_S)
            while True:
                if (record := self._in_flight.pop(message_id, None)) is not None:
                    done.append(record)
                message_id = self._acks.get_nowait()
        except queue.Empty:
            pass
        if done:
            self._strike(tuple(done))
        return bool(done)

    def _send(self, reader: Reader, lane: ResultLane) -> bool:
        room = IN_FLIGHT - len(self._in_flight)
        sent = False
        for record, payload in reader.waiting(self._last, room) if room else ():
            message_id = lane.publish_result(payload)
            if message_id is None:
                break
            self._in_flight[message_id] = record
            self._last = record
            sent = True
        return sent
