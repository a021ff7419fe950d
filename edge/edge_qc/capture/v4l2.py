"""Cameras over V4L2: kernel timestamps, frame numbers, a profile that is held, plugs that are pulled and put back."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from edge_qc.capture.base import EndOfSource, Shot, TellEvent, TellHealth, tell_nobody
from edge_qc.capture.v4l2_device import Buffer, Device, Layout, V4l2Device
from edge_qc.capture.v4l2_format import choose_format, luma
from edge_qc.capture.v4l2_nodes import explained, open_capturing
from edge_qc.capture.v4l2_profile import Setting, apply, drift, resolve
from edge_qc.domain import FileStamp, Frame, Pixels, Unusable
from edge_qc.errors import CaptureError
from edge_qc.sections import CameraProfile, Source

log = logging.getLogger(__name__)

RETRY_S = 0.5


@dataclass(slots=True)
class Counts:
    """What became of the pictures since ``open``.

    Attributes:
        frames: given.
        flawed: dropped, for the driver or the decoder said that they are incomplete.
        missed: never came, by the driver's count.
        stale: given as faults: an old number or an old time.
        frozen: given as faults: the same picture again.
        lost: how often the camera was lost.
    """

    frames: int = 0
    flawed: int = 0
    missed: int = 0
    stale: int = 0
    frozen: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class _Held:
    """A camera that captures."""

    device: Device
    layout: Layout
    profile: list[Setting]


class V4l2Camera:
    """See ``Camera``. Gives every frame, oldest first; at most four wait.

    A camera that is pulled out, or that falls silent, raises nothing: ``read`` gives None, the health is told, and a
    thread takes it up again when it is back. The same thread reads the profile back.

    Args:
        path: of the video device.
        settings: size and rate.
        camera: the profile, and when silence is a fault.
        once: give one frame, then end.
        on_health: told ``camera_lost`` and ``camera_profile``, and whether it is wrong or well again; from any thread.
        on_event: told what an auditor will ask about: kind and detail; from any thread.
        open_device: opens a node.
    """

    def __init__(
        self,
        path: str,
        settings: Source,
        camera: CameraProfile,
        *,
        once: bool = False,
        on_health: TellHealth = tell_nobody,
        on_event: TellEvent = tell_nobody,
        open_device: Callable[[str], Device] = V4l2Device,
    ) -> None:
        self._path, self._settings, self._camera, self._once = path, settings, camera, once
        self._on_health, self._on_event, self._open_device = on_health, on_event, open_device
        self.counts = Counts()
        self._held: _Held | None = None
        self._holding = threading.Lock()  # the keeper asks a device that the reader may close
        self._back, self._wake, self._stopping = threading.Event(), threading.Event(), threading.Event()
        self._keeper: threading.Thread | None = None
        self._said = ""
        self._lost_s: float | None = None
        self._heard_s = 0.0
        self._seq, self._sequence, self._kernel_ns = 0, -1, 0
        self._last: Pixels | None = None

    def open(self) -> None:
        """See ``Camera``.

        Raises:
            CaptureError: also if it has not the format, the size or a control, telling what it has.
        """
        self._stopping.clear()
        self._held = self._take_up()
        self._keeper = threading.Thread(target=self._keep, name="camera keeper", daemon=True)
        self._keeper.start()

    def read(self, timeout_s: float) -> Shot | None:
        """See ``Camera``. Never raises for a camera that is lost."""
        if self._once and self.counts.frames:
            raise EndOfSource
        until_s = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, until_s - time.monotonic())
            held = self._held
            if held is None:
                if not self._back.wait(left_s):
                    return None
                self._back.clear()
                continue
            shot = self._next(held, left_s)
            if shot is not None or time.monotonic() >= until_s:
                return shot

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``."""

    def close(self) -> None:
        """See ``Camera``."""
        self._stopping.set()
        self._wake.set()
        if self._keeper is not None:
            self._keeper.join(5)
            self._keeper = None
        self._let_go()

    def _next(self, held: _Held, wait_s: float) -> Shot | None:
        try:
            buffer = held.device.take(min(wait_s, self._patience_s()))
            if buffer is None:
                if self._patience_s() <= 0:
                    self._lose(f"no picture for {time.monotonic() - self._heard_s:.1f} s")
                return None
            try:
                return self._shot(held.layout, buffer)
            finally:
                held.device.give_back(buffer)
        except OSError as error:
            self._lose(error.strerror or str(error))
            return None

    def _patience_s(self) -> float:
        """How much longer silence is no fault."""
        if self._camera.silence_ms is None:
            return float("inf")
        bound_s = max(self._camera.silence_ms / 1000, 3 / self._settings.rate_hz)
        return self._heard_s + bound_s - time.monotonic()

    def _shot(self, layout: Layout, buffer: Buffer) -> Shot | None:
        now_ns, now = time.monotonic_ns(), datetime.now(UTC)
        pixels = None if buffer.flawed else luma(layout, buffer.data)
        if pixels is None:
            self.counts.flawed += 1
            return None
        self._heard_s = now_ns / 1e9
        stamp_ns = now_ns if buffer.kernel_ns is None else buffer.kernel_ns
        fault = self._not_fresh(buffer.sequence, stamp_ns, pixels)
        if self._lost_s is not None:
            self._returned()
        if fault is not None:
            return Shot(fault=fault)
        self.counts.frames += 1
        captured_ns = min(stamp_ns, now_ns)  # some drivers stamp the end of the frame before it is there
        captured_at = now - timedelta(microseconds=(now_ns - captured_ns) / 1000)
        return Shot(Frame(pixels, self._seq, captured_ns, captured_at, self._path))

    def _not_fresh(self, sequence: int, stamp_ns: int, pixels: Pixels) -> Unusable | None:
        """Proves a picture to be a new one. What speaks against it makes no frame."""
        ahead = 1 if self._sequence < 0 else (sequence - self._sequence) % 2**32
        old_number, old_time = not 0 < ahead < 2**31, stamp_ns < self._kernel_ns
        said = f"number {sequence} after {self._sequence}, {(stamp_ns - self._kernel_ns) / 1e6:.1f} ms later"
        self._sequence, self._kernel_ns = sequence, stamp_ns
        frozen = _same(self._last, pixels)
        self._last = pixels
        if old_number or old_time:
            self.counts.stale += 1
            return Unusable("stale_frame", f"expected a new number and a later time, got {said}")
        self._seq += ahead
        self.counts.missed += ahead - 1
        if frozen:  # two pictures of a real sensor are never the same to the last bit
            self.counts.frozen += 1
            return Unusable("frozen", "the camera gives the same picture again")
        return None

    def _take_up(self) -> _Held:
        device, identity = open_capturing(self._path, self._open_device)
        try:
            wanted = choose_format(device, self._path, self._settings)
            size = self._settings.width_px, self._settings.height_px
            profile = resolve(device, self._path, self._camera.controls)
            apply(device, self._path, profile)
            layout = device.start(wanted, size, self._settings.rate_hz)
            _check_granted(layout, self._path, wanted, size)
            held = _Held(device, layout, profile)
            self._tell_profile(held)  # what a camera makes of its controls when it starts is part of it
        except OSError as error:
            device.close()
            raise explained(error, self._path) from error
        except CaptureError:
            device.close()
            raise
        detail = f"{self._path}: {identity.card} ({identity.driver}, {identity.bus}), {layout}"
        if layout.rate_hz and layout.rate_hz < 0.95 * self._settings.rate_hz:
            detail += f" where {self._settings.rate_hz:g} Hz were asked for"
        log.info("camera %s", detail)
        self._on_event("camera", detail)
        self._heard_s, self._sequence, self._kernel_ns = time.monotonic(), -1, 0
        return held

    def _lose(self, why: str) -> None:
        self._let_go()
        if self._lost_s is None:
            self._lost_s, self._said = time.monotonic(), ""
            self.counts.lost += 1
            log.error("camera %s is lost: %s. It is taken up again when it is back", self._path, why)
            self._on_health("camera_lost", True)  # noqa: FBT003 - the port's signature
            self._on_event("camera_lost", f"{self._path}: {why}")
        self._wake.set()

    def _returned(self) -> None:
        gone_s = time.monotonic() - (self._lost_s or 0.0)
        self._lost_s = None
        log.warning("camera %s is back after %.1f s", self._path, gone_s)
        self._on_health("camera_lost", False)  # noqa: FBT003
        self._on_event("camera_back", f"{self._path}: after {gone_s:.1f} s")

    def _let_go(self) -> None:
        with self._holding:
            if self._held is not None:
                self._held.device.close()
                self._held = None

    def _keep(self) -> None:
        """Takes up a camera that was lost, and reads the profile back now and then."""
        due_s = time.monotonic() + self._camera.check_every_s
        while not self._stopping.is_set():
            self._wake.wait(RETRY_S if self._held is None else max(0.0, due_s - time.monotonic()))
            self._wake.clear()
            if self._stopping.is_set():
                return
            if self._held is None:
                self._try_again()
            elif time.monotonic() >= due_s:
                due_s = time.monotonic() + self._camera.check_every_s
                self._check_profile()

    def _try_again(self) -> None:
        try:
            held = self._take_up()
        except CaptureError as error:
            if str(error) != self._said:
                self._said = str(error)
                log.warning("%s", error)
            return
        self._held = held
        self._back.set()

    def _check_profile(self) -> None:
        with self._holding:
            if self._held is None:
                return
            try:
                if self._tell_profile(self._held):
                    apply(self._held.device, self._path, self._held.profile)  # whether it held is seen the next time
            except (OSError, CaptureError) as error:  # a camera that is gone: the reader sees it too
                log.warning("the profile of %s cannot be held: %s", self._path, error)

    def _tell_profile(self, held: _Held) -> bool:
        """Reads the profile back; whether it has drifted."""
        drifted = drift(held.device, held.profile)
        if drifted:
            log.error("the profile of %s has drifted: %s", self._path, "; ".join(drifted))
            self._on_event("camera_profile", f"{self._path}: {'; '.join(drifted)}")
        if held.profile:
            self._on_health("camera_profile", bool(drifted))
        return bool(drifted)


def _check_granted(layout: Layout, path: str, pixel_format: str, size: tuple[int, int]) -> None:
    if (layout.pixel_format, layout.width_px, layout.height_px) != (pixel_format, *size):
        raise CaptureError(
            f"{path} does not keep its word",
            expected="{} {}x{}".format(pixel_format, *size),
            got=str(layout),
            remedy="Set source.width_px and source.height_px to what it gives",
        )


def _same(before: Pixels | None, now: Pixels) -> bool:
    """Whether two pictures are the same to the last bit; a few lines tell nearly always."""
    if before is None or before.shape != now.shape:
        return False
    return np.array_equal(before[::32], now[::32]) and np.array_equal(before, now)
