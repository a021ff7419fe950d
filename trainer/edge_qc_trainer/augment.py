"""Varies training pictures as the line varies them: any turn, mirror, place, light, lens and noise."""

import cv2
import numpy as np

from edge_qc.domain import Pixels
from edge_qc_trainer.config import Augment


def augment(pixels: Pixels, rng: np.random.Generator, how: Augment) -> Pixels:
    """A variation of a picture.

    Args:
        pixels: shape (size, size), uint8.
        rng: source of chance.
        how: what varies, and how far.

    Returns:
        Shape (size, size), uint8, contiguous.
    """
    moved = _turn_by_quarters(pixels, rng) if rng.random() < how.plain_share else _move(pixels, rng, how)
    if rng.random() < how.light_share:
        moved = _relight(moved, rng, how)
    if rng.random() < how.lamp_share:
        moved = _add_lamp(moved, rng, how)
    if rng.random() < how.blur_share:
        moved = np.asarray(cv2.GaussianBlur(moved, (0, 0), rng.uniform(0.4, how.blur_px)), np.uint8)
    if rng.random() < how.noise_share:
        moved = _clip(moved + rng.standard_normal(moved.shape, np.float32) * np.float32(rng.uniform(1, how.noise)))
    if rng.random() < how.jpeg_share:
        moved = _compress(moved, rng)
    return moved


def _turn_by_quarters(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    turned = np.rot90(pixels, int(rng.integers(4)))
    return np.ascontiguousarray(turned[:, ::-1] if rng.random() < 0.5 else turned)


def _move(pixels: Pixels, rng: np.random.Generator, how: Augment) -> Pixels:
    size = pixels.shape[0]
    turn, zoom = rng.uniform(0, 2 * np.pi), rng.uniform(how.zoom_min, how.zoom_max)
    axes = zoom * rng.uniform(1 - how.stretch, 1 + how.stretch, 2) * (rng.choice((-1, 1)), 1)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag(axes)
    centre = np.full(2, (size - 1) / 2)
    shift = centre + rng.uniform(-how.shift, how.shift, 2) * size - matrix @ centre
    method = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
    affine = np.hstack([matrix, shift[:, None]])
    moved = cv2.warpAffine(pixels, affine, (size, size), flags=method, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def _relight(pixels: Pixels, rng: np.random.Generator, how: Augment) -> Pixels:
    levels = (np.arange(256) / 255) ** np.exp(rng.uniform(-how.gamma, how.gamma)) * 255
    gain, offset = rng.uniform(1 - how.gain, 1 + how.gain), rng.uniform(-how.offset, how.offset)
    return np.asarray(cv2.LUT(pixels, _clip((levels - 128) * gain + 128 + offset)), np.uint8)


def _add_lamp(pixels: Pixels, rng: np.random.Generator, how: Augment) -> Pixels:
    side, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, how.lamp)
    ramp = np.linspace(-0.5, 0.5, pixels.shape[0], dtype=np.float32)
    light = 1 + strength * (ramp[None, :] * np.cos(side) + ramp[:, None] * np.sin(side))
    return _clip(pixels * light)


def _compress(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 96))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def _clip(levels: np.ndarray) -> Pixels:
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def draw_defects(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """A good part's picture with one or two drawn defects: a hole, a scratch, a burr or a cluster of pores.

    Args:
        pixels: shape (size, size), uint8, the part in the middle.
        rng: source of chance.

    Returns:
        Shape (size, size), uint8.
    """
    drawn = pixels.astype(np.float64)
    scale = pixels.shape[0] / 300
    for _ in range(rng.integers(1, 3)):
        mask = np.zeros_like(pixels)
        (_hole, _scratch, _burr, _pores)[rng.integers(4)](mask, rng, scale)
        cover = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 1.1)) * (rng.uniform(0.55, 1) / 255)
        # Most defects are shadows; some are bright metal.
        level = rng.uniform(10, 80) if rng.random() < 0.75 else rng.uniform(225, 255)
        drawn = drawn * (1 - cover) + level * cover
    return _clip(drawn)


def _place(rng: np.random.Generator, scale: float, near: float = 60, far: float = 140) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return (150 + rng.uniform(near, far) * np.array([np.cos(angle), np.sin(angle)])) * scale


def _hole(mask: Pixels, rng: np.random.Generator, scale: float) -> None:
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    radii = rng.uniform(1.5, 8) * rng.uniform(0.6, 1.3, 8) * scale
    points = _place(rng, scale) + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255)


def _scratch(mask: Pixels, rng: np.random.Generator, scale: float) -> None:
    angle, length = rng.uniform(0, np.pi), rng.uniform(12, 60) * scale
    along = np.linspace(-length / 2, length / 2, 6)[:, None] * np.array([np.cos(angle), np.sin(angle)])
    points = _place(rng, scale) + along + rng.normal(0, 1.5 * scale, (6, 2))
    cv2.polylines(
        mask, [np.rint(points).astype(np.int32)], isClosed=False, color=255, thickness=int(rng.integers(1, 3))
    )


def _burr(mask: Pixels, rng: np.random.Generator, scale: float) -> None:
    start, span = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.6)
    angles = np.linspace(start, start + span, int(4 + span * 20))
    radii = rng.uniform(118, 142) + rng.normal(0, 3, len(angles))
    points = (150 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)) * scale
    cv2.polylines(
        mask, [np.rint(points).astype(np.int32)], isClosed=False, color=255, thickness=int(rng.integers(2, 6))
    )


def _pores(mask: Pixels, rng: np.random.Generator, scale: float) -> None:
    middle = _place(rng, scale)
    for _ in range(rng.integers(3, 9)):
        x, y = np.rint(middle + rng.normal(0, 9 * scale, 2)).astype(int)
        cv2.circle(mask, (int(x), int(y)), int(rng.integers(1, 3)), 255, -1)
