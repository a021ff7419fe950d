"""Cameras, RTSP streams, videos and single pictures, through OpenCV."""

import logging
import os
import stat
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_qc.capture.base import EndOfSource, Shot
from edge_qc.domain import FileStamp, Frame, Pixels, Unusable
from edge_qc.errors import CaptureError, PictureError
from edge_qc.picture import read_picture
from edge_qc.sections import Source

log = logging.getLogger(__name__)

SILENT_S = 5.0
PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_VIDEO_SIGNATURE_BYTES = 512


def grayscale(image: Any) -> Pixels:  # noqa: ANN401 - OpenCV's arrays are untyped
    """Shape (height, width), uint8: of a colour picture the BT.601 luma, of a grayscale one itself."""
    if image.ndim == 3 and image.shape[2] == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    return np.asarray(image.reshape(image.shape[:2]), np.uint8)


class PictureFile:
    """One picture file, once. See ``Camera``."""

    def __init__(self, path: Path) -> None:
        self._path, self._given = path, False

    def open(self) -> None:
        """See ``Camera``."""
        _check_file(self._path)

    def read(self, timeout_s: float) -> Shot | None:  # noqa: ARG002 - the port's signature
        """See ``Camera``."""
        if self._given:
            raise EndOfSource
        self._given = True
        captured_ns, captured_at = time.monotonic_ns(), datetime.now(UTC)
        try:
            pixels = read_picture(self._path)
        except (PictureError, OSError) as error:
            log.warning("%s: %s", self._path, error)
            return Shot(fault=Unusable("unreadable", str(error), self._path.name))
        return Shot(Frame(pixels, 1, captured_ns, captured_at, str(self._path), self._path.name))

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``."""

    def close(self) -> None:
        """See ``Camera``."""


class VideoFile:
    """Every frame of a video, as fast as they are inspected. See ``Camera``."""

    def __init__(self, path: Path) -> None:
        self._path, self._seq = path, 0
        self._capture: Any = None

    def open(self) -> None:
        """See ``Camera``."""
        _check_file(self._path)
        self._capture = _open_capture(str(self._path), cv2.CAP_ANY, [])
        if self._capture is None:
            raise CaptureError(
                f"{self._path} cannot be opened",
                expected="a picture or a video that OpenCV decodes",
                got="neither",
                remedy="Convert it to MP4 (H.264) or MJPEG",
            )

    def read(self, timeout_s: float) -> Shot | None:  # noqa: ARG002 - the port's signature
        """See ``Camera``."""
        ok, image = (False, None) if self._capture is None else self._capture.read()
        if not ok:
            raise EndOfSource
        self._seq += 1
        return Shot(Frame(grayscale(image), self._seq, time.monotonic_ns(), datetime.now(UTC), str(self._path)))

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``."""

    def close(self) -> None:
        """See ``Camera``."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class LiveStream:
    """A camera or an RTSP stream: the newest frame, read in a thread of its own, for OpenCV's read may block 10 s.

    See ``Camera``. ``read`` raises ``CaptureError`` when no frame came for 5 s, and the service starts anew.

    Args:
        uri: ``/dev/video0`` or ``rtsp://…``.
        settings: size and rate asked of a camera.
        once: give one frame, then end.
    """

    def __init__(self, uri: str, settings: Source, *, once: bool = False) -> None:
        self._uri, self._settings, self._once = uri, settings, once
        self._news = threading.Condition()
        self._newest: Shot | None = None
        self._is_camera = not uri.startswith("rtsp")
        self._ended = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._heard_s = 0.0
        self._given = False

    def open(self) -> None:
        """See ``Camera``."""
        if not self._is_camera:
            timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
            capture = _open_capture(self._uri, cv2.CAP_FFMPEG, timeouts)
        else:
            _check_camera(self._uri)
            s = self._settings
            asked = [cv2.CAP_PROP_FRAME_WIDTH, s.width_px, cv2.CAP_PROP_FRAME_HEIGHT, s.height_px]
            capture = _open_capture(self._uri, cv2.CAP_V4L2, asked)
            if capture is not None:
                capture.set(cv2.CAP_PROP_FPS, s.rate_hz)
                capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if capture is None:
            raise CaptureError(
                f"{without_password(self._uri)} gives no pictures",
                expected="a capturing video device, or a stream that answers within 5 s",
                got="a device that is in use, a metadata node, or no answer",
                remedy="Look with `v4l2-ctl --list-devices`, close other programs that use it, or check the address",
            )
        self._heard_s = time.monotonic()
        self._thread = threading.Thread(target=self._pump, args=(capture,), name="capture", daemon=True)
        self._thread.start()

    def read(self, timeout_s: float) -> Shot | None:
        """See ``Camera``."""
        if self._once and self._given:
            raise EndOfSource
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._ended, timeout_s)
            shot, self._newest = self._newest, None
        if shot is not None:
            self._given = True
            return shot
        if self._ended or time.monotonic() - self._heard_s > SILENT_S:
            raise CaptureError(
                f"{without_password(self._uri)} has stopped giving pictures",
                expected=f"a frame at least every {SILENT_S:g} s",
                got="the end of the stream" if self._ended else "none",
                remedy="Check the cable, the power and the network; the service starts again by itself",
            )
        return None

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``."""

    def close(self) -> None:
        """See ``Camera``."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2)
            self._thread = None

    def _pump(self, capture: Any) -> None:  # noqa: ANN401
        seq, last = 0, None
        while not self._stopping.is_set():
            ok, image = capture.read()
            captured_ns, captured_at = time.monotonic_ns(), datetime.now(UTC)
            if not ok:
                break
            pixels = grayscale(image)
            # Two pictures of a real sensor are never the same to the last bit. A coded stream of a still scene may be.
            frozen = self._is_camera and last is not None and np.array_equal(pixels, last)
            last, seq = pixels, seq + 1
            frame = Frame(pixels, seq, captured_ns, captured_at, without_password(self._uri))
            fault = Unusable("frozen", "the camera gives the same picture again") if frozen else None
            with self._news:
                self._newest, self._heard_s = Shot(None if fault else frame, fault), time.monotonic()
                self._news.notify()
        capture.release()
        with self._news:
            self._ended = True
            self._news.notify()


def without_password(uri: str) -> str:
    """An RTSP address as it may stand in logs and records."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}://…@{rest.rpartition('@')[2]}" if separator and "@" in rest else uri


