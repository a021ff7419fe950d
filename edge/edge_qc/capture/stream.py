"""RTSP streams, videos and single pictures, through OpenCV."""

import logging
import os
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_qc.capture.base import EndOfSource, Shot, TellEvent, TellHealth, tell_nobody
from edge_qc.domain import FileStamp, Frame, Pixels, Unusable
from edge_qc.errors import CaptureError, PictureError
from edge_qc.picture import read_picture

log = logging.getLogger(__name__)

OPEN_MS, READ_MS = 5000, 2000
RETRY_LEAST_S, RETRY_MOST_S = 0.5, 5.0
# TCP, or every lost packet is a smeared picture; nothing is collected before it is decoded.
FFMPEG_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # OpenCV has no other way in
FFMPEG_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
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


class StreamClock:
    """When a stream's picture was taken, told from the stream's own clock.

    A picture that has waited in a buffer or on the network comes late, measured against the quickest ones of the last
    half minute; it is that much older than its arrival. The quickest ones are forgotten again, for no two clocks run
    alike.
    """

    WINDOW_NS = 30_000_000_000

    def __init__(self) -> None:
        self._before_ns = self._quickest_ns = self._since_ns = self._stream_ns = 0

    def captured_ns(self, stream_ns: int, now_ns: int) -> int:
        """The time of capture, never later than now.

        Args:
            stream_ns: what the stream's clock says of the picture, nanoseconds.
            now_ns: its arrival, nanoseconds of the monotonic clock.

        Returns:
            Nanoseconds of the monotonic clock.
        """
        took_ns = now_ns - stream_ns
        if not self._since_ns or stream_ns < self._stream_ns:  # the first, or a stream that began anew
            self._before_ns, self._quickest_ns, self._since_ns = took_ns, took_ns, now_ns
        elif now_ns - self._since_ns > self.WINDOW_NS:
            self._before_ns, self._quickest_ns, self._since_ns = self._quickest_ns, took_ns, now_ns
        self._stream_ns, self._quickest_ns = stream_ns, min(self._quickest_ns, took_ns)
        return min(now_ns, stream_ns + min(self._before_ns, self._quickest_ns))


class LiveStream:
    """An RTSP stream: the newest picture; older ones are thrown away by a thread of its own, which also reconnects.

    See ``Camera``. A stream that is lost raises nothing: ``read`` gives None and the health is told.

    Args:
        uri: ``rtsp://…``.
        once: give one frame, then end.
        on_health: told ``camera_lost``, and whether it is wrong or well again; from any thread.
        on_event: told what an auditor will ask about: kind and detail; from any thread.
    """

    def __init__(
        self, uri: str, *, once: bool = False, on_health: TellHealth = tell_nobody, on_event: TellEvent = tell_nobody
    ) -> None:
        self._uri, self._name, self._once = uri, without_password(uri), once
        self._on_health, self._on_event = on_health, on_event
        self._news = threading.Condition()
        self._newest: Shot | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._given = self._lost = False
        self._seq, self._captured_ns = 0, 0

    def open(self) -> None:
        """See ``Camera``."""
        capture = self._connect()
        if capture is None:
            raise CaptureError(
                f"{self._name} gives no pictures",
                expected=f"a stream that answers within {OPEN_MS / 1000:g} s",
                got="no answer, a refusal, or no video in it",
                remedy="Check address, user and password, and that nobody else has the camera's last stream",
            )
        self._stopping.clear()
        self._thread = threading.Thread(target=self._pump, args=(capture,), name="capture", daemon=True)
        self._thread.start()

    def read(self, timeout_s: float) -> Shot | None:
        """See ``Camera``. Never raises for a stream that is lost."""
        if self._once and self._given:
            raise EndOfSource
        with self._news:
            self._news.wait_for(lambda: self._newest is not None, timeout_s)
            shot, self._newest = self._newest, None
        self._given = self._given or shot is not None
        return shot

    def release(self, stamp: FileStamp) -> None:
        """See ``Camera``."""

    def close(self) -> None:
        """See ``Camera``."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(READ_MS / 1000 + 1)
            self._thread = None

    def _connect(self) -> Any:  # noqa: ANN401
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_MS]
        ours = FFMPEG_VARIABLE not in os.environ
        os.environ.setdefault(FFMPEG_VARIABLE, FFMPEG_OPTIONS)
        try:
            return _open_capture(self._uri, cv2.CAP_FFMPEG, timeouts)
        finally:
            if ours:  # a video file that is opened later would lose its first pictures
                del os.environ[FFMPEG_VARIABLE]

    def _pump(self, capture: Any) -> None:  # noqa: ANN401
        while capture is not None:
            self._drain(capture)
            capture.release()
            if self._stopping.is_set():
                return
            if not self._lost:
                self._tell_lost(lost=True)
            capture = self._reconnect()

    def _tell_lost(self, *, lost: bool) -> None:
        self._lost = lost
        log.log(logging.ERROR if lost else logging.WARNING, "stream %s is %s", self._name, "lost" if lost else "back")
        self._on_health("camera_lost", lost)
        why = f": no picture for {READ_MS} ms, or its end" if lost else ""
        self._on_event("camera_lost" if lost else "camera_back", self._name + why)

    def _drain(self, capture: Any) -> None:  # noqa: ANN401
        """Reads until the stream fails."""
        clock = StreamClock()
        while not self._stopping.is_set():
            ok, image = capture.read()
            now_ns, now = time.monotonic_ns(), datetime.now(UTC)
            if not ok:
                return
            stream_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            captured_ns = clock.captured_ns(stream_ns, now_ns) if stream_ns > 0 else now_ns
            if self._lost:
                self._tell_lost(lost=False)
            self._offer(grayscale(image), max(captured_ns, self._captured_ns), now, now_ns)

    def _offer(self, pixels: Pixels, captured_ns: int, now: datetime, now_ns: int) -> None:
        self._seq, self._captured_ns = self._seq + 1, captured_ns
        captured_at = now - timedelta(microseconds=(now_ns - captured_ns) / 1000)
        with self._news:
            self._newest = Shot(Frame(pixels, self._seq, captured_ns, captured_at, self._name))
            self._news.notify()

    def _reconnect(self) -> Any:  # noqa: ANN401
        """Tries until it succeeds, ever more rarely and never in step with other stations; None when told to stop."""
        wait_s = RETRY_LEAST_S
        while not self._stopping.wait(random.uniform(wait_s / 2, wait_s)):  # noqa: S311 - no secret hangs on it
            capture = self._connect()
            if capture is not None:
                return capture
            wait_s = min(2 * wait_s, RETRY_MOST_S)
        return None


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
