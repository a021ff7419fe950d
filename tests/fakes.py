"""Written stand-ins for ports, which pass the ports' contract suites."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from edge_qc.capture.base import EndOfSource, Shot
from edge_qc.domain import (
    FileStamp,
    Frame,
    Inspection,
    Outcome,
    Part,
    Pixels,
    Prediction,
    Signalled,
    Unusable,
    Verdict,
)
from edge_qc.signal.base import StationState

LABELS = ("def_front", "ok_front")


def grey(level: int = 128, size: int = 64) -> Pixels:
    """A picture with some contrast around a level."""
    pixels = np.full((size, size), level, np.uint8)
    pixels[::2] = np.clip(level + 40, 0, 255)
    return pixels


def frame(pixels: Pixels | None = None, seq: int = 1, name: str | None = None) -> Frame:
    return Frame(grey() if pixels is None else pixels, seq, time.monotonic_ns(), datetime.now(UTC), "fake", name)


def part(
    seq: int = 1, *, deadline_ms: float = 1000, fault: Unusable | None = None, stamp: FileStamp | None = None
) -> Part:
    now_ns = time.monotonic_ns()
    return Part(
        seq=seq,
        id=str(seq),
        triggered_ns=now_ns,
        triggered_at=datetime.now(UTC),
        deadline_ns=now_ns + int(deadline_ms * 1e6),
        source="fake",
        frame=None if fault else frame(seq=seq),
        fault=fault,
        stamp=stamp,
    )


def inspection(
    outcome: Outcome = Outcome.REJECT, seq: int = 1, *, deadline_ms: float = 1000, part_id: str | None = None
) -> Inspection:
    """A finished inspection, such as a signal gets."""
    made = part(seq, deadline_ms=deadline_ms)
    made = made if part_id is None else replace(made, id=part_id)
    verdict = (
        Verdict.not_inspected("dark")
        if outcome is Outcome.NOT_INSPECTED
        else Verdict(outcome, "defect", "def_front", 0.9)
    )
    return Inspection("abcd1234", made, verdict, None, made.triggered_ns + 8_000_000, datetime.now(UTC), "m-1.0.0")


class FakeCamera:
    """Gives the shots it was made with."""

    def __init__(self, *shots: Shot | Exception) -> None:
        self._shots = list(shots)
        self.opened = self.closed = 0
        self.released: list[FileStamp] = []

    def open(self) -> None:
        self.opened += 1

    def read(self, timeout_s: float) -> Shot | None:
        if not self._shots:
            raise EndOfSource
        shot = self._shots.pop(0)
        if isinstance(shot, Exception):
            raise shot
        return shot

    def release(self, stamp: FileStamp) -> None:
        self.released.append(stamp)

    def close(self) -> None:
        self.closed += 1


class FakeClassifier:
    """Says the same of every frame, or what a function says."""

    labels = LABELS

    def __init__(self, score: float | Callable[[Frame], float] = 0.0) -> None:
        self._score = score

    def classify(self, frame: Frame) -> Prediction:
        score = self._score(frame) if callable(self._score) else self._score
        return Prediction(LABELS, np.array([score, 1 - score], np.float32))


class FakeSignal:
    """Keeps what it was told to send."""

    def __init__(self) -> None:
        self.sent: list[Inspection] = []
        self.beats: list[int] = []
        self.states: list[tuple[StationState, tuple[str, ...]]] = []
        self.models: list[str] = []
        self.connected = True

    def start(self) -> None:
        pass

    def send(self, inspection: Inspection) -> Signalled:
        if inspection.part.deadline_ns <= time.monotonic_ns():
            return "expired"
        if not self.connected:
            return "offline"
        self.sent.append(inspection)
        return "sent"

    def heartbeat(self, seq: int) -> None:
        self.beats.append(seq)

    def state(self, state: StationState, reasons: tuple[str, ...]) -> None:
        self.states.append((state, reasons))

    def model(self, model: str) -> None:
        self.models.append(model)

    def stop(self) -> None:
        pass


class FakeRecords:
    """Keeps what it was told to keep."""

    def __init__(self) -> None:
        self.kept: list[tuple[Inspection, Signalled]] = []
        self.events: list[tuple[str, str]] = []

    def put(self, inspection: Inspection, signalled: Signalled) -> None:
        self.kept.append((inspection, signalled))

    def event(self, kind: str, detail: str) -> None:
        self.events.append((kind, detail))

    @property
    def outcomes(self) -> list[Outcome]:
        return [inspection.verdict.outcome for inspection, _ in self.kept]


class FakeLedger:
    """Knows the files that it was made with, or every file."""

    def __init__(self, *taken: FileStamp, all_taken: bool = False) -> None:
        self._taken, self._all = taken, all_taken

    def was_taken(self, stamp: FileStamp) -> bool:
        return self._all or stamp in self._taken

    def digests(self, path: str, size_bytes: int) -> set[bytes]:
        return {s.digest for s in self._taken if (s.path, s.size_bytes) == (path, size_bytes)}
