"""A camera on a plug, as V4L2 shows it: passes the same contract as the kernel's virtual camera does."""

import errno
import os
import threading
import time
from types import MappingProxyType
from typing import Protocol

import numpy as np

from edge_qc.capture.v4l2_device import BUFFERS, Buffer, Control, Device, Identity, Layout, Sizes

MENU = MappingProxyType({1: "Manual Mode", 3: "Aperture Priority Mode"})
CONTROLS = (
    Control(1, "exposure_auto", "auto_exposure", 0, 3, 1, 3, menu=MENU),
    Control(2, "exposure_absolute", "exposure_time_absolute", 3, 2047, 1, 250),
    Control(3, "gain", "gain", 0, 255, 1, 0),
    Control(4, "focus_absolute", "focus_absolute", 0, 250, 5, 0),
    Control(5, "privacy", "privacy", 0, 1, 1, 0, writable=False),
)


def fault(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Bench(Protocol):
    """A camera, and what can be done to it from outside."""

    path: str

    def open(self, path: str) -> Device:
        """Opens its node."""
        ...

    def pull(self) -> None:
        """Pulls its plug."""
        ...

    def put_back(self) -> None:
        """Puts the plug back."""
        ...

    def turn(self, name: str, value: int) -> None:
        """Somebody turns a control."""
        ...

    def spoil_next(self) -> None:
        """The next frame, or one soon after, is incomplete."""
        ...

    def freeze(self) -> None:
        """From now on each picture is as the last."""
        ...

    def fall_silent(self) -> None:
        """No frame from now on."""
        ...

    def near_the_wrap(self) -> None:
        """The count of frames begins anew soon after the next start."""
        ...


class Plug:
    """See ``Bench``.

    Args:
        formats: what it has.
        rate_hz: frames a second, whatever is asked for.
    """

    def __init__(self, formats: dict[str, tuple[tuple[int, int], ...]] | None = None, rate_hz: float = 200.0) -> None:
        offered = formats or {"YUYV": ((64, 48), (32, 32)), "MJPG": ((64, 48),)}
        self.formats = {name: tuple(Sizes(size, size) for size in sizes) for name, sizes in offered.items()}
        self.rates: dict[str, float] = {}
        self.path = "/dev/video-fake"
        self.rate_hz, self.captures, self.granted_size = rate_hz, True, None
        self.news = threading.Condition()
        self.values = {control.id: control.default for control in CONTROLS}
        self.busy: FakeDevice | None = None
        self.in_it = True
        self.silent = self.stuck = False
        self.spoiled = 0
        self.sequence, self.sequence_step = 0, 1
        self.ahead_ns = 0
        self.stubborn: set[str] = set()  # controls that do as they like
        self.opened = 0

    def open(self, path: str) -> "FakeDevice":
        with self.news:
            if not self.in_it:
                raise fault(errno.ENOENT)
            self.opened += 1
            return FakeDevice(self)

    def pull(self) -> None:
        self.change(in_it=False)

    def put_back(self) -> None:
        self.change(in_it=True)

    def turn(self, name: str, value: int) -> None:
        self.values[next(c.id for c in CONTROLS if c.name == name)] = value

    def spoil_next(self) -> None:
        self.change(spoiled=1)

    def freeze(self) -> None:
        self.change(stuck=True)

    def fall_silent(self) -> None:
        self.change(silent=True)

    def near_the_wrap(self) -> None:
        self.change(sequence=2**32 - 5)

    def change(self, **how: object) -> None:
        with self.news:
            for name, value in how.items():
                setattr(self, name, value)
            self.news.notify_all()


class FakeDevice:
    """See ``Device``."""

    def __init__(self, plug: Plug) -> None:
        self._plug, self._layout = plug, None
        self._free: set[int] = set()
        self._due_s = 0.0
        self._dead = False  # a node stays dead when its camera is back: it must be opened anew
        self._noise = np.random.default_rng(1)

    def identity(self) -> Identity:
        self._alive()
        return Identity("fake", "Fake camera", "usb-1", self._plug.captures)

    def formats(self) -> dict[str, tuple[Sizes, ...]]:
        self._alive()
        return self._plug.formats

    def rates(self, pixel_format: str, size: tuple[int, int]) -> tuple[float, ...]:
        return (self._plug.rates.get(pixel_format, self._plug.rate_hz),)

    def controls(self) -> list[Control]:
        self._alive()
        return list(CONTROLS)

    def get(self, control: Control) -> int:
        self._alive()
        return self._plug.values[control.id]

    def set(self, control: Control, value: int) -> None:
        self._alive()
        if not control.writable:
            raise fault(errno.EACCES)
        if control.name not in self._plug.stubborn:
            self._plug.values[control.id] = value

    def start(self, pixel_format: str, size: tuple[int, int], rate_hz: float) -> Layout:
        self._alive()
        if self._plug.busy not in (None, self):
            raise fault(errno.EBUSY)
        self._plug.busy, self._free, self._due_s = self, set(range(BUFFERS)), time.monotonic()
        width, height = self._plug.granted_size or size
        line = {"YUYV": 2 * width + 8, "GREY": width}.get(pixel_format, 0)
        self._layout = Layout(pixel_format, width, height, line, self._plug.rate_hz)
        return self._layout

    def take(self, timeout_s: float) -> Buffer | None:
        plug, until_s = self._plug, time.monotonic() + timeout_s
        with plug.news:
            while True:
                self._alive()
                assert self._layout is not None
                now_s = time.monotonic()
                ready = not plug.silent and self._free and now_s >= self._due_s
                if ready:
                    return self._fill(self._layout, now_s)
                if now_s >= until_s:
                    return None
                wait_s = until_s - now_s if plug.silent or not self._free else min(until_s, self._due_s) - now_s
                plug.news.wait(max(wait_s, 0.0001))

    def _fill(self, layout: Layout, now_s: float) -> Buffer:
        plug = self._plug
        self._due_s = max(self._due_s + 1 / plug.rate_hz, now_s)
        lines = layout.line_bytes or layout.width_px
        noise = np.random.default_rng(1) if plug.stuck else self._noise
        data = noise.integers(0, 255, layout.height_px * lines, np.uint8)
        sequence, plug.sequence = plug.sequence, (plug.sequence + plug.sequence_step) % 2**32
        kernel_ns = time.monotonic_ns() + plug.ahead_ns
        flawed, plug.spoiled = plug.spoiled > 0, max(0, plug.spoiled - 1)
        return Buffer(self._free.pop(), memoryview(data), sequence, kernel_ns, flawed)

    def give_back(self, buffer: Buffer) -> None:
        self._alive()
        buffer.data.release()
        self._free.add(buffer.index)

    def close(self) -> None:
        if self._plug.busy is self:
            self._plug.busy = None

    def _alive(self) -> None:
        self._dead = self._dead or not self._plug.in_it
        if self._dead:
            raise fault(errno.ENODEV)
