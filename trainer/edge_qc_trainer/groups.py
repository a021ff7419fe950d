"""Which pictures show the same part: turned, mirrored, shifted or zoomed copies, and repeated photographs.

A set that is split by picture measures memory where it holds copies: a copy of the test picture was trained on. Each
picture's ring around the bore is unwrapped to polar coordinates, where a turn is a shift; the rows' spectra are
correlated with every other picture's, in both mirror senses, and whatever correlates joins a group.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from edge_qc.domain import FloatArray, Pixels
from edge_qc_trainer.dataset import IntArray

ANGLES = 180
RADII = np.linspace(0.3, 1.62, 12)  # of the bore's radius: from within it to the ring's outer edge
LOWEST, HIGHEST = 2, 40  # cycles a turn: below is light from a side, above is noise
TURNS = 4 * HIGHEST  # that are compared: with twice HIGHEST, the bare minimum, a copy between two of them was missed
_SIDE = 300  # the bounds on areas below are in pixels of a picture of this side
_BLOCK = 64  # rows of the correlation at a time: 8,000 pictures take some 600 MB

Ellipse = tuple[tuple[float, float], tuple[float, float], float]


def group_near_copies(pixels: Pixels, hashes: Sequence[str], threshold: float, among: IntArray) -> IntArray:
    """The group of each picture.

    Args:
        pixels: shape (pictures, height, width), uint8.
        hashes: of each file; equal ones share a group whatever they show.
        threshold: correlation from which two pictures show the same part, 0 to 1.
        among: places of the pictures to compare; the others are of different parts.

    Returns:
        Shape (pictures,), int64: numbers of the groups, from 0.
    """
    groups = group_identical(hashes)
    if not len(among):
        return groups
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        spectra = _spectra(np.stack(list(pool.map(unwrap, (pixels[place] for place in among)))))
    for start in range(0, len(among), _BLOCK):
        rows, columns = np.nonzero(_correlate(spectra, start) >= threshold)
        groups = _join(groups, among[rows + start], among[columns + start])
    return groups


def group_identical(hashes: Sequence[str]) -> IntArray:
    """Shape (pictures,), int64: one group for each different file."""
    return np.unique(np.array(hashes), return_inverse=True)[1].astype(np.int64)


def unwrap(pixels: Pixels) -> FloatArray:
    """The ring around the bore in polar coordinates.

    Args:
        pixels: shape (height, width), uint8.

    Returns:
        Shape (12, 180), float32: radii by angles, each row of mean 0 and deviation about 1.
    """
    square = np.asarray(cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    (x, y), (width, height), degrees = find_bore(square)
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    # Symmetric, so it makes the ellipse a circle without a turn of its own.
    shape = rotation @ np.diag([width / 2, height / 2]) @ rotation.T
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    circle = np.stack([np.cos(angles), np.sin(angles)])[:, None, :] * RADII[None, :, None]
    places = (np.einsum("ij,jra->ira", shape, circle) + np.array([x, y])[:, None, None]).astype(np.float32)
    smooth = cv2.GaussianBlur(square, (0, 0), 1.0)
    ring = cv2.remap(smooth, places[0], places[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rows = ring.astype(np.float32)
    rows -= rows.mean(1, keepdims=True)
    return np.asarray(rows / (rows.std(1, keepdims=True) + 4), np.float32)


def find_bore(pixels: Pixels) -> Ellipse:
    """The dark bore near the middle as (centre, axes, degrees) in pixels; a circle in the middle where none is found.

    Args:
        pixels: shape (300, 300), uint8.
    """
    middle = _SIDE / 2
    nothing: Ellipse = ((middle, middle), (middle, middle), 0.0)
    _, dark = cv2.threshold(cv2.GaussianBlur(pixels, (0, 0), 2), 70, 255, cv2.THRESH_BINARY_INV)
    _, regions, stats, centres = cv2.connectedComponentsWithStats(dark)
    areas = stats[1:, cv2.CC_STAT_AREA].astype(float)
    if not (areas >= 1500).any():
        return nothing
    distances = np.hypot(*(centres[1:] - middle).T)
    best = 1 + int(np.argmax(np.where(areas >= 1500, areas / (1 + (distances / 40) ** 2), 0)))
    outlines, _ = cv2.findContours((regions == best).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(max(outlines, key=cv2.contourArea))
    if len(hull) <= 5:
        return nothing
    (x, y), (width, height), degrees = cv2.fitEllipse(hull)
    return (x, y), (width, height), degrees


def _spectra(rings: FloatArray) -> npt.NDArray[np.complex64]:
    """Shape (40, pictures, 12), complex64: weighted and of unit length a picture, so that products correlate."""
    spectra = np.fft.rfft(rings, axis=2)[:, :, :HIGHEST].astype(np.complex64)
    cycles = np.arange(HIGHEST)
    spectra *= np.where(cycles >= LOWEST, np.sqrt(cycles), 0).astype(np.float32)
    lengths = np.sqrt(2 * (np.abs(spectra) ** 2).sum((1, 2), keepdims=True))
    return np.ascontiguousarray((spectra / np.maximum(lengths, 1e-9)).transpose(2, 0, 1))


def _correlate(spectra: npt.NDArray[np.complex64], start: int) -> FloatArray:
    """Highest circular correlation, over all turns and both mirror senses, of a block with all pictures from it on."""
    block, others = spectra[:, start : start + _BLOCK], np.conj(spectra[:, start:]).transpose(0, 2, 1)
    best = np.zeros((block.shape[1], others.shape[2]), np.float32)
    for sense in (block, np.conj(block)):
        product = np.ascontiguousarray(np.matmul(sense, others).transpose(1, 2, 0))
        correlation = fft.irfft(product, n=TURNS, axis=2, workers=os.cpu_count()).max(2) * TURNS
        np.maximum(best, correlation, out=best)
    return best


def _join(groups: IntArray, rows: IntArray, columns: IntArray) -> IntArray:
    count = int(groups.max()) + 1
    edges = (np.ones(len(rows), bool), (groups[rows], groups[columns]))
    _, joined = connected_components(coo_matrix(edges, shape=(count, count)), directed=False)
    return np.asarray(joined[groups], np.int64)
