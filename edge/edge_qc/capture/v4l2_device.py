"""One V4L2 node: what it is, what it has, its controls and its buffers. The only module that knows linuxpy.

Only linuxpy's structures are used (``linuxpy.video.raw``): its ``Device`` brings asyncio along, which doubles the time
and the memory that this adapter costs at start.
"""

import errno
import fcntl
import mmap
import os
import re
import select
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol

from linuxpy.video import raw

BUFFERS = 4  # one being filled, one being inspected, two for a hiccup of either
_CAPTURE = raw.BufType.VIDEO_CAPTURE
_MMAP = raw.Memory.MMAP
_NUMBERS = (raw.CtrlType.INTEGER, raw.CtrlType.BOOLEAN, raw.CtrlType.MENU, raw.CtrlType.INTEGER_MENU)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a node says of itself.

    Attributes:
        driver: the kernel's driver, such as ``uvcvideo``.
        card: the camera's name.
        bus: where it is plugged in.
        captures: whether pictures come from it (a UVC camera has a second node for metadata).
    """

    driver: str
    card: str
    bus: str
    captures: bool


@dataclass(frozen=True, slots=True)
class Sizes:
    """Picture sizes of a format: one, or all from a least to a greatest in steps; pixels.

    Attributes:
        least: width and height.
        greatest: width and height.
        step: of width and height; 1 where there is one size alone.
    """

    least: tuple[int, int]
    greatest: tuple[int, int]
    step: tuple[int, int] = (1, 1)

    def hold(self, size: tuple[int, int]) -> bool:
        """Whether a size is among them."""
        asked = zip(size, self.least, self.greatest, self.step, strict=True)
        return all(low <= n <= high and (n - low) % step == 0 for n, low, high, step in asked)

    def __str__(self) -> str:
        least, greatest = ("{}x{}".format(*size) for size in (self.least, self.greatest))
        return least if least == greatest else f"{least} to {greatest}"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the pictures lie in the buffers, as the driver has granted it.

    Attributes:
        pixel_format: four letters, such as ``YUYV``.
        width_px: width.
        height_px: height.
        line_bytes: from the beginning of one line to that of the next; 0 where pictures are compressed.
        rate_hz: frames a second; 0 where the driver does not say.
    """

    pixel_format: str
    width_px: int
    height_px: int
    line_bytes: int
    rate_hz: float

    def __str__(self) -> str:
        rate = f" at {self.rate_hz:g} Hz" if self.rate_hz else ""
        return f"{self.pixel_format} {self.width_px}x{self.height_px}{rate}"


