"""A picture in a few numbers, for the gate and for drift: cheap, and blind to what the line may vary.

All is measured on the picture as the model gets it. Light drops out, because grey levels are taken relative to the
picture's own mean and deviation; so does any turn about the middle, because places count by their distance from it
alone; and so does what a turned or shifted picture leaves in the corners, because they are not looked at.
"""

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
    coarse = max(float(seen.std()), _LEAST_DEVIATION)
    seen = (seen - seen.mean()) / np.float32(coarse)
    profile = _RING_MEANS @ seen
    around = np.sqrt(np.maximum(_RING_MEANS @ (seen * seen) - profile * profile, 0))
    offset, spread = _middle(thumbnail)
    vector = np.concatenate(
        [
            [np.log(coarse / deviation), spread],
            np.sort(seen)[_ORDER],
            np.log(detail + 0.01),
            profile,
            around,
            [offset],
        ]
    )
    clipped, profile = _clipped_share(pixels), profile.astype(np.float64)
    return Features(level, contrast, clipped, float(detail[0]), offset, profile, vector)


def _thumbnail(pixels: Pixels) -> FloatArray:
    """Shape (24, 24), float32: means of areas, of whole factors first, which are quick."""
    rows, columns = (max(1, side // (2 * _SIDE)) for side in pixels.shape)
    coarse = cv2.resize(pixels, (pixels.shape[1] // columns, pixels.shape[0] // rows), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(coarse, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _detail(pixels: Pixels) -> tuple[Vector, float]:
    """Mean difference of pixels so many apart, in deviations of the square within the disc; and that deviation."""
    rows, columns = (slice(round(side * _MARGIN), round(side * (1 - _MARGIN))) for side in pixels.shape)
    inner = pixels[rows, columns]
    deviation = max(_level_and_contrast(inner)[1], _LEAST_DEVIATION)
    differences = [
        cv2.norm(inner[lag:], inner[:-lag], cv2.NORM_L1) / inner[lag:].size
        + cv2.norm(inner[:, lag:], inner[:, :-lag], cv2.NORM_L1) / inner[:, lag:].size
        for lag in LAGS
    ]
    return np.array(differences) / (2 * deviation), deviation


def _middle(thumbnail: FloatArray) -> tuple[float, float]:
    """How far the middle of the edges lies from the picture's middle, and how far the edges spread around it."""
    across = np.abs(thumbnail[1:-1, 2:] - thumbnail[1:-1, :-2])
    down = np.abs(thumbnail[2:, 1:-1] - thumbnail[:-2, 1:-1])
    edges = (across + down).ravel()[_SEEN_WITHIN]
    total = float(edges.sum()) + 1e-3
    x, y = float(edges @ _X) / total, float(edges @ _Y) / total
    return float(np.hypot(x, y)), float(np.sqrt(max(edges @ (_X * _X + _Y * _Y) / total - x * x - y * y, 0)))


_AXIS = ((np.arange(_SIDE) - (_SIDE - 1) / 2) / (_SIDE / 2)).astype(np.float32)
_RADIUS = np.hypot(_AXIS[:, None], _AXIS[None, :])
_INSIDE = _RADIUS <= _REACH
_SEEN = np.flatnonzero(_INSIDE)
_RING = np.minimum((_RADIUS.ravel()[_SEEN] / _REACH * RINGS).astype(int), RINGS - 1)
_RING_MEANS = (np.eye(RINGS)[:, _RING] / np.bincount(_RING)[:, None]).astype(np.float32)
_ORDER = [int(len(_SEEN) * share) for share in SHARES]
_SEEN_WITHIN = np.flatnonzero(_INSIDE[1:-1, 1:-1])
_X, _Y = (np.ascontiguousarray(grid[1:-1, 1:-1].ravel()[_SEEN_WITHIN]) for grid in np.meshgrid(_AXIS, _AXIS))
