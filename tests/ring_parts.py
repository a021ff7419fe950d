"""Drawn parts: a bore, a ring, and marks that tell one part from another."""

from pathlib import Path

import cv2
import numpy as np

from edge_qc.domain import Pixels


def draw_ring(seed: int, side: int = 300) -> Pixels:
    """A part with a dark bore and marks on its ring that no other seed has: (side, side) uint8."""
    rng = np.random.default_rng(seed)
    pixels = np.full((300, 300), 150, np.uint8)
    cv2.circle(pixels, (150, 150), 135, 190, -1)
    for _ in range(25):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(75, 120)
        centre = (int(150 + radius * np.cos(angle)), int(150 + radius * np.sin(angle)))
        cv2.circle(pixels, centre, int(rng.integers(3, 12)), int(rng.integers(100, 256)), -1)
    cv2.circle(pixels, (150, 150), 70, 20, -1)
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def write_rings(folder: Path, classes: tuple[str, str], parts: int, side: int, hole: tuple[int, int, int, int]) -> None:
    """So many rings: half of the first class, half of the second with a round spot (x, y, radius, grey level)."""
    x, y, radius, level = hole
    for seed in range(parts):
        pixels = draw_ring(seed, side)
        if seed % 2:
            cv2.circle(pixels, (x, y), radius, level, -1)
        write(folder / classes[seed % 2] / f"{seed:03d}.png", pixels)


def turned(pixels: Pixels, degrees: float, *, mirrored: bool = False) -> Pixels:
    """A copy of a part's picture, as augmentation makes it."""
    side = pixels.shape[0]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, 1.0)
    copy = cv2.warpAffine(pixels, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(copy[:, ::-1] if mirrored else copy)


def write(path: Path, pixels: Pixels) -> None:
    """Writes a picture, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
