"""The values that cross stages: frozen, checked once, at construction."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Signalled = Literal["sent", "expired", "offline"]


class Outcome(StrEnum):
    """What is said of a part. Every part gets exactly one."""

    OK = "ok"
    REJECT = "reject"
    UNSURE = "unsure"
    NOT_INSPECTED = "not_inspected"


@dataclass(frozen=True, slots=True)
class Window:
    """Where in a camera's frame something lies, pixels of that frame; it may reach beyond the frame.

    Attributes:
        x: its left edge.
        y: its upper edge.
        width: positive.
        height: positive.
    """

    x: float
    y: float
    width: float
    height: float

    def within(self, outer: "Window") -> "Window":
        """This window of a picture that is itself a cut of a frame."""
        return Window(outer.x + self.x, outer.y + self.y, self.width, self.height)

    def of(self, pixels: Pixels) -> Pixels:
        """What lies in a window of whole pixels within a picture (rows, columns) uint8, as a view."""
        left, top = int(self.x), int(self.y)
        return pixels[top : top + int(self.height), left : left + int(self.width)]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        pixels: shape (height, width), uint8, grayscale, 0 is black.
        seq: number of the frame within its source, from 1.
        captured_ns: monotonic time of capture, in nanoseconds (``time.monotonic_ns``).
        captured_at: the same instant in UTC.
        source: where it came from, as the config names it.
        name: the file's name, where the source is files.
        truth: the true label, where a simulated source knows it.
        window: where the pixels lie in the camera's frame, where they were cut out of it or scaled; None: they are it.

    Raises:
        ValueError: if ``pixels`` is not a non-empty two-dimensional uint8 array.
    """

    pixels: Pixels
    seq: int
    captured_ns: int
    captured_at: datetime
    source: str
    name: str | None = None
    truth: str | None = None
    window: Window | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.uint8 or self.pixels.size == 0:
            raise ValueError(
                f"pixels of a frame: expected a non-empty (height, width) uint8 array, "
                f"got shape {self.pixels.shape} {self.pixels.dtype}"
            )


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What tells one version of a file from another, so that each is inspected once.

    Attributes:
        path: absolute path.
        size_bytes: its size.
        mtime_ns: its modification time, nanoseconds since the epoch.
        digest: of its content; empty where it was not read. Copying tools set a file's time after they have closed it,
            so a new time alone makes no new picture.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    digest: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A picture that the source could not turn into a frame: its part still gets a verdict.

    Attributes:
        reason: one word for the verdict, such as ``unreadable``.
        detail: a sentence for the log: what, expected, got.
        name: the file's name, where the source is files.
    """

    reason: str
    detail: str
    name: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One physical item in front of the camera.

    Attributes:
        seq: its number within the session, from 1 without a gap.
        id: the trigger's id, else the file's name, else ``seq`` as text.
        triggered_ns: monotonic time of its trigger, nanoseconds.
        triggered_at: the same instant in UTC.
        deadline_ns: monotonic time by which its verdict must have left, nanoseconds.
        source: where its picture came from.
        frame: its picture, or None when there is none that can be judged; of several, the best.
        fault: why there is no frame.
        stamp: the file that its picture is, where the source is a watch folder.
        others: its further pictures, best first, where the trigger takes several for a vote.
        load: gets its picture, where that takes time that the part's deadline must cover: see ``loaded``.

    A part that has neither frame nor fault is one whose picture is still to come.
    """

    seq: int
    id: str
    triggered_ns: int
    triggered_at: datetime
    deadline_ns: int
    source: str
    frame: Frame | None = None
    fault: Unusable | None = None
    stamp: FileStamp | None = None
    others: tuple[Frame, ...] = ()
    load: "Callable[[], Part] | None" = None

    def __post_init__(self) -> None:
        if self.frame is not None and self.fault is not None:
            raise ValueError(f"part {self.id}: expected a frame or a fault, got both")
        if self.frame is None and self.others:
            raise ValueError(f"part {self.id}: expected no further frames without a first, got {len(self.others)}")

    @property
    def frames(self) -> tuple[Frame, ...]:
        """All its pictures, best first; empty when there is none that can be judged."""
        return () if self.frame is None else (self.frame, *self.others)

    def loaded(self) -> "Part":
        """The part with its picture; it may be long in coming."""
        return self if self.load is None else self.load()


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the model says of a part.

    Attributes:
        labels: the classes, in the model's order.
        probabilities: shape (len(labels),), float32, each 0 to 1, sum 1.
        draw_heatmap: draws the heatmap, on any thread; None where the model gives none.
        frame_index: which of the part's frames the heatmap is of: of several that voted, the one that speaks most
            for a defect.
    """

    labels: tuple[str, ...]
    probabilities: FloatArray
    draw_heatmap: Callable[[], FloatArray] | None = None
    frame_index: int = 0

    def __post_init__(self) -> None:
        if self.probabilities.shape != (len(self.labels),):
            raise ValueError(
                f"probabilities: expected shape ({len(self.labels)},) for {list(self.labels)}, "
                f"got {self.probabilities.shape}"
            )

    @property
    def heatmap(self) -> FloatArray | None:
        """Shape (rows, columns), float32, 0 to 1: how strongly each place speaks for a defect; None where none is made.

        Drawn when it is asked for, each time anew: most are never looked at, and none before the PLC has its verdict.
        """
        return None if self.draw_heatmap is None else self.draw_heatmap()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a part, and why.

    Attributes:
        outcome: ok, reject, unsure or not_inspected.
        reason: one word: ``good``, ``defect``, ``between_thresholds``, or what stood in the way.
        label: the class it rests on, None when the part was not inspected.
        score: probability of the defective classes together, 0 to 1, None when the part was not inspected.
        detail: a sentence for the log, where the reason needs one.
    """

    outcome: Outcome
    reason: str
    label: str | None = None
    score: float | None = None
    detail: str = ""

    @classmethod
    def not_inspected(cls, reason: str, detail: str = "") -> "Verdict":
        """The verdict of a part that could not be judged."""
        return cls(Outcome.NOT_INSPECTED, reason, detail=detail)