@dataclass(frozen=True, slots=True)
class Control:
    """A control with a number for its value.

    Attributes:
        id: the kernel's number of it.
        name: the kernel's symbol in small letters (``exposure_absolute``), which stays the same over the versions of
            the kernel; the driver's own name where it is none of the kernel's.
        alias: its name as ``v4l2-ctl`` has it.
        least: smallest value.
        greatest: greatest value.
        step: between values.
        default: the value at first.
        writable: whether it can be set at all.
        inactive: whether another control has it in its hands now.
        menu: what the values mean, where they have names.
    """

    id: int
    name: str
    alias: str
    least: int
    greatest: int
    step: int
    default: int
    writable: bool = True
    inactive: bool = False
    menu: MappingProxyType[int, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def range(self) -> str:
        """The values it takes, in words."""
        if self.menu:
            return ", ".join(f"{value} ({text})" for value, text in self.menu.items())
        return f"{self.least} to {self.greatest}" + (f" in steps of {self.step}" if self.step > 1 else "")

    def takes(self, value: float) -> bool:
        """Whether a value is in its range."""
        if self.menu:
            return value in self.menu
        return self.least <= value <= self.greatest and (value - self.least) % max(self.step, 1) == 0


@dataclass(frozen=True, slots=True)
class Buffer:
    """One picture as the kernel hands it over. Its memory is the driver's again after ``give_back``.

    Attributes:
        index: its number.
        data: the bytes that were filled.
        sequence: the driver's count of frames, 0 to 2^32 - 1, then 0 again; frames that were lost are counted.
        kernel_ns: capture, nanoseconds of the monotonic clock; None where the driver stamps by another clock.
        flawed: the driver says that its content is incomplete.
    """

    index: int
    data: memoryview
    sequence: int
    kernel_ns: int | None
    flawed: bool


class Device(Protocol):
    """An open node. Every call may raise ``OSError`` with the kernel's number for what is wrong."""

    def identity(self) -> Identity:
        """What it is."""
        ...

    def formats(self) -> dict[str, tuple[Sizes, ...]]:
        """Each pixel format with its sizes, the driver's favourite first."""
        ...

    def rates(self, pixel_format: str, size: tuple[int, int]) -> tuple[float, ...]:
        """Frames a second that it can do at a format and size; empty where it does not say."""
        ...

    def controls(self) -> list[Control]:
        """Every control with a number for its value, but buttons."""
        ...

    def get(self, control: Control) -> int:
        """A control's value."""
        ...

    def set(self, control: Control, value: int) -> None:
        """Sets a control."""
        ...

    def start(self, pixel_format: str, size: tuple[int, int], rate_hz: float) -> Layout:
        """Begins to capture; what comes may be another size or rate than was asked for."""
        ...

    def take(self, timeout_s: float) -> Buffer | None:
        """The oldest picture that is ready, waiting for at most so long; None when none came."""
        ...

    def give_back(self, buffer: Buffer) -> None:
        """Lets the driver fill a buffer again."""
        ...

    def close(self) -> None:
        """Ends capturing and lets go of the node. Never raises; safe to call twice."""
        ...


class V4l2Device:
    """See ``Device``. Opens at construction.

    Args:
        path: of the node.
    """

    def __init__(self, path: str) -> None:
        self._maps: list[mmap.mmap] = []
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def identity(self) -> Identity:
        """See ``Device``."""
        said = self._call(raw.IOC.QUERYCAP, raw.v4l2_capability())
        own = said.device_caps if said.capabilities & raw.Capability.DEVICE_CAPS else said.capabilities
        needed = raw.Capability.VIDEO_CAPTURE | raw.Capability.STREAMING
        driver, card, bus = (text.decode(errors="replace") for text in (said.driver, said.card, said.bus_info))
        return Identity(driver, card, bus, captures=own & needed == needed)

    def formats(self) -> dict[str, tuple[Sizes, ...]]:
        """See ``Device``."""
        found = self._each(raw.IOC.ENUM_FMT, raw.v4l2_fmtdesc(type=_CAPTURE))
        codes = [f.pixelformat for f in found]
        return {_letters(code): tuple(self._sizes(code)) for code in codes}

    def _sizes(self, code: int) -> Iterator[Sizes]:
        for found in self._each(raw.IOC.ENUM_FRAMESIZES, raw.v4l2_frmsizeenum(pixel_format=code)):
            if found.type == raw.Frmsizetypes.DISCRETE:
                one = found.discrete.width, found.discrete.height
                yield Sizes(one, one)
            else:
                s = found.stepwise
                steps = max(s.step_width, 1), max(s.step_height, 1)
                yield Sizes((s.min_width, s.min_height), (s.max_width, s.max_height), steps)

    def rates(self, pixel_format: str, size: tuple[int, int]) -> tuple[float, ...]:
        """See ``Device``. Of a range of rates, the slowest and the fastest."""
        width, height = size
        asked = raw.v4l2_frmivalenum(pixel_format=_code(pixel_format), width=width, height=height)
        rates: list[float] = []
        for found in self._each(raw.IOC.ENUM_FRAMEINTERVALS, asked):
            discrete = found.type == raw.Frmivaltypes.DISCRETE
            spans = (found.discrete,) if discrete else (found.stepwise.max, found.stepwise.min)
            rates += [span.denominator / span.numerator for span in spans if span.numerator]
        return tuple(rates)

    def controls(self) -> list[Control]:
        """See ``Device``."""
        following = raw.ControlFlag.NEXT_CTRL
        query, found = raw.v4l2_query_ext_ctrl(id=following), []
        with suppress(OSError):  # EINVAL after the last; ENOTTY where a node has none
            while True:
                self._call(raw.IOC.QUERY_EXT_CTRL, query)
                if query.type in _NUMBERS and not query.flags & raw.ControlFlag.DISABLED:
                    found.append(self._control(query))
                query.id |= following
        return found

    def _control(self, query: Any) -> Control:  # noqa: ANN401 - linuxpy has no types
        alias = re.sub(r"[^a-z0-9]+", "_", query.name.decode(errors="replace").lower()).strip("_")
        return Control(
            id=query.id,
            name=_symbols().get(query.id, alias),
            alias=alias,
            least=query.minimum,
            greatest=query.maximum,
            step=query.step,
            default=query.default_value,
            writable=not query.flags & raw.ControlFlag.READ_ONLY,
            inactive=bool(query.flags & (raw.ControlFlag.INACTIVE | raw.ControlFlag.GRABBED)),
            menu=MappingProxyType(dict(self._menu(query))),
        )

    def _menu(self, query: Any) -> Iterator[tuple[int, str]]:  # noqa: ANN401
        if query.type not in (raw.CtrlType.MENU, raw.CtrlType.INTEGER_MENU):
            return
        for index in range(query.minimum, query.maximum + 1):
            item = raw.v4l2_querymenu(id=query.id, index=index)
            with suppress(OSError):  # menus have holes
                self._call(raw.IOC.QUERYMENU, item)
                named = query.type == raw.CtrlType.MENU
                yield index, item.name.decode(errors="replace") if named else str(item.value)

    def get(self, control: Control) -> int:
        """See ``Device``."""
        return int(self._call(raw.IOC.G_CTRL, raw.v4l2_control(control.id)).value)

    def set(self, control: Control, value: int) -> None:
        """See ``Device``."""
        self._call(raw.IOC.S_CTRL, raw.v4l2_control(control.id, value))

    def start(self, pixel_format: str, size: tuple[int, int], rate_hz: float) -> Layout:
        """See ``Device``."""
        wanted = raw.v4l2_format(type=_CAPTURE)
        wanted.fmt.pix.width, wanted.fmt.pix.height = size
        wanted.fmt.pix.pixelformat, wanted.fmt.pix.field = _code(pixel_format), raw.Field.ANY
        got = self._call(raw.IOC.S_FMT, wanted).fmt.pix
        rate = self._set_rate(rate_hz)
        count = self._call(raw.IOC.REQBUFS, raw.v4l2_requestbuffers(count=BUFFERS, type=_CAPTURE, memory=_MMAP)).count
        for index in range(count):
            buffer = self._call(raw.IOC.QUERYBUF, raw.v4l2_buffer(index=index, type=_CAPTURE, memory=_MMAP))
            self._maps.append(mmap.mmap(self._fd, buffer.length, offset=buffer.m.offset))
            self._queue(index)
        self._call(raw.IOC.STREAMON, _integer(_CAPTURE))
        return Layout(_letters(got.pixelformat), got.width, got.height, got.bytesperline, rate)

    def _set_rate(self, rate_hz: float) -> float:
        asked = raw.v4l2_streamparm(type=_CAPTURE)
        span, rate = asked.parm.capture.timeperframe, Fraction(rate_hz).limit_denominator(1001)
        span.numerator, span.denominator = rate.denominator, rate.numerator
        try:
            granted = self._call(raw.IOC.S_PARM, asked).parm.capture.timeperframe
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):  # cameras that know one rate alone
                return 0.0
            raise
        return granted.denominator / granted.numerator if granted.numerator else 0.0

    def take(self, timeout_s: float) -> Buffer | None:
        """See ``Device``. An unplugged camera ends the wait."""
        if not self._poll.poll(max(0.0, timeout_s) * 1000):
            return None
        buffer = raw.v4l2_buffer(type=_CAPTURE, memory=_MMAP)
        try:
            self._call(raw.IOC.DQBUF, buffer)
        except BlockingIOError:
            return None
        monotonic = buffer.flags & raw.BufferFlag.TIMESTAMP_MASK == raw.BufferFlag.TIMESTAMP_MONOTONIC
        return Buffer(
            buffer.index,
            memoryview(self._maps[buffer.index])[: buffer.bytesused],
            buffer.sequence,
            buffer.timestamp.secs * 1_000_000_000 + buffer.timestamp.usecs * 1000 if monotonic else None,
            flawed=bool(buffer.flags & raw.BufferFlag.ERROR),
        )

    def give_back(self, buffer: Buffer) -> None:
        """See ``Device``."""
        buffer.data.release()
        self._queue(buffer.index)

    def _queue(self, index: int) -> None:
        self._call(raw.IOC.QBUF, raw.v4l2_buffer(index=index, type=_CAPTURE, memory=_MMAP))

    def close(self) -> None:
        """See ``Device``."""
        if self._fd < 0:
            return
        with suppress(OSError):  # a camera that is gone
            self._call(raw.IOC.STREAMOFF, _integer(_CAPTURE))
        for mapped in self._maps:
            with suppress(BufferError):  # a picture that nobody gave back: its memory goes with it
                mapped.close()
        self._maps.clear()
        with suppress(OSError):
            os.close(self._fd)
        self._fd = -1

    def _call(self, request: int, argument: Any) -> Any:  # noqa: ANN401
        fcntl.ioctl(self._fd, request, argument)
        return argument

    def _each(self, request: int, query: Any) -> Iterator[Any]:  # noqa: ANN401
        """The answers to a question with an index, until the driver knows no more."""
        for index in range(256):
            query.index = index
            try:
                yield self._call(request, query)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
                    return
                raise


def _integer(value: int) -> bytes:
    return int(value).to_bytes(4, "little")


def _code(letters: str) -> int:
    return int(raw.v4l2_fourcc(*letters))


def _letters(code: int) -> str:
    return "".join(chr(code >> shift & 0x7F) for shift in (0, 8, 16, 24))


@cache
def _symbols() -> dict[int, str]:
    """The kernel's symbols of controls, without their V4L2_CID_: the first of each number that is no mere boundary."""
    symbols: dict[int, str] = {}
    for symbol, number in raw.ControlID.__members__.items():
        if not symbol.endswith(("BASE", "CLASS", "LASTP1")):
            symbols.setdefault(int(number), symbol.lower())
    return symbols
