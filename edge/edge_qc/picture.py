"""Picture files into grayscale pixels, for the device and the trainer alike."""

from pathlib import Path

import cv2
import numpy as np

from edge_qc import MAX_PICTURE_PIXELS
from edge_qc.domain import Pixels
from edge_qc.errors import PictureError

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
MAX_FILE_BYTES = 200_000_000  # 50 megapixels of 32-bit colour, uncompressed


def read_picture(path: Path) -> Pixels:
    """The picture in a file: ``decode`` of ``read_file``.

    Returns:
        Shape (height, width), uint8, grayscale (ITU-R BT.601 luma where the file has colour), EXIF rotation applied.

    Raises:
        PictureError: if the file is empty, is not a whole picture, or has more than ``MAX_PICTURE_PIXELS``.
        OSError: if it cannot be read at all.
    """
    return decode(read_file(path), path.name)


def read_file(path: Path) -> bytes:
    """The bytes of a file that may be a picture.

    Raises:
        PictureError: if it is empty, or so large that nothing should decode it.
        OSError: if it cannot be read at all.
    """
    size = path.stat().st_size
    if size == 0:
        raise PictureError(f"{path.name} is empty", expected="a picture", got="0 bytes")
    if size > MAX_FILE_BYTES:
        raise PictureError(
            f"{path.name} is too large to decode",
            expected=f"at most {MAX_FILE_BYTES // 1_000_000} MB",
            got=f"{size / 1e6:.0f} MB",
        )
    return path.read_bytes()


def decode(data: bytes | memoryview, name: str) -> Pixels:
    """The picture in encoded bytes (JPEG, PNG, BMP, TIFF, WebP …).

    ``cv2.imdecode`` refuses truncated files, which ``cv2.imread`` lets pass.

    Raises:
        PictureError: as ``read_picture``.
    """
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        if "MAX_IMAGE_PIXELS" in str(error):
            raise _too_large(name) from None
        raise PictureError(f"{name} cannot be decoded", expected="a picture", got=str(error.err)) from None
    if pixels is None:
        raise PictureError(
            f"{name} cannot be decoded",
            expected="a whole JPEG, PNG, BMP, TIFF or WebP picture",
            got=f"{len(data)} bytes that are truncated, corrupt or no picture",
        )
    if pixels.size > MAX_PICTURE_PIXELS:  # OpenCV was loaded before edge_qc, and did not know the limit
        raise _too_large(name)
    return np.asarray(pixels, np.uint8)


def _too_large(name: str) -> PictureError:
    limit = f"at most {MAX_PICTURE_PIXELS // 1_000_000} megapixels"
    return PictureError(f"{name} is too large to decode", expected=limit, got="more")
