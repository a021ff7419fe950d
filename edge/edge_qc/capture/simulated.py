"""The simulated line: drawn parts at a steady rate, for the demo, for tests and for a first look without a camera."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from edge_qc.capture.base import EndOfSource, Shot
from edge_qc.capture.simulated_part import DEFECTS, SIDE_PX, Defect, DrawnPart, draw_part
from edge_qc.domain import FileStamp, Frame
from edge_qc.errors import CaptureError

__all__ = [
    "DEFECTS",
    "SIDE_PX",
    "Defect",
    "DrawnPart",
    "SimOptions",
    "SimulatedCamera",
    "draw_part",
    "parse_sim_uri",
]

MAX_RATE = 1000.0
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class SimOptions:
    """What ``sim:`` can be asked for.

    Attributes:
        parts: how many parts come, 0 for no end.
        rate: parts a second, over 0 to 1000.
        defect_rate: share of defective parts, 0 to 1.
        seed: the same seed gives the same parts.
    """

    parts: int = 0
    rate: float = 5.0
    defect_rate: float = 0.2
    seed: int = 1


_KEYS: dict[str, tuple[Callable[[str], float], Callable[[float], bool], str]] = {
    "parts": (int, lambda value: value >= 0, "a whole number from 0 (0: no end)"),
    "rate": (float, lambda value: 0 < value <= MAX_RATE, f"a number over 0 to {MAX_RATE:g}, parts a second"),
    "defect_rate": (float, lambda value: 0 <= value <= 1, "a number from 0 to 1"),
    "seed": (int, lambda value: value >= 0, "a whole number from 0"),
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
