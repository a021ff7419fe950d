"""Frame -> model input. The trainer uses these very functions."""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from edge_qc.align import Align, align
from edge_qc.domain import FloatArray, Frame, Pixels, Window
from edge_qc.region import Region

Fit = Literal["letterbox", "crop", "stretch"]
Normalisation = Literal["standardise", "standardise-circles"]
"""What grey levels are counted from: the mean of the picture, or of an unwrapped ring (``edge_qc.unwrap``) the mean of
each circle. Both are divided by the picture's standard deviation."""

_MIDDLE_LEVEL = 128

# Below this standard deviation (grey levels) a picture is noise: it is not blown up to full contrast.
MIN_STANDARD_DEVIATION = 8.0

_MOST_CELLS = 200  # of a heatmap over a frame, each way

# Up to this factor of reduction linear interpolation loses nothing to speak of, and takes a tenth of area's time.
_LINEAR_UP_TO = 1.25


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a frame is brought to the model's size: as the card says, on the device and in training alike.

    Attributes:
        height: rows of the model's input.
        width: columns of it.
        fit: what becomes of another aspect.
        region: the region of interest; None for the whole frame.
        align: ``part``: the part is found in it, and the square around the part is what is seen; ``none``: all of it.
    """

    height: int
    width: int
    fit: Fit = "letterbox"
    region: Region | None = None
    align: Align = "none"

    def pixels(self, pixels: Pixels) -> Pixels:
        """The region of a picture, or the part in it, at the model's size; a view where it has that already.

        Args:
            pixels: shape (rows, columns), uint8.

        Raises:
            PictureError: if the region does not lie in the picture.
            NoPartError: if there is no part in it to cut out.
        """
        return self._fit(pixels)[0]

    def _fit(self, pixels: Pixels) -> tuple[Pixels, Window]:
        seen, cut = pixels, Window(0, 0, *pixels.shape[::-1])
        if self.region is not None:
            cut = self.region.window(*pixels.shape)
            seen = cut.of(pixels)
        if self.align == "part":
            seen, square = align(seen)
            cut = square.within(cut)
        shown = _shown(seen, self.height, self.width, self.fit)
        return resize(seen, self.height, self.width, self.fit), shown.within(cut)

    def frame(self, frame: Frame) -> Frame:
        """The frame with its pixels fitted, and their window; the very frame where there is nothing to do.

        Raises:
            PictureError: as ``pixels``.
        """
        fitted, window = self._fit(frame.pixels)
        return frame if fitted is frame.pixels else replace(frame, pixels=fitted, window=window)


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
        top, left, keep_rows, keep_columns = _kept(rows, columns, height, width)
        return _scale(pixels[top : top + keep_rows, left : left + keep_columns], height, width)
    if fit == "stretch":
        return _scale(pixels, height, width)
    top, left, inner_rows, inner_columns = _inner(rows, columns, height, width)
    bottom, right = top + inner_rows, left + inner_columns
    out = np.empty((height, width), np.uint8)
    _scale(pixels, inner_rows, inner_columns, out[top:bottom, left:right])
    # One of the two pairs of borders is empty, or both are.
    out[:top], out[bottom:] = out[top], out[bottom - 1]
    out[:, :left], out[:, right:] = out[:, left, None], out[:, right - 1, None]
    return out


def _shown(pixels: Pixels, height: int, width: int, fit: Fit) -> Window:
    """What of a picture, and what around it, ``resize`` shows: pixels of the picture."""
    rows, columns = pixels.shape
    if fit == "stretch":
        return Window(0, 0, columns, rows)
    if fit == "crop":
        top, left, keep_rows, keep_columns = _kept(rows, columns, height, width)
        return Window(left, top, keep_columns, keep_rows)
    top, left, inner_rows, inner_columns = _inner(rows, columns, height, width)
    down, across = rows / inner_rows, columns / inner_columns
    return Window(-left * across, -top * down, width * across, height * down)


def _kept(rows: int, columns: int, height: int, width: int) -> tuple[int, int, int, int]:
    """What ``crop`` keeps of a picture: top, left, rows, columns."""
    scale = max(height / rows, width / columns)
    keep_rows, keep_columns = min(rows, round(height / scale)), min(columns, round(width / scale))
    return (rows - keep_rows) // 2, (columns - keep_columns) // 2, keep_rows, keep_columns


def _inner(rows: int, columns: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Where ``letterbox`` puts a picture: top, left, rows, columns."""
    scale = min(height / rows, width / columns)
    inner_rows, inner_columns = max(1, min(height, round(rows * scale))), max(1, min(width, round(columns * scale)))
    return (height - inner_rows) // 2, (width - inner_columns) // 2, inner_rows, inner_columns


