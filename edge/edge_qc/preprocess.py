"""Frame -> model input. The trainer uses these very functions."""

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from edge_qc.domain import FloatArray, Pixels

Fit = Literal["letterbox", "crop", "stretch"]

# Below this standard deviation (grey levels) a picture is noise: it is not blown up to full contrast.
MIN_STANDARD_DEVIATION = 8.0


def resize(pixels: Pixels, height: int, width: int, fit: Fit) -> Pixels:
    """Brings a picture to the model's size; a view of the same pixels where it already has it.

    Args:
        pixels: shape (rows, columns), uint8.
        height: rows wanted.
        width: columns wanted.
        fit: ``letterbox`` keeps all of it and repeats the border, ``crop`` fills the size and cuts the excess in
            equal halves, ``stretch`` ignores the aspect.

    Returns:
        Shape (height, width), uint8.
    """
    rows, columns = pixels.shape
    if (rows, columns) == (height, width):
        return pixels
    if fit == "crop":
        scale = max(height / rows, width / columns)
        keep_rows, keep_columns = min(rows, round(height / scale)), min(columns, round(width / scale))
        top, left = (rows - keep_rows) // 2, (columns - keep_columns) // 2
        return _scale(pixels[top : top + keep_rows, left : left + keep_columns], height, width)
    if fit == "stretch":
        return _scale(pixels, height, width)
    scale = min(height / rows, width / columns)
    inner_rows, inner_columns = max(1, min(height, round(rows * scale))), max(1, min(width, round(columns * scale)))
    inner = _scale(pixels, inner_rows, inner_columns)
    top, left = (height - inner_rows) // 2, (width - inner_columns) // 2
    bottom, right = height - inner_rows - top, width - inner_columns - left
    return np.asarray(cv2.copyMakeBorder(inner, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8)


def _scale(pixels: Pixels, height: int, width: int) -> Pixels:
    smaller = height < pixels.shape[0] or width < pixels.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), np.uint8)


def mean_and_deviation(pixels: Pixels) -> tuple[float, float]:
    """Mean and standard deviation of a picture in grey levels, the latter at least ``MIN_STANDARD_DEVIATION``."""
    mean, deviation = cv2.meanStdDev(pixels)
    return float(mean[0, 0]), max(float(deviation[0, 0]), MIN_STANDARD_DEVIATION)


def standardise(pixels: Pixels) -> FloatArray:
    """The model's input in real numbers: ``(x - mean) / deviation`` of the picture itself.

    Each picture is measured by its own light, so a brighter lamp or a longer exposure changes nothing.

    Args:
        pixels: shape (height, width), uint8.

    Returns:
        Shape (height, width), float32, mean 0, variance 1 (less for a picture without contrast).
    """
    mean, deviation = mean_and_deviation(pixels)
    return (pixels.astype(np.float32) - np.float32(mean)) / np.float32(deviation)


def quantize(pixels: Pixels, scale: float, zero_point: int, out: npt.NDArray[np.int8]) -> None:
    """``standardise`` and int8 quantization in one pass, written straight into ``out``.

    A uint8 picture has 256 grey levels: the whole affine map is a table of 256 (rounded to nearest, clipped to int8).

    Args:
        pixels: shape (height, width), uint8.
        scale: real value of one step of the model's input.
        zero_point: the int8 value that stands for 0.0, -128 to 127.
        out: shape (height, width), int8: the model's input tensor.
    """
    mean, deviation = mean_and_deviation(pixels)
    levels = (np.arange(256, dtype=np.float32) - np.float32(mean)) / np.float32(deviation)
    table = np.clip(np.rint(levels / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)
    cv2.LUT(pixels, table, dst=out)