@dataclass(frozen=True, slots=True, eq=False)
class Inspection:
    """The record of a part.

    Attributes:
        session: new at each start of the daemon; 8 hexadecimal digits.
        part: the part.
        verdict: its verdict.
        prediction: what the model said, None when it was not asked.
        decided_ns: monotonic time of the verdict, nanoseconds.
        decided_at: the same instant in UTC.
        model: name and version of the bundle.
    """

    session: str
    part: Part
    verdict: Verdict
    prediction: Prediction | None
    decided_ns: int
    decided_at: datetime
    model: str

    @property
    def frame(self) -> Frame | None:
        """The picture that shows why: of several, the one that the heatmap is of. None where there is none."""
        frames = self.part.frames
        return frames[0 if self.prediction is None else self.prediction.frame_index] if frames else None

    @property
    def latency_ms(self) -> float:
        """Milliseconds from the trigger to the verdict."""
        return (self.decided_ns - self.part.triggered_ns) / 1e6

    def payload(self) -> dict[str, Any]:
        """The flat object that ``verdict`` and ``reject`` carry (CONTRACT.md, MQTT)."""
        return {
            "session": self.session,
            "seq": self.part.seq,
            "part": self.part.id,
            "verdict": self.verdict.outcome.value,
            "reason": self.verdict.reason,
            "label": self.verdict.label,
            "score": None if self.verdict.score is None else round(self.verdict.score, 4),
            "captured_at": utc_text(self.part.triggered_at),
            "decided_at": utc_text(self.decided_at),
            "age_ms": round(self.latency_ms),
            "model": self.model,
        }


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an auditor will ask about: a start, a stop, a fault, a change of model.

    Attributes:
        kind: one word, such as ``start`` or ``unreadable``.
        detail: a sentence.
        at: UTC.
    """

    kind: str
    detail: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def printable(name: str) -> str:
    """A file's name as text for payloads, records and logs: what is no UTF-8 or cannot be printed becomes ``?``."""
    text = name.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def utc_text(at: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and a ``Z``, as every payload and record has it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
