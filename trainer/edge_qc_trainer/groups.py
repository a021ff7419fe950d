"""Which pictures show the same part: turned, mirrored, shifted or zoomed copies, and repeated photographs.

A set that is split by picture measures memory where it holds copies: a copy of the test picture was trained on. Each
picture's ring around the bore is unwrapped to polar coordinates, where a turn is a shift; the rows' spectra are
correlated with every other picture's, in both mirror senses, and whatever correlates joins a group. Neither the search
for the bore, which is the device's own, nor the rows know how bright the picture is.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits

from edge_qc.domain import FloatArray, Pixels
from edge_qc.unwrap import Opening, find_opening
from edge_qc_trainer.dataset import IntArray

ANGLES = 180
RADII = np.linspace(0.3, 1.62, 12)  # of the bore's radius: from within it to the ring's outer edge
LOWEST, HIGHEST = 2, 40  # cycles a turn: below is light from a side, above is noise
TURNS = 4 * HIGHEST  # that are compared: with twice HIGHEST, the bare minimum, a copy between two of them was missed
_SIDE = 300  # pixels, that pictures are brought to
_MIDDLE = Opening(_SIDE / 2, _SIDE / 2, _SIDE / 2, _SIDE / 2, 0.0)  # of a part without a bore
_BLOCK, _WIDE = 64, 1024  # rows and columns that are compared at a time: they stay in the cache
_PAIRS = 512  # that are correlated at a time

Spectra = npt.NDArray[np.complex64]


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
        rings = np.stack(list(pool.map(unwrap, (pixels[place] for place in among))))
    return group_rings(rings, groups, threshold, among)


def group_rings(rings: FloatArray, groups: IntArray, threshold: float, among: IntArray) -> IntArray:
    """Joins the groups whose pictures show the same part.

    Args:
        rings: shape (compared, 12, 180), float32: ``unwrap`` of the compared pictures.
        groups: shape (pictures,), int64: groups so far, numbered from 0.
        threshold: as ``group_near_copies``.
        among: shape (compared,), int64: places of the compared pictures.

    Returns:
        Shape (pictures,), int64: numbers of the groups, from 0.
    """
    spectra = _spectra(rings)
    planes = _Planes(*(np.ascontiguousarray(plane) for plane in (spectra.real, spectra.imag)))
    # Many small products: threads of the linear algebra would only wait for each other.
    with threadpool_limits(1):
        for start in range(0, len(among), _BLOCK):
            for rows, columns, mirrored in _possible(planes, start, threshold):
                # One pair joins whole groups, so most of the pairs that follow are together by then.
                for first, second in _in_chunks(rows, columns):
                    apart = groups[among[first]] != groups[among[second]]
                    left, right = first[apart], second[apart]
                    alike = _correlate(spectra, left, right, mirrored=mirrored) >= threshold
                    groups = _join(groups, among[left[alike]], among[right[alike]])
    return groups


def group_identical(hashes: Sequence[str]) -> IntArray:
    """Shape (pictures,), int64: one group for each different file."""
    return np.unique(np.array(hashes), return_inverse=True)[1].astype(np.int64)


def unwrap(pixels: Pixels) -> FloatArray:
    """The ring around the bore in polar coordinates; around the picture's middle where there is no bore.

    Args:
        pixels: shape (height, width), uint8.

    Returns:
        Shape (12, 180), float32: radii by angles, each row of mean 0 and deviation about 1.
    """
    square = np.asarray(cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    bore = find_opening(square) or _MIDDLE
    angles = np.arange(ANGLES) * 2 * np.pi / ANGLES
    circle = np.stack([np.cos(angles), np.sin(angles)])[:, None, :] * RADII[None, :, None]
    places = np.einsum("ij,jra->ira", bore.from_circle(), circle) + np.array([bore.x, bore.y])[:, None, None]
    places = places.astype(np.float32)
    smooth = cv2.GaussianBlur(square, (0, 0), 1.0)
    ring = cv2.remap(smooth, places[0], places[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    rows = ring.astype(np.float32)
    rows -= rows.mean(1, keepdims=True)
    return np.asarray(rows / (rows.std(1, keepdims=True) + 4), np.float32)


def _spectra(rings: FloatArray) -> Spectra:
    """Shape (40, pictures, 12), complex64: weighted and of unit length a picture, so that products correlate."""
    spectra = np.fft.rfft(rings, axis=2)[:, :, :HIGHEST].astype(np.complex64)
    cycles = np.arange(HIGHEST)
    spectra *= np.where(cycles >= LOWEST, np.sqrt(cycles), 0).astype(np.float32)
    lengths = np.sqrt(2 * (np.abs(spectra) ** 2).sum((1, 2), keepdims=True))
    return np.ascontiguousarray((spectra / np.maximum(lengths, 1e-9)).transpose(2, 0, 1))


def _possible(planes: "_Planes", start: int, threshold: float) -> Iterator[tuple[IntArray, IntArray, bool]]:
    """The pairs of a block with all pictures after them that may correlate, and in which sense: mirrored or not.

    No turn makes a correlation higher than the sum of its magnitudes over all frequencies. Of different parts 97 % fall
    short of the threshold by that alone, and need no transform back.
    """
    count = planes.real.shape[1]
    for left in range(start, count, _WIDE):
        bounds = planes.bounds(slice(start, min(count, start + _BLOCK)), slice(left, min(count, left + _WIDE)))
        for mirrored, bound in enumerate(bounds):
            rows, columns = np.nonzero(np.triu(bound >= threshold, 1 + start - left))
            yield rows + start, columns + left, bool(mirrored)


class _Planes:
    """Real and imaginary parts of spectra, for sums of magnitudes of their products.

    Args:
        real: shape (40, pictures, 12), float32.
        imaginary: alike.
    """

    def __init__(self, real: FloatArray, imaginary: FloatArray) -> None:
        self.real, self.imaginary = real, imaginary

    def bounds(self, rows: slice, columns: slice) -> FloatArray:
        """What no correlation of these pictures exceeds: shape (2, rows, columns), as they are and mirrored."""
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        sums = np.zeros((2, *shape), np.float32)
        even, odd, cross, back, square = (np.empty(shape, np.float32) for _ in range(5))
        for real, imaginary in zip(self.real[LOWEST:], self.imaginary[LOWEST:], strict=True):
            np.matmul(real[rows], real[columns].T, out=even)
            np.matmul(imaginary[rows], imaginary[columns].T, out=odd)
            np.matmul(imaginary[rows], real[columns].T, out=cross)
            np.matmul(real[rows], imaginary[columns].T, out=back)
            for total, with_odd, with_back in zip(sums, (np.add, np.subtract), (np.subtract, np.add), strict=True):
                # In place: fresh arrays of this size cost more than the arithmetic.
                with_odd(even, odd, out=square)
                np.square(square, out=square)
                np.add(total, _root(square, with_back(cross, back)), out=total)
        return np.asarray(2 * sums, np.float32)


def _root(square: FloatArray, other: FloatArray) -> FloatArray:
    """``sqrt(square + other ** 2)``, in place of ``square``; quicker than hypot, which guards against overflow."""
    np.square(other, out=other)
    np.add(square, other, out=square)
    return np.asarray(np.sqrt(square, out=square), np.float32)


def _in_chunks(rows: IntArray, columns: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    for start in range(0, len(rows), _PAIRS):
        yield rows[start : start + _PAIRS], columns[start : start + _PAIRS]


def _correlate(spectra: Spectra, rows: IntArray, columns: IntArray, *, mirrored: bool) -> FloatArray:
    """Highest circular correlation of each pair over all turns, shape (pairs,)."""
    left = np.conj(spectra[:, rows]) if mirrored else spectra[:, rows]
    product = np.einsum("fpr,fpr->pf", left, np.conj(spectra[:, columns]))
    return np.asarray(fft.irfft(product, n=TURNS, axis=1).max(1) * TURNS, np.float32)


def _join(groups: IntArray, rows: IntArray, columns: IntArray) -> IntArray:
    if not len(rows):
        return groups
    count = int(groups.max()) + 1
    edges = (np.ones(len(rows), bool), (groups[rows], groups[columns]))
    _, joined = connected_components(coo_matrix(edges, shape=(count, count)), directed=False)
    return np.asarray(joined[groups], np.int64)
