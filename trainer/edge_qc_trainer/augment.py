"""Varies training pictures as the line varies them: any turn, mirror, place, light, lens and noise."""

import cv2
import numpy as np

from edge_qc.domain import Pixels
from edge_qc_trainer.config import Augment

# Of standard deviation 1: drawing a picture's noise anew takes longer than all its other variations together.
_NOISE = np.random.default_rng(0).standard_normal((1024, 1024), np.float32)


def augment(pixels: Pixels, rng: np.random.Generator, how: Augment) -> Pixels:
    """A variation of a picture.

    Args:
        pixels: shape (size, size), uint8.
        rng: source of chance.
        how: what varies, and how far.

    Returns:
        Shape (size, size), uint8, contiguous.
    """
    return relight(move(pixels, rng, how), rng, how)


def move(pixels: Pixels, rng: np.random.Generator, how: Augment) -> Pixels:
    """The picture turned, mirrored, shifted and zoomed: what a part's place and pose vary."""
    return _turn_by_quarters(pixels, rng) if rng.random() < how.plain_share else _move(pixels, rng, how)


def relight(pixels: Pixels, rng: np.random.Generator, how: Augment) -> Pixels:
    """The picture in other light, through another lens: what leaves everything in its place."""
    lit = pixels
    if rng.random() < how.light_share:
        lit = _relight(lit, rng, how)
    if rng.random() < how.lamp_share:
        lit = _add_lamp(lit, rng, how)
    if rng.random() < how.blur_share:
        lit = np.asarray(cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.4, how.blur_px)), np.uint8)
    if rng.random() < how.noise_share:
        lit = _add_noise(lit, rng, how)
    if rng.random() < how.jpeg_share:
        lit = _compress(lit, rng)
    return lit


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
    ramp = np.linspace(-0.5 * strength, 0.5 * strength, pixels.shape[0], dtype=np.float32)
    light = (1 + ramp[None, :] * np.float32(np.cos(side))) + ramp[:, None] * np.float32(np.sin(side))
    return np.asarray(cv2.multiply(pixels, light, dtype=cv2.CV_8U), np.uint8)


def _add_noise(pixels: Pixels, rng: np.random.Generator, how: Augment) -> Pixels:
    height, width = pixels.shape
    top = rng.integers(_NOISE.shape[0] - height, endpoint=True)
    left = rng.integers(_NOISE.shape[1] - width, endpoint=True)
    noise = _NOISE[top : top + height, left : left + width] * np.float32(rng.uniform(1, how.noise))
    return np.asarray(cv2.add(pixels, noise, dtype=cv2.CV_8U), np.uint8)


def _compress(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 96))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def _clip(levels: np.ndarray) -> Pixels:
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)
