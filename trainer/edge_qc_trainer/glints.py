"""Draws what a lamp makes of a turned face: fans of fine lines from the hub to the rim, which are no defect."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from edge_qc.domain import Pixels

_SIDE = 300  # the sizes below are in pixels of a ring of this side
_LINES = 2, 7  # of a fan
_STRENGTH = 0.02, 0.15  # of a line: how much brighter or darker, as a share
_WIDTH = 0.8, 6.0  # of a line: standard deviation
_SPREAD = 8.0  # of a fan's lines around its middle: standard deviation
_FROM, _TO = (-0.1, 0.55), (0.85, 1.1)  # of a fan, along the radius: where it begins and where it ends
_FADE = 1.0, 8.0  # of its two ends: rows
_LEAN, _OPEN = 0.08, 0.5  # of a fan along the radius: columns a row, and share by which it opens


def draw_glints(sheet: Pixels, rng: np.random.Generator) -> Pixels:
    """An unwrapped ring (``edge_qc.unwrap``) with a fan of lines along the radius.

    The grooves of a turned face lie along circles and reflect a lamp across them: the lines stand still while the part
    turns. A defective part shows them as a good one does, so they must not tell the two apart.

    Args:
        sheet: shape (size, size), uint8; its two halves are the two halves of the turn, radii from the top down.
        rng: source of chance.

    Returns:
        Shape (size, size), uint8.
    """
    size = sheet.shape[0]
    scale, height = size / _SIDE, size // 2
    middle, along = rng.uniform(0, size), np.arange(height)[:, None] - height / 2  # rows off the middle radius
    lines = _lines(size, middle, scale, rng)
    opened = 1 + rng.uniform(0, _OPEN) * along / height
    columns = middle + (np.arange(size) - middle - rng.normal(0, _LEAN) * along) / opened
    fan = lines[np.clip(np.rint(columns), 0, size - 1).astype(np.intp)] * _ends(height, scale, rng)
    drawn, top = sheet.copy(), height * int(rng.integers(2))
    drawn[top : top + height] = cv2.multiply(sheet[top : top + height], 1 + fan, dtype=cv2.CV_8U)
    return drawn


def _lines(size: int, middle: float, scale: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """How much brighter (above 0) or darker each column is, as a share."""
    columns, lines = np.arange(size), np.zeros(size)
    for _ in range(rng.integers(_LINES[0], _LINES[1], endpoint=True)):
        at = rng.normal(middle, _SPREAD * scale)
        width = np.exp(rng.uniform(*np.log(_WIDTH))) * scale
        lines += rng.choice((-1, 1)) * rng.uniform(*_STRENGTH) * np.exp(-(((columns - at) / width) ** 2) / 2)
    return lines.astype(np.float32)


def _ends(height: int, scale: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """How much of the fan is to be seen in each row, 0 to 1; shape (height, 1)."""
    rows = np.arange(height)[:, None]
    start, end = rng.uniform(*_FROM) * height, rng.uniform(*_TO) * height
    fade_in, fade_out = rng.uniform(*_FADE, 2) * scale
    return np.asarray(expit((rows - start) / fade_in) * expit((end - rows) / fade_out), np.float32)
