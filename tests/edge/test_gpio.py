"""A photo-eye on a pin: gpiozero's own mock pins."""

from collections.abc import Callable, Generator, Iterator
from typing import Any

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory

from edge_qc.capture.base import Camera
from edge_qc.domain import Part
from edge_qc.errors import CaptureError
from edge_qc.sections import Trigger as Settings
from edge_qc.trigger.gpio import PhotoEye
from fakes import FakeCamera

PIN = 17
MS = 1_000_000


class Fired:
    """Keeps the times at which it was told of a part; gives no part itself."""

    def __init__(self) -> None:
        self.at_ns: list[int | None] = []

    def fire(self, part_id: str | None = None, at_ns: int | None = None) -> None:
        assert part_id is None  # a pin knows no ids: the part goes by its number
        self.at_ns.append(at_ns)

    def parts(self, camera: Camera) -> Generator[Part | None, None, None]:
        while True:
            yield None


class Eye:
    """An eye whose parts are being asked for, its pin, and a clock that stands still."""

    def __init__(self, pins: MockFactory, **settings: Any) -> None:
        self.fired, self.now_ns = Fired(), 10**12
        eye = PhotoEye(Settings(kind="gpio", gpio_pin=PIN, **settings), self.fired, pin_factory=pins, clock=self._clock)
        self.parts = eye.parts(FakeCamera())
        next(self.parts)
        self.pin = pins.pin(PIN)

    def _clock(self) -> int:
        return self.now_ns

    def after(self, ms: float, level: str) -> None:
        self.now_ns += int(ms * MS)
        self.pin.drive_high() if level == "high" else self.pin.drive_low()


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    factory = MockFactory()
    yield factory
    factory.close()


@pytest.mark.parametrize(
    ("edge", "pull", "levels"),
    [
        ("rising", "down", ["high", "low", "high", "low"]),
        ("falling", "up", ["low", "high", "low", "high"]),
        ("rising", "up", ["low", "high", "low", "high"]),
        ("falling", "down", ["high", "low", "high", "low"]),
        ("rising", "none", ["high", "low", "high", "low"]),
        ("falling", "none", ["high", "low", "high", "low"]),
    ],
)
def test_each_edge_of_the_chosen_kind_is_a_part(pins: MockFactory, edge: str, pull: str, levels: list[str]) -> None:
    pins.pin(PIN)  # floating mock pins begin low
    eye = Eye(pins, gpio_edge=edge, gpio_pull=pull)
    times = []
    for level in levels:
        eye.after(100, level)
        if (level == "high") == (edge == "rising"):
            times.append(eye.now_ns)
    assert eye.fired.at_ns == times
    assert len(times) == 2


def test_a_contact_that_chatters_is_one_part_and_its_time_is_the_first_edge(pins: MockFactory) -> None:
    eye = Eye(pins, debounce_ms=5)
    eye.after(100, "high")
    came_ns = eye.now_ns
    for i in range(10):
        eye.after(1, "low" if i % 2 == 0 else "high")
    assert eye.fired.at_ns == [came_ns]


def test_chatter_when_a_part_leaves_is_no_part(pins: MockFactory) -> None:
    eye = Eye(pins, debounce_ms=5)
    eye.after(100, "high")
    eye.after(100, "low")
    eye.after(1, "high")
    eye.after(1, "low")
    assert len(eye.fired.at_ns) == 1
    eye.after(5, "high")
    assert len(eye.fired.at_ns) == 2


def test_without_debounce_every_edge_counts(pins: MockFactory) -> None:
    eye = Eye(pins, debounce_ms=0)
    for _ in range(3):
        eye.after(0, "high")
        eye.after(0, "low")
    assert len(eye.fired.at_ns) == 3


def test_the_pin_is_given_back_when_the_parts_are_no_longer_asked_for(pins: MockFactory) -> None:
    eye = Eye(pins)
    eye.parts.close()
    eye.after(100, "high")
    assert eye.fired.at_ns == []
    Eye(pins)  # not in use


def test_a_pin_that_is_in_use_says_so(pins: MockFactory) -> None:
    first = Eye(pins)
    with pytest.raises(CaptureError, match=r"GPIO 17 cannot be read.*in use"):
        Eye(pins)
    first.parts.close()


def _raises(error: Exception) -> Callable[..., Any]:
    def device(*_: object, **__: object) -> None:
        raise error

    return device


def test_a_machine_without_pins_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """gpiozero finds no pin factory here: this machine is no Raspberry Pi."""
    error = gpiozero.BadPinFactory("Unable to load any default pin factory!")
    monkeypatch.setattr(gpiozero, "DigitalInputDevice", _raises(error))
    eye = PhotoEye(Settings(kind="gpio"), Fired())
    with pytest.raises(CaptureError, match=r"a pin of this machine.*Unable to load any default pin factory"):
        next(eye.parts(FakeCamera()))


def test_without_gpiozero_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gpiozero", None)
    with pytest.raises(CaptureError, match=r"pip install 'edge-qc\[pi\]'"):
        next(PhotoEye(Settings(kind="gpio"), Fired()).parts(FakeCamera()))
