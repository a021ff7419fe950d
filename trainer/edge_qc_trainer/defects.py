"""Draws defects into pictures of parts: holes, scratches and clusters of pores whose place is then known."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from edge_qc.domain import Pixels

Place = Callable[[np.random.Generator], npt.NDArray[np.float64]]

_SIDE = 300  # the sizes below are in pixels of a picture of this side
_SHADOWS = 0.75  # share of the defects that are dark; the others are bright metal
_SEEN, _LEAST, _TRIES = 15, 4, 8  # grey levels by which what is seen differs; so many pixels of it; times it is drawn

_FROM_HUB_TO_RIM = 0.16, 0.92  # of a ring's height: where defects are drawn
_AT_EDGES = 0.5  # share of a ring's defects that lie at an edge along it
_OFF_THE_EDGE = 1.5  # and how far off: standard deviation


def draw_defects(pixels: Pixels, rng: np.random.Generator, place: Place) -> tuple[Pixels, Pixels]:
    """A picture with one or two drawn defects, and where they lie.

    What nobody could see, dark on dark, is drawn anew somewhere else: called defective, a picture that looks good would
    teach that good ones are defective (one in eleven of those drawn on castings).

    Args:
        pixels: shape (size, size), uint8.
        rng: source of chance.
        place: gives a place on the part, (x, y) in pixels.

    Returns:
        Shape (size, size), uint8, each: the picture, and 255 where a defect lies. If none can be seen anywhere, the
        picture as it was, and 0 everywhere.
    """
    drawn, where = pixels, np.zeros_like(pixels)
    for _ in range(rng.integers(1, 3)):
        drawn, mask = _draw_one(drawn, rng, place)
        where |= mask
    return drawn, where


def _draw_one(pixels: Pixels, rng: np.random.Generator, place: Place) -> tuple[Pixels, Pixels]:
    """The picture with one defect more, and 255 where that lies."""
    scale = pixels.shape[0] / _SIDE
    for _ in range(_TRIES):
        mask = np.zeros_like(pixels)
        (_hole, _pores, _hole, _pores, _hole, _scratch)[rng.integers(6)](mask, rng, place, scale)
        cover = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 1.3)).astype(np.float32)
        level = rng.uniform(10, 80) if rng.random() < _SHADOWS else rng.uniform(225, 255)
        change = (np.float32(level) - pixels) * cover * np.float32(rng.uniform(0.5, 1) / 255)
        if np.count_nonzero(np.abs(change) >= _SEEN) >= _LEAST * scale**2:
            return np.clip(np.rint(pixels + change), 0, 255).astype(np.uint8), mask
    return pixels, np.zeros_like(pixels)


def on_a_part(size: int) -> Place:
    """Places on a part that fills the middle of a picture of this side."""

    def place(rng: np.random.Generator) -> npt.NDArray[np.float64]:
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.47) * size
        return size / 2 + radius * np.array([np.cos(angle), np.sin(angle)])

    return place


def on_a_ring(sheet: Pixels) -> Place:
    """Places on an unwrapped ring (``edge_qc.unwrap``), half of them at an edge along it: where parts chip.

    Args:
        sheet: shape (size, size), uint8: the ring; from the hub to the rim, in each of its two halves.
    """
    size, height = sheet.shape[0], sheet.shape[0] // 2
    first, last = (round(share * height) for share in _FROM_HUB_TO_RIM)

    def place(rng: np.random.Generator) -> npt.NDArray[np.float64]:
        column, top = int(rng.integers(size)), height * int(rng.integers(2)) + first
        if rng.random() < _AT_EDGES:
            levels = sheet[top - 1 : top + last - first + 1, column].astype(np.float64)
            steps = np.abs(levels[2:] - levels[:-2]) + 1e-3
            row = rng.choice(last - first, p=steps / steps.sum()) + rng.normal(0, _OFF_THE_EDGE * size / _SIDE)
        else:
            row = rng.uniform(0, last - first)
        return np.array([column, top + row])

    return place


def _hole(mask: Pixels, rng: np.random.Generator, place: Place, scale: float) -> None:
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    radii = rng.uniform(1.5, 7) * rng.uniform(0.6, 1.3, 8) * scale
    points = place(rng) + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255)


def _scratch(mask: Pixels, rng: np.random.Generator, place: Place, scale: float) -> None:
    angle, length = rng.uniform(0, np.pi), rng.uniform(12, 60) * scale
    along = np.linspace(-length / 2, length / 2, 6)[:, None] * np.array([np.cos(angle), np.sin(angle)])
    points = np.rint(place(rng) + along + rng.normal(0, 1.5 * scale, (6, 2))).astype(np.int32)
    cv2.polylines(mask, [points], isClosed=False, color=255, thickness=int(rng.integers(1, 3)))


def _pores(mask: Pixels, rng: np.random.Generator, place: Place, scale: float) -> None:
    middle = place(rng)
    for _ in range(rng.integers(3, 9)):
        x, y = np.rint(middle + rng.normal(0, 9 * scale, 2)).astype(int)
        cv2.circle(mask, (int(x), int(y)), int(rng.integers(1, 3)), 255, -1)