def _open_capture(uri: str, backend: int, parameters: list[int]) -> Any:  # noqa: ANN401
    capture = cv2.VideoCapture(uri, backend, parameters)
    return capture if capture.isOpened() else None


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(_VIDEO_SIGNATURE_BYTES)
    except OSError as error:
        raise CaptureError(
            f"source {path} cannot be opened",
            expected="a folder, a picture, a video or a video device",
            got=error.strerror or str(error),
            remedy="Check the path and its permissions",
        ) from error


def _check_camera(device: str) -> None:
    there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "no /dev/video* at all"
    try:
        mode = Path(device).stat().st_mode
    except OSError as error:
        raise CaptureError(
            f"no camera at {device}",
            expected="a video device",
            got=f"{error.strerror}; there is {there}",
            remedy="Plug it in, or give --source the path under /dev/v4l/by-id, which does not change",
        ) from error
    if not stat.S_ISCHR(mode):
        raise CaptureError(f"{device} is no camera", expected="a character device", got=stat.filemode(mode))
    if not os.access(device, os.R_OK | os.W_OK):
        raise CaptureError(
            f"no permission for {device}",
            expected="read and write",
            got=f"mode {stat.filemode(mode)} for user {os.geteuid()}",
            remedy="Add the user to the group `video`",
        )
