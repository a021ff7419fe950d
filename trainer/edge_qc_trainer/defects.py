"""Draws defects into pictures of parts: holes, scratches and clusters of pores whose place is then known."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from edge_qc.domain import Pixels

Place = Callable[[np.random.Generator], npt.NDArray[np.float64]]

_SIDE = 300  # the sizes below are in pixels of a picture of this side
_SHADOWS = 0.75  # share of the defects that are dark; the others are bright metal


def draw_defects(pixels: Pixels, rng: np.random.Generator, place: Place) -> tuple[Pixels, Pixels]:
    """A picture with one or two drawn defects, and where they lie.

    Args:
        pixels: shape (size, size), uint8.
        rng: source of chance.
        place: gives a place on the part, (x, y) in pixels.

    Returns:
        Shape (size, size), uint8, each: the picture, and 255 where a defect lies.
    """
    drawn, where = pixels.astype(np.float32), np.zeros_like(pixels)
    scale = pixels.shape[0] / _SIDE
    for _ in range(rng.integers(1, 3)):
        mask = np.zeros_like(pixels)
        (_hole, _pores, _hole, _pores, _hole, _scratch)[rng.integers(6)](mask, rng, place, scale)
        cover = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 1.3)).astype(np.float32)
        level = rng.uniform(10, 80) if rng.random() < _SHADOWS else rng.uniform(225, 255)
        drawn += (np.float32(level) - drawn) * cover * np.float32(rng.uniform(0.5, 1) / 255)
        where |= mask
    return np.clip(np.rint(drawn), 0, 255).astype(np.uint8), where


def on_a_part(size: int) -> Place:
    """Places on a part that fills the middle of a picture of this side."""

    def place(rng: np.random.Generator) -> npt.NDArray[np.float64]:
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.47) * size
        return size / 2 + radius * np.array([np.cos(angle), np.sin(angle)])

    return place


def on_a_ring(size: int) -> Place:
    """Places on an unwrapped ring (``edge_qc.unwrap``) of this side, from the hub to the rim."""

    def place(rng: np.random.Generator) -> npt.NDArray[np.float64]:
        row = rng.uniform(0.16, 0.92) * (size // 2) + size // 2 * rng.integers(2)
        return np.array([rng.uniform(0, size), row])

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
