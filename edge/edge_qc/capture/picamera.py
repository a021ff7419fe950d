"""CSI cameras of the Raspberry Pi, through picamera2 (extra `pi`)."""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from edge_qc.capture.base import EndOfSource, Shot, TellEvent, TellHealth, tell_nobody
from edge_qc.domain import FileStamp, Frame, Pixels, Unusable
from edge_qc.errors import CaptureError
from edge_qc.sections import CameraProfile, Source

log = logging.getLogger(__name__)

BUFFERS = 4
# The sensor takes whole lines and steps of its amplifier, so what it makes of a value is never quite that value.
TOLERANCE = 0.03
# A CSI camera whose cable slipped never comes back to the process that had it, and picamera2's stop() then hangs
# (its issue 1264): only a new process has a chance.
GIVE_UP_S = 10.0
# While one of these is in the profile, the camera must not choose it by itself.
_SWITCHES: dict[str, dict[str, Any]] = {
    "ExposureTime": {"AeEnable": False},
    "AnalogueGain": {"AeEnable": False},
    "ColourGains": {"AwbEnable": False},
    "LensPosition": {"AfMode": 0},
}


class PiCamera:
    """See ``Camera``. Gives every frame, oldest first.

    A camera that falls silent makes the station degraded; after ten seconds ``read`` raises, and the service starts
    anew.

    Args:
        uri: ``picamera:`` and the number of the camera, 0 by default.
        settings: size and rate.
        camera: the profile, by libcamera's names (``ExposureTime``, in microseconds; ``AnalogueGain``), and when
            silence is a fault.
        once: give one frame, then end.
        on_health: told ``camera_lost`` and ``camera_profile``, and whether it is wrong or well again.
        on_event: told what an auditor will ask about: kind and detail.
        make: makes picamera2's object for a camera's number.
    """

    def __init__(
        self,
        uri: str,
        settings: Source,
        camera: CameraProfile,
        *,
        once: bool = False,
        on_health: TellHealth = tell_nobody,
        on_event: TellEvent = tell_nobody,
        make: Callable[[int], Any] | None = None,
    ) -> None:
        self._uri, self._settings, self._camera, self._once = uri, settings, camera, once
        self._on_health, self._on_event, self._make = on_health, on_event, make or _picamera2
        self._device: Any = None
        self._job: Any = None
        self._stride = 0
        self._seq, self._stamp_ns = 0, 0
        self._heard_s = self._check_s = 0.0
        self._lost = self._given = False
        self._last: Pixels | None = None

    def open(self) -> None:
        """See ``Camera``."""
        number = self._uri.removeprefix("picamera:") or "0"
        if not number.isdecimal():
            raise CaptureError(f"source {self._uri} names no camera", expected="picamera:0", got=self._uri)
        try:
            self._device = self._make(int(number))
            self._start()
        except (IndexError, RuntimeError) as error:
            self.close()
            raise CaptureError(
                f"no camera at {self._uri}",
                expected="a CSI camera that nobody else uses",
                got=str(error) or type(error).__name__,
                remedy="`rpicam-hello --list-cameras` shows those that the system knows",
            ) from error

    def _start(self) -> None:
        s, device = self._settings, self._device
        _check_controls(self._uri, self._camera.controls, device.camera_controls)
        frame_us = round(1e6 / s.rate_hz)
        controls: dict[str, Any] = {"FrameDurationLimits": (frame_us, frame_us)}
        for name, value in self._camera.controls.items():
            controls |= _SWITCHES.get(name, {}) | {name: value}
        # YUV420: its first plane is the gray picture.
        main = {"size": (s.width_px, s.height_px), "format": "YUV420"}
        device.configure(device.create_video_configuration(main=main, buffer_count=BUFFERS, controls=controls))
        granted = device.camera_configuration()["main"]
        if tuple(granted["size"]) != main["size"]:
            raise CaptureError(
                f"{self._uri} has no size {s.width_px}x{s.height_px}", got="{}x{}".format(*granted["size"])
            )
        self._stride = granted["stride"]
        device.start()
        self._heard_s = self._check_s = time.monotonic()
        self._on_event("camera", f"{self._uri}: YUV420 {s.width_px}x{s.height_px} at {s.rate_hz:g} Hz")

    def read(self, timeout_s: float) -> Shot | None:
        """See ``Camera``."""
        if self._once and self._given:
            raise EndOfSource
        if self._job is None:  # one that timed out goes on waiting for its frame
            self._job = self._device.capture_request(wait=False)
        try:
            request = self._device.wait(self._job, timeout=timeout_s)
        except TimeoutError:
            self._silence(time.monotonic() - self._heard_s)
            return None
        self._job = None
        try:
            shot = self._shot(request.get_metadata(), request.make_buffer("main"))
        finally:
            request.release()
        self._given = self._given or shot.frame is not None
        return shot

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``."""

    def close(self) -> None:
        """See ``Camera``."""
        if self._device is not None:
            self._device.close()
            self._device = self._job = None

    def _shot(self, metadata: Mapping[str, Any], data: Pixels) -> Shot:
        now_ns, now = time.monotonic_ns(), datetime.now(UTC)
        self._heard_s = now_ns / 1e9
        if self._lost:
            self._tell_lost(lost=False, why="")
        if self._heard_s - self._check_s >= self._camera.check_every_s or not self._seq:
            self._check_s = self._heard_s
            self._check_profile(metadata)
        s = self._settings
        pixels = data[: s.height_px * self._stride].reshape(s.height_px, self._stride)[:, : s.width_px]
        stamp_ns = int(metadata["SensorTimestamp"])  # the kernel's monotonic clock
        late = stamp_ns > self._stamp_ns
        frozen = self._last is not None and np.array_equal(self._last, pixels)
        self._stamp_ns, self._last, self._seq = stamp_ns, pixels, self._seq + 1
        if not late:
            return Shot(fault=Unusable("stale_frame", "expected a later time than the last frame's"))
        if frozen:
            return Shot(fault=Unusable("frozen", "the camera gives the same picture again"))
        captured_ns = min(stamp_ns, now_ns)
        captured_at = now - timedelta(microseconds=(now_ns - captured_ns) / 1000)
        return Shot(Frame(pixels, self._seq, captured_ns, captured_at, self._uri))

    def _check_profile(self, metadata: Mapping[str, Any]) -> None:
        wanted = self._camera.controls
        drifted = [
            f"{name}: expected {value:g}, got {metadata[name]:g}"
            for name, value in wanted.items()
            if name in metadata and abs(metadata[name] - value) > TOLERANCE * abs(value)
        ]
        if drifted:
            log.error("the profile of %s has drifted: %s", self._uri, "; ".join(drifted))
            self._on_event("camera_profile", f"{self._uri}: {'; '.join(drifted)}")
        if wanted:
            self._on_health("camera_profile", bool(drifted))

    def _silence(self, silent_s: float) -> None:
        if self._camera.silence_ms is None:
            return
        bound_s = max(self._camera.silence_ms / 1000, 3 / self._settings.rate_hz)
        if silent_s > bound_s and not self._lost:
            self._tell_lost(lost=True, why=f": no picture for {silent_s:.1f} s")
        if silent_s > bound_s + GIVE_UP_S:
            raise CaptureError(
                f"{self._uri} has stopped giving pictures",
                expected=f"one at least every {bound_s:g} s",
                got=f"none for {silent_s:.0f} s",
                remedy="Check the flat cable at both ends; the service starts again by itself",
            )

    def _tell_lost(self, *, lost: bool, why: str) -> None:
        self._lost = lost
        log.log(logging.ERROR if lost else logging.WARNING, "camera %s is %s", self._uri, "lost" if lost else "back")
        self._on_health("camera_lost", lost)
        self._on_event("camera_lost" if lost else "camera_back", self._uri + why)


def _picamera2(number: int) -> Any:  # noqa: ANN401 - picamera2 is not there to be asked for its types
    try:
        from picamera2 import Picamera2  # noqa: PLC0415 - only on a Raspberry Pi
    except ImportError as error:
        raise CaptureError(
            "CSI cameras need picamera2 and libcamera",
            got=str(error),
            remedy="apt-get install python3-picamera2, in an environment that sees the system's packages",
        ) from error
    return Picamera2(number)


def _check_controls(uri: str, wanted: Mapping[str, float], known: Mapping[str, tuple[Any, Any, Any]]) -> None:
    faults = []
    for name, value in wanted.items():
        if name not in known:
            faults.append(f"{name}: no such control")
            continue
        least, greatest, _ = known[name]
        if not least <= value <= greatest:
            faults.append(f"{name}: expected {least} to {greatest}, got {value:g}")
    if faults:
        raise CaptureError(
            f"camera.controls does not fit {uri}: {'; '.join(faults)}",
            remedy=f"It has {', '.join(sorted(known))}",
        )
