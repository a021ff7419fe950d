"""The simulated line: drawn parts at a steady rate, for the demo, for tests and for a first look without a camera."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from edge_qc.capture.base import EndOfSource, Shot
from edge_qc.capture.simulated_belt import SimulatedBelt
from edge_qc.capture.simulated_part import DEFECTS, SIDE_PX, Defect, DrawnPart, draw_part
from edge_qc.domain import FileStamp, Frame
from edge_qc.errors import CaptureError

__all__ = [
    "DEFECTS",
    "SIDE_PX",
    "BeltCamera",
    "Defect",
    "DrawnPart",
    "SimOptions",
    "SimulatedCamera",
    "draw_part",
    "parse_sim_uri",
]

MAX_RATE = 1000.0
BELT_FRAMES_HZ = 30
BELT_GAPS_PX = (60.0, 260.0)  # of bare belt between two parts
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SimOptions:
    """What ``sim:`` can be asked for.

    Attributes:
        parts: how many parts come, 0 for no end.
        rate: parts a second, over 0 to 1000.
        defect_rate: share of defective parts, 0 to 1.
        seed: the same seed gives the same parts.
        belt: 0 for one picture a part; 1 for pictures of a belt on which the parts come by, thirty a second.
    """

    parts: int = 0
    rate: float = 5.0
    defect_rate: float = 0.2
    seed: int = 1
    belt: int = 0


_KEYS: dict[str, tuple[Callable[[str], float], Callable[[float], bool], str]] = {
    "parts": (int, lambda value: value >= 0, "a whole number from 0 (0: no end)"),
    "rate": (float, lambda value: 0 < value <= MAX_RATE, f"a number over 0 to {MAX_RATE:g}, parts a second"),
    "defect_rate": (float, lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "seed": (int, lambda value: value >= 0, "a whole number from 0"),
    "belt": (int, lambda value: value in (0, 1), "0 or 1"),
}


def parse_sim_uri(uri: str) -> SimOptions:
    """The options in a uri such as ``sim:?parts=20&rate=5&defect_rate=0.2&seed=1``.

    Raises:
        CaptureError: naming the first key that is unknown, comes twice or has a value out of bounds.
    """
    parts = urlsplit(uri)
    if parts.scheme != "sim" or parts.netloc or parts.path or parts.fragment:
        raise _fault(uri, "sim: or sim:?key=value&…", repr(uri))
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _fault(uri, "key=value pairs joined by &", repr(parts.query)) from None
    values: dict[str, float] = {}
    for key, text in pairs:
        if key not in _KEYS or key in values:
            raise _fault(uri, f"each at most once of {', '.join(_KEYS)}", repr(key))
        values[key] = _value(uri, key, text)
    default = SimOptions()
    return SimOptions(
        parts=int(values.get("parts", default.parts)),
        rate=values.get("rate", default.rate),
        defect_rate=values.get("defect_rate", default.defect_rate),
        seed=int(values.get("seed", default.seed)),
        belt=int(values.get("belt", default.belt)),
    )


def _value(uri: str, key: str, text: str) -> float:
    convert, within, expected = _KEYS[key]
    try:
        value = convert(text)
    except ValueError:
        value = math.nan
    if not within(value):
        raise _fault(uri, f"{key} to be {expected}", repr(text))
    return value


def _fault(uri: str, expected: str, got: str) -> CaptureError:
    return CaptureError(
        f"simulated source {uri}",
        expected=expected,
        got=got,
        remedy="Example: sim:?parts=20&rate=5&defect_rate=0.2&seed=1",
    )


class SimulatedCamera:
    """See ``Camera``. Parts come at a steady rate, each captured at the moment it is due.

    A reader that falls behind meets the next part when it comes back, as a trigger would: the line's clock then starts
    anew from there, so that no picture is ever older than its capture time says.

    Args:
        uri: what ``parse_sim_uri`` takes.
        once: a line without end gives one part, and then ends.

    Raises:
        CaptureError: if the uri is wrong.
    """

    def __init__(self, uri: str, *, once: bool = False) -> None:
        self._uri = uri
        self.options = parse_sim_uri(uri)
        self._parts = self.options.parts or (1 if once else 0)
        self._period_ns = round(_NS / self.options.rate)
        self._rng = np.random.default_rng(self.options.seed)
        self._given = 0
        self._due_ns = 0
        self._next: DrawnPart | None = None

    def open(self) -> None:
        """See ``Camera``. The first part comes a period after this."""
        self._due_ns = time.monotonic_ns() + self._period_ns

    def read(self, timeout_s: float) -> Shot | None:
        """See ``Camera``. The frame's ``truth`` is ``ok`` or the kind of its defect."""
        if self._parts and self._given >= self._parts:
            raise EndOfSource
        end_ns = time.monotonic_ns() + round(timeout_s * _NS)
        if self._next is None:
            self._next = draw_part(self._rng, bool(self._rng.random() < self.options.defect_rate))
        wait_ns = min(self._due_ns, end_ns) - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / _NS)
        now_ns = time.monotonic_ns()
        if now_ns < self._due_ns:
            return None
        return self._take(self._next, now_ns)

    def _take(self, part: DrawnPart, now_ns: int) -> Shot:
        self._given += 1
        self._next = None
        late_ns = now_ns - self._due_ns
        self._due_ns = (now_ns if late_ns > self._period_ns else self._due_ns) + self._period_ns
        frame = Frame(
            pixels=part.pixels,
            seq=self._given,
            captured_ns=now_ns,
            captured_at=datetime.now(UTC),
            source=self._uri,
            truth=part.defect or "ok",
        )
        return Shot(frame=frame)

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``."""

    def close(self) -> None:
        """See ``Camera``."""


class BeltCamera:
    """See ``Camera``. A belt seen from above, 640x480, thirty times a second.

    Where the reader falls behind, the belt slows down with it: on any machine the parts come by in the same pictures.

    Args:
        uri: what ``parse_sim_uri`` takes.
        once: give one frame, then end.

    Raises:
        CaptureError: if the uri is wrong.
    """

    def __init__(self, uri: str, *, once: bool = False) -> None:
        self._uri, self._once = uri, once
        self.options = parse_sim_uri(uri)
        rng = np.random.default_rng(self.options.seed)
        self._belt = SimulatedBelt(rng, self._parts(rng))
        self._step_px = self.options.rate * (SIDE_PX + sum(BELT_GAPS_PX) / 2) / BELT_FRAMES_HZ
        self._given = 0
        self._due_ns = 0

    def open(self) -> None:
        """See ``Camera``. The belt is bare at first."""
        self._due_ns = time.monotonic_ns()

    def read(self, timeout_s: float) -> Shot | None:
        """See ``Camera``."""
        travelled_px = self._given * self._step_px
        if self._belt.clear(travelled_px) or (self._once and self._given):
            raise EndOfSource
        wait_s = (self._due_ns - time.monotonic_ns()) / _NS
        if wait_s > timeout_s:
            time.sleep(timeout_s)
            return None
        time.sleep(max(0.0, wait_s))
        pixels = self._belt.picture(travelled_px)
        captured_ns, captured_at = time.monotonic_ns(), datetime.now(UTC)
        self._given += 1
        self._due_ns = max(self._due_ns, captured_ns - _NS // BELT_FRAMES_HZ) + _NS // BELT_FRAMES_HZ
        return Shot(Frame(pixels, self._given, captured_ns, captured_at, self._uri))

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``."""

    def close(self) -> None:
        """See ``Camera``."""

    def _parts(self, rng: np.random.Generator) -> Iterator[tuple[DrawnPart, float]]:
        drawn = 0
        while not self.options.parts or drawn < self.options.parts:
            drawn += 1
            yield draw_part(rng, bool(rng.random() < self.options.defect_rate)), float(rng.uniform(*BELT_GAPS_PX))
