"""Verdicts over Modbus TCP: edge-qc serves, the PLC polls (docs/plc.md, Modbus TCP)."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntFlag
from typing import TYPE_CHECKING

from edge_qc.domain import Inspection, Outcome, Signalled
from edge_qc.sections import Modbus
from edge_qc.signal.background import Inbox, ServerThread
from edge_qc.signal.base import StationState

if TYPE_CHECKING:
    from pymodbus.constants import ExcCodes

VERDICT_CODES = {Outcome.OK: 1, Outcome.REJECT: 2, Outcome.UNSURE: 3, Outcome.NOT_INSPECTED: 4}
STATE_CODES: dict[StationState, int] = {"offline": 0, "degraded": 1, "online": 2}
SCORE_STEPS = 10_000
NO_SCORE = 0xFFFF
REGISTERS = 14
READS = {1: "coils", 2: "discrete inputs", 3: "holding registers", 4: "input registers"}


class Bit(IntFlag):
    """The coils, and the bits of register 0."""

    REJECT = 1
    OK = 2
    HEARTBEAT = 4
    ONLINE = 8


NO_BIT = Bit(0)


@dataclass(frozen=True, slots=True)
class Image:
    """All that a PLC reads. It is replaced as a whole, so no request sees half of a part.

    Attributes:
        session: the session's 8 hexadecimal digits as a number.
        verdict: 0 none yet, else ``VERDICT_CODES``.
        pulse: ``Bit.REJECT``, ``Bit.OK`` or none, until ``pulse_ends_ns``.
        pulse_ends_ns: monotonic nanoseconds.
        seq: number of the part within the session.
        part: its id, if that is a number of 32 bits, else 0.
        score: probability of a defect in 1/10000; ``NO_SCORE`` for none.
        age_ms: from trigger to verdict, at most 65535.
        beats: heartbeats so far.
        state: ``STATE_CODES``.
        handshake: parts written so far.
    """

    session: int
    verdict: int = 0
    pulse: Bit = NO_BIT
    pulse_ends_ns: int = 0
    seq: int = 0
    part: int = 0
    score: int = NO_SCORE
    age_ms: int = 0
    beats: int = 0
    state: int = 0
    handshake: int = 0

    def bits(self, now_ns: int) -> Bit:
        """The coils at an instant."""
        bits = self.pulse if now_ns < self.pulse_ends_ns else NO_BIT
        bits |= Bit.HEARTBEAT if self.beats % 2 else NO_BIT
        return bits | (Bit.ONLINE if self.state else NO_BIT)

    def registers(self, now_ns: int) -> list[int]:
        """The registers at an instant: 16 bits each, of 32-bit numbers the high word first."""
        return [
            int(self.bits(now_ns)),
            self.verdict,
            *_two_words(self.seq),
            *_two_words(self.part),
            self.score,
            self.age_ms,
            *_two_words(self.session),
            self.beats & 0xFFFF,
            self.state,
            0,
            self.handshake & 0xFFFF,
        ]


class ModbusSignal:
    """See ``Signal``. A PLC that has read within ``poll_timeout_ms`` is the connection.

    Args:
        settings: where it listens, and how long a pulse is.
        session: 8 hexadecimal digits, new at each start.
        reject_on: outcomes that set the coil ``reject``.
        clock: monotonic nanoseconds.
    """

    def __init__(
        self,
        settings: Modbus,
        session: str,
        reject_on: frozenset[Outcome],
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._settings, self._reject_on, self._clock = settings, reject_on, clock
        self._image = Image(int(session, 16))
        self._lock = threading.Lock()
        self._polled_ns: int | None = None
        self._server = ServerThread("modbus", f"{settings.host}:{settings.port}", self._serve)

    @property
    def connected(self) -> bool:
        """Whether a PLC polls."""
        polled_ns = self._polled_ns
        return polled_ns is not None and self._clock() - polled_ns < self._settings.poll_timeout_ms * 1_000_000

    def start(self) -> None:
        """See ``Signal``. Waits until it listens.

        Raises:
            SignalError: if the port is taken, or pymodbus is not installed.
        """
        self._server.start()

    def send(self, inspection: Inspection) -> Signalled:
        """See ``Signal``. Nothing is written that a PLC would find later: past the deadline, or while nobody polls."""
        if inspection.part.deadline_ns <= self._clock():
            return "expired"
        if not self.connected:
            return "offline"
        verdict = inspection.verdict
        with self._lock:
            self._image = replace(
                self._image,
                verdict=VERDICT_CODES[verdict.outcome],
                pulse=self._pulse(verdict.outcome),
                pulse_ends_ns=self._clock() + self._settings.pulse_ms * 1_000_000,
                seq=inspection.part.seq,
                part=_number(inspection.part.id),
                score=NO_SCORE if verdict.score is None else round(verdict.score * SCORE_STEPS),
                age_ms=min(round(inspection.latency_ms), 0xFFFF),
                handshake=self._image.handshake + 1,
            )
        return "sent"

    def heartbeat(self, seq: int) -> None:  # noqa: ARG002 - the port's signature; the registers hold the last part's own
        """See ``Signal``."""
        with self._lock:
            self._image = replace(self._image, beats=self._image.beats + 1)

    def state(self, state: StationState, reasons: tuple[str, ...]) -> None:  # noqa: ARG002 - a register holds no words
        """See ``Signal``."""
        with self._lock:
            self._image = replace(self._image, state=STATE_CODES[state])

    def model(self, model: str) -> None:
        """See ``Signal``. A register holds no words."""

    def stop(self) -> None:
        """See ``Signal``."""
        self.state("offline", ())
        self._server.stop()
        self._polled_ns = None

    def _pulse(self, outcome: Outcome) -> Bit:
        if outcome in self._reject_on:
            return Bit.REJECT
        return Bit.OK if outcome is Outcome.OK else NO_BIT

    async def _serve(self, inbox: Inbox, ready: Callable[[], None]) -> None:
        from pymodbus.server import ModbusTcpServer  # noqa: PLC0415 - an extra, and only where it is used
        from pymodbus.simulator import DataType, SimData, SimDevice  # noqa: PLC0415

        bits = [SimData(0, values=[False] * 16, datatype=DataType.BITS)]
        words = [SimData(0, values=[0] * REGISTERS, datatype=DataType.REGISTERS)]
        # Device 0: every unit identifier is answered.
        device = SimDevice(0, simdata=(bits, bits, words, words), action=self._answer)
        server = ModbusTcpServer(device, address=(self._settings.host, self._settings.port))
        await server.serve_forever(background=True)
        ready()
        try:
            while (job := await inbox.get()) is not None:
                await job()
        finally:
            await server.shutdown()

    async def _answer(
        self, function: int, _start: int, _address: int, _count: int, current: list[int], _values: object
    ) -> "ExcCodes | None":
        """Fills in what a request is about to read; refuses to be written to."""
        if function not in READS:
            from pymodbus.constants import ExcCodes  # noqa: PLC0415

            return ExcCodes.ILLEGAL_FUNCTION
        self._polled_ns = now_ns = self._clock()
        image = self._image
        current[:] = image.registers(now_ns) if function > 2 else [int(image.bits(now_ns))]
        return None


def _two_words(number: int) -> tuple[int, int]:
    return number >> 16 & 0xFFFF, number & 0xFFFF


def _number(part_id: str) -> int:
    """A part's id where it is a number of 32 bits, else 0."""
    number = int(part_id) if part_id.isascii() and part_id.isdecimal() and len(part_id) <= 10 else 0
    return number if number <= 0xFFFF_FFFF else 0
