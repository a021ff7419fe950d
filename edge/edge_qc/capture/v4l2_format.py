"""From a driver's buffer to a gray picture, and which pixel format brings it soonest."""

import logging

import cv2
import numpy as np

from edge_qc.capture.v4l2_device import Device, Layout
from edge_qc.domain import Pixels
from edge_qc.errors import CaptureError, PictureError
from edge_qc.picture import decode
from edge_qc.sections import Source

log = logging.getLogger(__name__)

# By what they cost: a copy of the plane, a copy of every second byte, a decoded JPEG.
PREFERRED = ("GREY", "NV12", "NV21", "YUYV", "UYVY", "MJPG", "JPEG")
COMPRESSED = ("MJPG", "JPEG")
_Y_FIRST = {"YUYV": 0, "UYVY": 1}


def choose_format(device: Device, path: str, settings: Source) -> str:
    """The pixel format that brings a gray picture soonest: the cheapest to read of those that reach the rate.

    Where none reaches it, the one that comes nearest: waiting for a slow transfer costs more than a decoded JPEG.

    Raises:
        CaptureError: if the camera has no format that can be read, or not the size, telling what it has.
        OSError: if it cannot be asked.
    """
    size, formats = (settings.width_px, settings.height_px), device.formats()
    readable = [name for name in PREFERRED if name in formats]
    if not readable:
        raise CaptureError(
            f"{path} has no format that can be read",
            expected=f"one of {', '.join(PREFERRED)}",
            got=", ".join(formats) or "none",
            remedy="A Raspberry Pi's CSI camera: source.uri picamera:0" if "unicam" in device.identity().driver else "",
        )
    fitting = [name for name in readable if any(sizes.hold(size) for sizes in formats[name])]
    if not fitting:
        had = "; ".join(f"{name} {', '.join(map(str, formats[name]))}" for name in readable)
        raise CaptureError(
            f"{path} has no size {size[0]}x{size[1]}",
            expected=had,
            got=f"source.width_px {size[0]}, source.height_px {size[1]}",
            remedy="Set them to one that it has",
        )
    reached = {name: max(device.rates(name, size), default=float("inf")) for name in fitting}
    return max(fitting, key=lambda name: min(reached[name], 0.95 * settings.rate_hz))


def luma(layout: Layout, data: memoryview) -> Pixels | None:
    """The gray picture in a buffer, copied once; None where it is not whole.

    Returns:
        Shape (height, width), uint8, 0 is black.
    """
    if layout.pixel_format in COMPRESSED:
        try:
            pixels = decode(data, "a frame")
        except PictureError as error:
            log.debug("%s", error)
            return None
        return pixels if pixels.shape == (layout.height_px, layout.width_px) else None
    sample_bytes = 2 if layout.pixel_format in _Y_FIRST else 1
    line_bytes = layout.line_bytes or layout.width_px * sample_bytes
    needed = line_bytes * (layout.height_px - 1) + layout.width_px * sample_bytes
    if len(data) < needed:
        return None
    shape, strides = (layout.height_px, layout.width_px, sample_bytes), (line_bytes, sample_bytes, 1)
    seen = np.ndarray(shape, np.uint8, data, strides=strides)
    return np.asarray(cv2.extractChannel(seen, _Y_FIRST.get(layout.pixel_format, 0)), np.uint8)