def lay_over(heatmap: FloatArray, window: Window, rows: int, columns: int) -> FloatArray:
    """A heatmap of what a window shows, laid over the whole frame.

    Args:
        heatmap: shape (cells, cells), float32.
        window: where what it is of lies in the frame.
        rows: of the frame, pixels.
        columns: of the frame, pixels.

    Returns:
        Float32, cells of about the same size as those given, ``_MOST_CELLS`` each way at most; 0 outside the window.
    """
    down, across = heatmap.shape[0] / window.height, heatmap.shape[1] / window.width  # cells a pixel of the frame
    height, width = (min(_MOST_CELLS, max(1, round(side))) for side in (rows * down, columns * across))
    # From the middle of a cell of the frame to that of one of the heatmap.
    along = np.array((across * columns / width, down * rows / height))
    start = along / 2 - np.array((across * window.x, down * window.y)) - 0.5
    matrix = np.column_stack([np.diag(along), start])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(heatmap, matrix, (width, height), flags=flags), np.float32)


def _scale(pixels: Pixels, height: int, width: int, out: Pixels | None = None) -> Pixels:
    """Scales a picture, into ``out`` where that is given (height, width).

    Area interpolation is quick only for whole factors: so the whole part of the factor is taken first, and what is left
    is little. A 640x480 frame takes 0.1 ms so, and 0.7 ms at once.
    """
    whole_rows, whole_columns = max(1, pixels.shape[0] // height), max(1, pixels.shape[1] // width)
    if whole_rows > 1 or whole_columns > 1:
        reduced = (-(-pixels.shape[1] // whole_columns), -(-pixels.shape[0] // whole_rows))
        pixels = np.asarray(cv2.resize(pixels, reduced, interpolation=cv2.INTER_AREA), np.uint8)
    left = max(pixels.shape[0] / height, pixels.shape[1] / width)
    method = cv2.INTER_LINEAR if left <= _LINEAR_UP_TO else cv2.INTER_AREA
    return np.asarray(cv2.resize(pixels, (width, height), dst=out, interpolation=method), np.uint8)


def mean_and_deviation(pixels: Pixels) -> tuple[float, float]:
    """Mean and standard deviation of a picture in grey levels, the latter at least ``MIN_STANDARD_DEVIATION``."""
    mean, deviation = cv2.meanStdDev(pixels)
    return float(mean[0, 0]), max(float(deviation[0, 0]), MIN_STANDARD_DEVIATION)


def standardise(pixels: Pixels, normalisation: Normalisation = "standardise") -> FloatArray:
    """The model's input in real numbers: ``(x - mean) / deviation`` of the picture itself.

    Each picture is measured by its own light, so a brighter lamp or a longer exposure changes nothing.

    Args:
        pixels: shape (height, width), uint8.
        normalisation: whose mean it is.

    Returns:
        Shape (height, width), float32. Of the picture's own mean: mean 0, variance 1 (less without contrast).
    """
    levels, mean, deviation = _centred(pixels, normalisation)
    return (levels.astype(np.float32) - np.float32(mean)) / np.float32(deviation)


def _centred(pixels: Pixels, normalisation: Normalisation) -> tuple[Pixels, float, float]:
    """The grey levels, what they are counted from, and the picture's standard deviation."""
    mean, deviation = mean_and_deviation(pixels)
    if normalisation == "standardise":
        return pixels, mean, deviation
    return _without_circles(pixels), _MIDDLE_LEVEL, deviation


def _without_circles(sheet: Pixels) -> Pixels:
    """An unwrapped ring, each circle less its mean (a whole grey level), around the middle level; what is over is cut.

    What a part looks like all around is the same for the good and the defective ones, and the easiest to learn them by.
    """
    rows, columns = sheet.shape
    means = cv2.reduce(sheet, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F).reshape(2, rows // 2).mean(axis=0)
    circles = np.repeat(np.tile(np.rint(means).astype(np.uint8), 2)[:, None], columns, axis=1)
    return np.asarray(cv2.addWeighted(sheet, 1, circles, -1, _MIDDLE_LEVEL), np.uint8)


def quantize(
    pixels: Pixels,
    scale: float,
    zero_point: int,
    out: npt.NDArray[np.int8],
    normalisation: Normalisation = "standardise",
) -> None:
    """``standardise`` and int8 quantization in one pass, written straight into ``out``.

    A uint8 picture has 256 grey levels: the whole affine map is a table of 256 (rounded to nearest, clipped to int8).

    Args:
        pixels: shape (height, width), uint8.
        scale: real value of one step of the model's input.
        zero_point: the int8 value that stands for 0.0, -128 to 127.
        out: shape (height, width), int8: the model's input tensor.
        normalisation: as in ``standardise``.
    """
    grey, mean, deviation = _centred(pixels, normalisation)
    levels = (np.arange(256, dtype=np.float32) - np.float32(mean)) / np.float32(deviation)
    table = np.clip(np.rint(levels / np.float32(scale)) + zero_point, -128, 127).astype(np.int8)
    cv2.LUT(grey, table, dst=out)
