"""A picture in a few numbers, for the gate and for drift: cheap, and blind to what the line may vary.

All is measured on the picture as the model gets it. Light drops out, because grey levels are taken relative to the
picture's own mean and deviation; so does any turn about the middle, because places count by their distance from it
alone; and so does what a turned or shifted picture leaves in the corners, because they are not looked at.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_qc.domain import FloatArray, Pixels

Vector = npt.NDArray[np.float64]

RINGS = 7  # around the middle
LAGS = (1, 2, 4, 8)  # pixels between the neighbours whose difference tells how much detail there is at that scale
SHARES = (0.05, 0.5, 0.95)  # of the grey levels of the thumbnail
LENGTH = 2 + len(SHARES) + len(LAGS) + 2 * RINGS + 1

_SIDE = 24  # of the thumbnail, pixels
_REACH = 0.9  # of half the thumbnail's side: what lies farther out is not looked at
_MARGIN = 0.15  # of each side that is left out where detail is measured: the square within the disc
_LEAST_DEVIATION = 0.5  # grey levels: a picture without contrast has no features, but must divide by something


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What was measured on a picture.

    Attributes:
        level: mean, grey levels.
        contrast: standard deviation, grey levels.
        clipped: share of the pixels at 0 or 255.
        sharpness: mean difference of neighbouring pixels, in standard deviations of the picture.
        offset: how far the middle of its edges lies from the middle of the picture, as a share of half its side.
        profile: shape (7,): mean of each ring from the middle out, in standard deviations.
        vector: shape (24,), float64: all that is compared with the training pictures.
    """

    level: float
    contrast: float
    clipped: float
    sharpness: float
    offset: float
    profile: Vector
    vector: Vector


def _level_and_contrast(pixels: Pixels) -> tuple[float, float]:
    """Mean and standard deviation of a picture, grey levels."""
    mean, deviation = cv2.meanStdDev(pixels)
    return float(mean[0, 0]), float(deviation[0, 0])


def _clipped_share(pixels: Pixels) -> float:
    """Share of the pixels at 0 or 255, which say nothing of what they show."""
    return 1 - cv2.countNonZero(cv2.inRange(pixels, 1, 254)) / pixels.size


def measure(pixels: Pixels) -> Features:
    """Measures a picture, in some 0.1 ms.

    Args:
        pixels: shape (height, width), uint8, as the model gets it; 32 pixels a side at least.
    """
    level, contrast = _level_and_contrast(pixels)
    detail, deviation = _detail(pixels)
    thumbnail = _thumbnail(pixels)
    seen = thumbnail.ravel()[_SEEN]
    means, squares = _RING_MEANS @ seen, _RING_MEANS @ (seen * seen)
    mean = float(_RING_SHARES @ means)
    coarse = max(math.sqrt(max(float(_RING_SHARES @ squares) - mean * mean, 0)), _LEAST_DEVIATION)
    seen.sort()
    offset, spread = _middle(thumbnail)
    vector = np.empty(LENGTH)
    vector[_SHAPE] = math.log(coarse / deviation), spread
    vector[_QUANTILES] = (seen[_ORDER] - mean) / coarse
    vector[_DETAIL] = np.log(detail + 0.01)
    vector[_PROFILE] = profile = (means - mean) / coarse
    vector[_AROUND] = np.sqrt(np.maximum(squares - means * means, 0)) / coarse
    vector[-1] = offset
    return Features(level, contrast, _clipped_share(pixels), float(detail[0]), offset, profile, vector)


def _thumbnail(pixels: Pixels) -> FloatArray:
    """Shape (24, 24), float32: means of areas, of whole factors first, which are quick."""
    rows, columns = (max(1, side // (2 * _SIDE)) for side in pixels.shape)
    coarse = cv2.resize(pixels, (pixels.shape[1] // columns, pixels.shape[0] // rows), interpolation=cv2.INTER_AREA)
    return cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def _detail(pixels: Pixels) -> tuple[Vector, float]:
    """Mean difference of pixels so many apart, in deviations of the square within the disc; and that deviation."""
    rows, columns = (slice(round(side * _MARGIN), round(side * (1 - _MARGIN))) for side in pixels.shape)
    inner = pixels[rows, columns]
    deviation = max(_level_and_contrast(inner)[1], _LEAST_DEVIATION)
    differences = [
        _mean_difference(inner[lag:], inner[:-lag]) + _mean_difference(inner[:, lag:], inner[:, :-lag]) for lag in LAGS
    ]
    return np.array(differences) / (2 * deviation), deviation


def _mean_difference(pixels: Pixels, others: Pixels) -> float:
    return cv2.norm(pixels, others, cv2.NORM_L1) / pixels.size


def _middle(thumbnail: FloatArray) -> tuple[float, float]:
    """How far the middle of the edges lies from the picture's middle, and how far the edges spread around it."""
    across = cv2.absdiff(thumbnail[1:-1, 2:], thumbnail[1:-1, :-2])
    down = cv2.absdiff(thumbnail[2:, 1:-1], thumbnail[:-2, 1:-1])
    total, x, y, square = (_MOMENTS @ cv2.add(across, down).ravel()).tolist()
    total += 1e-3
    offset = math.hypot(x, y) / total
    return offset, math.sqrt(max(square / total - offset * offset, 0))


_AXIS = ((np.arange(_SIDE) - (_SIDE - 1) / 2) / (_SIDE / 2)).astype(np.float32)
_RADIUS = np.hypot(_AXIS[:, None], _AXIS[None, :])
_INSIDE = _RADIUS <= _REACH
_SEEN = np.flatnonzero(_INSIDE)
_RING = np.minimum((_RADIUS.ravel()[_SEEN] / _REACH * RINGS).astype(int), RINGS - 1)
_RING_SHARES = np.bincount(_RING) / len(_RING)
_RING_MEANS = np.eye(RINGS)[:, _RING] / np.bincount(_RING)[:, None]
_ORDER = np.array([int(len(_SEEN) * share) for share in SHARES])
_X, _Y = (grid[1:-1, 1:-1].ravel() for grid in np.meshgrid(_AXIS, _AXIS))
# Of the edges within the disc: their sum, that of x, of y, and of the squared distance from the middle.
_MOMENTS = (np.stack([np.ones_like(_X), _X, _Y, _X * _X + _Y * _Y]) * _INSIDE[1:-1, 1:-1].ravel()).astype(np.float64)
# Where each kind of feature stands in the vector.
_SHAPE, _QUANTILES = slice(0, 2), slice(2, 2 + len(SHARES))
_DETAIL = slice(_QUANTILES.stop, _QUANTILES.stop + len(LAGS))
_PROFILE = slice(_DETAIL.stop, _DETAIL.stop + RINGS)
_AROUND = slice(_PROFILE.stop, _PROFILE.stop + RINGS)
